"""Every dialect answers every recorded request as its vendor does, with exactly the recorded canonical events."""

import asyncio
import json
from hashlib import sha256

import pytest

from gateway.dialects import registry
from schemas.registry import EVENT
from tests.contract.players import Handlers
from tests.contract.recordings import FOLDER, Recording, Scene, check_events, dumps, load, play

RECORDINGS = load()
LEAST = 8
"""Recordings of a dialect below which nobody can say that it is proven."""


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_recording(recording: Recording) -> None:
    handlers = Handlers()
    scene = Scene(handlers.tenant, handlers.now)
    request = asyncio.run(play(recording, handlers.send, scene))
    assert handlers.dialect == recording.dialect
    check_events(recording, handlers.events, scene)
    for event in handlers.events:
        assert (event["tenant"], event["dialect"]) == (handlers.tenant, recording.dialect)
        assert event["received_at"] == handlers.now
        assert EVENT.decode(EVENT.encode(event)) == event
    if "json" in recording.request and handlers.events:
        sent = recording.request["json"]
        batch = sent if isinstance(sent, list) else sent.get("events", [sent])
        if len(batch) == len(handlers.events) and "{{" not in dumps(sent).decode():
            assert [event["payload"] for event in handlers.events] == [dumps(event) for event in batch]
    assert all(event["payload"] in request.body for event in handlers.events)


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_the_same_request_again_is_the_same_events(recording: Recording) -> None:
    first, again = Handlers(), Handlers()
    scenes = Scene(first.tenant, first.now), Scene(again.tenant, again.now)
    asyncio.run(play(recording, first.send, scenes[0]))
    asyncio.run(play(recording, again.send, scenes[1]))
    assert first.events == again.events
    assert first.accepted == again.accepted


def digest(recording: Recording) -> str:
    """Of the bytes of all its events, the beginning."""
    handlers = Handlers()
    asyncio.run(play(recording, handlers.send, Scene(handlers.tenant, handlers.now)))
    return sha256(b"".join(map(EVENT.encode, handlers.events))).hexdigest()[:16]


def test_events_are_the_bytes_that_they_always_were() -> None:
    """Ids, keys and fingerprints are promises to retries: only a new recording may change what is kept here."""
    found = {str(recording): digest(recording) for recording in RECORDINGS if recording.events}
    assert found == json.loads((FOLDER / "bytes.json").read_text()), (
        f"with new recordings: {json.dumps(found, indent=1)}"
    )


@pytest.mark.parametrize("recording", [r for r in RECORDINGS if r.answer["status"] >= 400], ids=str)
def test_a_refusal_says_what_to_mend(recording: Recording) -> None:
    body = recording.answer["body"]
    assert isinstance(body["detail"], str)
    assert body["errors"]
    for error in body["errors"]:
        assert set(error) == {"index", "field", "message"}
        assert error["message"]


@pytest.mark.parametrize("dialect", registry.NAMES)
def test_every_dialect_is_recorded(dialect: str) -> None:
    mine = [recording for recording in RECORDINGS if recording.dialect == dialect]
    assert len(mine) >= LEAST, f"{dialect} needs a folder of at least {LEAST} recordings in tests/contract"
    spoken = next(d for d in Handlers().dialects if d.name == dialect)
    recorded = {
        (recording.request["method"], recording.request["path"].replace("{{registered}}", "{event_id}"))
        for recording in mine
    }
    assert {(route.method, route.path) for route in spoken.routes} <= recorded
    assert {recording.answer["status"] for recording in mine} & {200, 201, 202}
    assert any(recording.answer["status"] == 400 for recording in mine)


def test_recordings_are_written_in_one_way() -> None:
    for path in FOLDER.glob("*/*.json"):
        text = path.read_text()
        assert "\t" not in text
        assert set(json.loads(text)) <= {"of", "given", "request", "answer", "events"}, path
