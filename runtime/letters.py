"""Dead letters: what an agent could not handle, with all that a replay needs, and how a replay is known again.

A replayed record comes through the input of the stage that failed, with the header ``letter`` in place of its origin
and the origin itself, which says what ingest record caused it, as ``cause``. Every other agent passes over it; the
stage remembers the letter in its state, so that a repeat of the replay has no effect.
"""

from typing import Any

from runtime.agent import State
from runtime.origin import CAUSE, HEADER, LETTER, OriginError, ingest_coordinates
from runtime.store import RESERVED
from schemas.codec import DecodeError
from schemas.keys import key, uuid5_bytes
from schemas.registry import DEAD_LETTER, EVENT
from schemas.topics import INGEST_EVENTS

ATTEMPTS = "attempts"
_REMEMBERED = RESERVED + b"letter"
_WHO = EVENT.reader("tenant", "dialect")
ERROR = 4000
"""Characters of an error that are kept."""


def letter_id(stage: str, log: int, partition: int, offset: int) -> bytes:
    """The same record failing again at the same stage is the same letter."""
    return uuid5_bytes(key("dead letter", stage, log, partition, offset))


def dead_letter(
    stage: str, record: Any, log: int, error: BaseException, place: tuple[str, int] | None = None
) -> tuple[bytes, bytes]:
    """(letter id, encoded DeadLetter) for a record of a topic whose incarnation is ``log``.

    ``place`` is its topic and partition where the record does not know them (runtime/transport.py, lean records).
    """
    topic, partition = place or (record.topic, record.partition)
    found = letter_id(stage, log, partition, record.offset)
    ingest_log, ingest_partition, ingest_offset = (
        (log, partition, record.offset) if topic == INGEST_EVENTS.name else _coordinates(record)
    )
    tenant, dialect = _who(record.value)
    headers = list(record.headers)
    return found, DEAD_LETTER.encode(
        {
            "letter_id": found,
            "stage": stage,
            "topic": topic,
            "log": log,
            "partition": partition,
            "offset": record.offset,
            "ingest_log": ingest_log,
            "ingest_partition": ingest_partition,
            "ingest_offset": ingest_offset,
            "tenant": tenant,
            "dialect": dialect,
            "error": f"{type(error).__name__}: {error}"[:ERROR],
            "attempts": int(dict(headers).get(ATTEMPTS, b"0")),
            "timestamp": record.timestamp,
            "key": record.key,
            "payload": record.value,
            "headers": [{"key": name, "value": value} for name, value in headers],
        }
    )


def _coordinates(record: Any) -> tuple[int | None, int | None, int | None]:
    """Where the record's cause stands in ingest.events."""
    headers = dict(record.headers)
    origin = headers.get(CAUSE) or headers.get(HEADER)
    try:
        return ingest_coordinates(origin) if origin else (None, None, None)
    except OriginError:
        return None, None, None


def _who(value: bytes | None) -> tuple[str | None, str | None]:
    try:
        tenant, dialect = _WHO(value or b"")
    except DecodeError:
        return None, None
    return tenant, dialect


def replay_header(letter: bytes, stage: str) -> tuple[str, bytes]:
    """The header by which the stage, alone, takes a replayed record."""
    return LETTER, letter + stage.encode()


def claim(state: State, header: bytes, stage: str) -> bool:
    """Whether a replayed record is for this stage and has not been handled; it is remembered from here on."""
    if header[16:].decode(errors="replace") != stage:
        return False
    remembered = _REMEMBERED + header[:16]
    if state.get(remembered) is not None:
        return False
    state.put(remembered, b"")
    return True
