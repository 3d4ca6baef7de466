"""Where servers stand."""

import random
from itertools import chain, repeat

import pytest

from embedded import place


def test_a_port_is_not_given_twice_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's two listeners ask one after the other, and nobody listens yet."""
    first = place.free_port()
    other = next(port for port in range(first + 1, place.LAST_PORT) if place.is_free(port))
    drawn = chain(repeat(first, 3), repeat(other))
    monkeypatch.setattr(random, "randint", lambda *_: next(drawn))
    assert place.free_port() == other


def test_an_address_that_is_not_this_machines_is_said() -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):  # RFC 5737, RFC 2606
        with pytest.raises(place.PlaceError, match=f"^Nothing can listen on the address {host}: "):
            place.require_port(8080, "the gateway", "--gateway-port", host)
