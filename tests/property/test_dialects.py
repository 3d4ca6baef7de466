"""Whatever arrives, a handler accepts or refuses: no other exception, and what it accepts fits every later hop."""

import asyncio
import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings

from gateway import values
from gateway.dialects import registry
from gateway.dialects.base import Event
from schemas.registry import EVENT
from tests.contract.players import Handlers
from tests.contract.recordings import Scene, load
from tests.property.json_texts import RANDOM
from tests.property.requests import hostile

STATUSES = {200, 201, 202, 400, 404, 409, 415}
ROUNDS, REQUESTS = 300, 40


def check(event: Event, handlers: Handlers) -> None:
    """What every later hop relies on."""
    assert EVENT.decode(EVENT.encode(event)) == event
    assert isinstance(json.loads(event["properties"]), dict)
    assert event["event_name"]
    assert event["event_time"] <= handlers.now + values.AHEAD
    for amount in (event["amount"], event["bet_result_amount"]):
        assert amount is None or abs(int.from_bytes(amount, "big", signed=True)) < 10**38
    for key in ("dedup_key", "identity", "bet_key"):
        assert not event[key] or json.loads(event[key])[0] == handlers.tenant
    assert (event["dedup_key"] is None) == (event["event_id"][6] >> 4 != 5)


@pytest.mark.parametrize("dialect", registry.NAMES)
def test_handlers_accept_or_refuse(dialect: str, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = load(dialect)
    answered: Counter[int] = Counter()

    @given(RANDOM)
    @settings(max_examples=ROUNDS, deadline=None)
    def fuzz(random: Random) -> None:
        handlers = Handlers()
        scene = Scene(handlers.tenant, handlers.now, names={"registered": "00000000-0000-5000-8000-000000000000"})

        async def play() -> None:
            for _ in range(REQUESTS):
                reply = await handlers.send(hostile(random, scene, recordings))
                answered[reply.status] += 1
                assert reply.status in STATUSES
                assert isinstance(json.loads(reply.body), dict)
                for event in handlers.events:
                    check(event, handlers)

        asyncio.run(play())

    fuzz()
    with capsys.disabled():
        print(f"\n{dialect}: {answered.total():,} hostile requests, answered {dict(sorted(answered.items()))}")
    assert answered.total() >= ROUNDS * REQUESTS
    assert answered[400] > 0
    assert answered.keys() & {200, 201, 202}
