"""POST /api/v1/events: whose a request is."""

import pytest

from gateway.dialects import shared
from gateway.dialects.base import Malformed, Refusal, Request

EVENT = b'{"event_type":"x","payload":{}}'


def request(body: bytes) -> Request:
    return Request("POST /api/v1/events", {}, {}, body, "acme", 0)


@pytest.mark.parametrize(
    ("body", "owner"),
    [
        (b"[]", "adwize"),
        (b'[{"source":"s","event_type":"t","data":{}}]', "adwize"),
        (b' \n{"events":[' + EVENT + b"]}", "gamerebellion"),
        (b"{}", "gamerebellion"),
        (b'{"events":5}', "gamerebellion"),
        (b'{"events":[],"events":[]}', "gamerebellion"),
        (b'{"events":[' + b",".join([EVENT] * 101) + b"]}", "gamerebellion"),
        (b'{"events":[' + b",".join([EVENT] * 101) + b"]} x", "adwize"),
        (b'{"events":[' + b",".join([EVENT] * 101), "adwize"),
        (b'{"events":[' + b",".join([EVENT] * 101) + b'],"a":NaN}', "adwize"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "gamerebellion"),
        (b'{"a":"\\ud800"}', "gamerebellion"),
        (b'{"events":[', "adwize"),
        (b'{"events":[]} x', "adwize"),
        (b'{"events":[{"event_type":"x","payload":{"a":NaN}}]}', "adwize"),
        (b'{"a":NaN}', "adwize"),
        (b"5", "adwize"),
        (b'"{"', "adwize"),
        (b"null", "adwize"),
        (b"", "adwize"),
        (b"\xef\xbb\xbf{}", "adwize"),
        (b"\xff", "adwize"),
    ],
)
def test_the_body_tells_whose_it_is(body: bytes, owner: str) -> None:
    assert shared.decide(request(body))[0] == owner


@pytest.mark.parametrize("body", [b'{"events":[', b"", b"[1,", b"\xff"])
def test_what_is_no_json_is_refused_by_the_handler_not_by_the_decision(body: bytes) -> None:
    asked = request(body)
    _, handle = shared.decide(asked)
    with pytest.raises(Malformed):
        handle(asked)


def test_the_handler_goes_on_with_what_was_parsed() -> None:
    asked = request(b'{"events":[' + EVENT + b"]}")
    _, handle = shared.decide(asked)
    accepted = handle(asked)
    assert accepted.status == 200  # type: ignore[union-attr]
    assert [event["payload"] for event in accepted.events] == [EVENT]  # type: ignore[union-attr]
    asked = request(b'{"events":[]}')
    with pytest.raises(Refusal, match="must not be empty"):
        shared.decide(asked)[1](asked)
