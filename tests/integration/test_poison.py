"""Records that no agent can handle, between good ones, on real Kafka: each is alone a dead letter, with its reason."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.agent import MAX_RECORD
from runtime.letters import PAYLOAD
from runtime.origin import HEADER
from schemas.registry import DEAD_LETTER, EVENT
from schemas.topics import DEAD_LETTERS, EVENTS, INGEST_EVENTS, MAX_MESSAGE_BYTES, WAGERS
from tests import servers
from tests.events import event
from tests.kafka import produce_records, read_all
from tests.sinks import until
from tests.workers import Pipeline, Worker

PARTITIONS = 2
SETTINGS: dict[str, Any] = {"partitions": PARTITIONS, "session_gap": 60, "lateness": 600, "dedup_window": 1000}
NOISE = random.Random(1).randbytes(MAX_MESSAGE_BYTES)  # what no compression makes smaller


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with servers.embedded_kafka() as address:
        yield address


@pytest.fixture(scope="module")
def pipeline(kafka: str) -> Pipeline:
    return Pipeline(kafka, PARTITIONS)


@pytest.fixture
def start(kafka: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def one(**settings: Any) -> Worker:
        started.append(Worker(kafka, tmp_path, **SETTINGS | settings).start())
        return started[-1]

    yield one
    for each in started:
        each.kill()


def logins(start: int, stop: int) -> list[dict[str, Any]]:
    return [event(nth=n, dedup=n, player_id=f"p{n % 7}") for n in range(start, stop)]


def large(size: int) -> dict[str, Any]:
    """A login whose encoded event has exactly so many bytes, the last of them noise."""
    found = event(dedup=f"large {size}", player_id="large")
    found["payload"] = b""
    for _ in range(3):  # the length of a length
        found["payload"] = NOISE[: len(found["payload"]) + size - len(EVENT.encode(found))]
    assert len(EVENT.encode(found)) == size
    return found


def test_each_poison_is_alone_a_dead_letter(kafka: str, pipeline: Pipeline, start: Callable[..., Worker]) -> None:
    good = EVENT.encode(event(dedup="no one's", player_id="p"))
    poison: dict[tuple[str, int], tuple[bytes, bytes | None, list[Any], str]] = {
        (INGEST_EVENTS.name, 0): (b"k", b"not Avro at all", [], "DecodeError"),
        (INGEST_EVENTS.name, 1): (b"k", good[:40], [], "DecodeError"),
        (EVENTS.name, 0): (b"k", good, [], f"header {HEADER} is missing"),
        (EVENTS.name, 1): (b"k", good, [(HEADER, b"short")], "OriginError"),
        (WAGERS.name, 0): (b"k", None, [], "NoValue"),
        (WAGERS.name, 1): (b"k", b"\xc3\x01" + bytes(8) + good[10:], [], "0000000000000000"),
    }
    pipeline.ingest(logins(0, 100))
    produce_records(kafka, [(*place, key, value, headers) for place, (key, value, headers, _) in poison.items()])
    pipeline.ingest(logins(100, 200))
    worker = start()
    pipeline.await_done([worker])
    letters = {(row["topic"], row["partition"]): row for row in map(decoded, read_all(kafka, DEAD_LETTERS.name))}
    stages = {INGEST_EVENTS.name: "dedup", EVENTS.name: "sessions", WAGERS.name: "pairing"}
    assert letters.keys() == poison.keys()
    for place, (key, value, headers, error) in poison.items():
        letter = letters[place]
        assert (letter["stage"], letter["key"], letter["payload"]) == (stages[place[0]], key, value)
        assert error in letter["error"], letter["error"]
        assert [(header["key"], header["value"]) for header in letter["headers"]] == headers
    assert len(read_all(kafka, EVENTS.name)) == 200 + 2
    assert worker.stop() == 0


FITTING = MAX_RECORD - 100
"""With a key beside it."""


def test_large_records(kafka: str, pipeline: Pipeline, start: Callable[..., Worker]) -> None:
    """Five megabytes are a record as any other; what Kafka would not take as an output is a letter, cut if need be."""
    before = len(read_all(kafka, EVENTS.name))
    most = MAX_MESSAGE_BYTES - 1024
    for size in (5_000_000, FITTING, MAX_RECORD + 1, most):
        pipeline.ingest([large(size)])
    pipeline.ingest(logins(200, 300))
    worker = start()
    pipeline.await_done([worker])
    sizes = [len(record.value) for record in read_all(kafka, EVENTS.name)]
    assert {size for size in sizes if size > 1_000_000} == {5_000_000, FITTING}
    assert len(sizes) == before + 102
    letters = [row for row in map(decoded, read_all(kafka, DEAD_LETTERS.name)) if "more than" in row["error"]]
    whole = {EVENT.encode(large(size))[:PAYLOAD] for size in (MAX_RECORD + 1, most)}
    assert {row["payload"] for row in letters} == whole
    assert worker.stop() == 0


def test_a_run_of_letters_stops_the_worker(kafka: str, pipeline: Pipeline, start: Callable[..., Worker]) -> None:
    """So many failures in a row are a defect of the agent or of its input, and no dead letters; nothing is lost."""
    before = len(read_all(kafka, DEAD_LETTERS.name))
    produce_records(kafka, [(INGEST_EVENTS.name, 0, b"k", b"not Avro", [])] * 30)
    pipeline.ingest(logins(300, 400))
    stuck = start(dead_letters_in_a_row=20)
    until(lambda: not stuck.alive, 60, [stuck.log])
    assert stuck.process is not None
    assert stuck.process.returncode == 1
    assert "21 records in a row failed in the agent dedup" in stuck.log.read_text()
    assert len(read_all(kafka, DEAD_LETTERS.name)) <= before + 20
    patient = start(dead_letters_in_a_row=100)
    pipeline.await_done([patient])
    letters = {row["letter_id"] for row in map(decoded, read_all(kafka, DEAD_LETTERS.name)[before:])}
    assert len(letters) == 30
    kept = {EVENT.decode(record.value)["event_id"] for record in read_all(kafka, EVENTS.name)}
    assert kept >= {each["event_id"] for each in logins(300, 400)}


def decoded(record: Any) -> dict[str, Any]:
    return DEAD_LETTER.decode(record.value)
