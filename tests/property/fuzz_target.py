"""Coverage-guided fuzzing of every handler: `python -m tests.property.fuzz_target -runs=20000 FOLDER`.

The first byte of an input picks the route, the rest is the body. Any exception but a Refusal is a find, and so is an
accepted event that the Avro codec does not give back. ``--seeds FOLDER`` writes the recordings as a first corpus.
"""

import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["gateway"]):
    from gateway import jsontext
    from gateway.dialects import registry
    from gateway.dialects.base import Refusal, Request

from schemas.registry import EVENT
from tests.contract.players import MemoryRegistry
from tests.contract.recordings import Scene, load, sent

NOW = 1_767_225_600_000
KNOWN = "00000000-0000-5000-8000-000000000000"
ROUTES = [route for dialect in registry.load(MemoryRegistry()) for route in dialect.routes if route.method == "POST"]
CONTENT_TYPES = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain")


def answer_of(found: Any) -> Any:
    """What an ``async def`` handler returns; the registry in memory never really waits."""
    if not isinstance(found, Awaitable):
        return found
    steps = found.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("a handler waited for something else than the registry")


def one_input(data: bytes) -> None:
    """Sends one input to its route."""
    if not data:
        return
    route = ROUTES[data[0] % len(ROUTES)]
    headers = {"content-type": CONTENT_TYPES[data[0] // len(ROUTES) % len(CONTENT_TYPES)]}
    request = Request(f"{route.method} {route.path}", {"event_id": KNOWN}, headers, data[1:], "acme", NOW)
    try:
        accepted = answer_of(route.handle(request))
    except Refusal as refusal:
        refusal.body()
        return
    for event in accepted.events:
        if EVENT.decode(EVENT.encode(event)) != event:
            raise AssertionError(f"not what was encoded: {event}")
        jsontext.read(event["payload"])


def write_seeds(folder: Path) -> None:
    """The recordings as inputs."""
    scene = Scene("acme", NOW, names={"registered": KNOWN})
    paths = {route.path: number for number, route in enumerate(ROUTES)}
    for recording in load():
        request = sent(recording.request, scene)
        path = request.path.replace(KNOWN, "{event_id}")
        media_type = request.headers.get("Content-Type", CONTENT_TYPES[0]).split(";")[0]
        if path in paths and request.method == "POST" and media_type in CONTENT_TYPES:
            first = bytes([paths[path] + CONTENT_TYPES.index(media_type) * len(ROUTES)])
            (folder / f"{recording.dialect}-{recording.name}").write_bytes(first + request.body)


def main() -> None:
    if sys.argv[1] == "--seeds":
        write_seeds(Path(sys.argv[2]))
        return
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
