"""Dead letters: what an agent could not handle, with all that a replay needs, and how a replay is known again.

A replayed record comes through the input of the stage that failed, with the header ``letter`` in place of its origin
and the origin itself, which says what ingest record caused it, as ``cause``. Every other agent passes over it; the
stage remembers the letter in its state, so that a repeat of the replay has no effect.
"""

from collections.abc import Iterable, Iterator
from traceback import walk_tb
from typing import Any

from runtime.agent import State
from runtime.origin import CAUSE, HEADER, LETTER, OriginError, ingest_coordinates, source
from runtime.origin import place as place_of
from runtime.store import RESERVED
from schemas.codec import DecodeError
from schemas.keys import key, uuid5_bytes
from schemas.registry import DEAD_LETTER, EVENT
from schemas.topics import INGEST_EVENTS, MAX_MESSAGE_BYTES

ATTEMPTS = "attempts"
_REMEMBERED = RESERVED + b"letter"
_WHO = EVENT.reader("tenant", "dialect")
_MARKS = (HEADER, LETTER, CAUSE, ATTEMPTS)
ERROR = 4000
"""Characters of an error that are kept."""
PAYLOAD = MAX_MESSAGE_BYTES - 512 * 1024
"""Bytes of a payload that are kept, so that Kafka takes the letter; one of this length was longer, and is no replay."""
HEADERS = 128 * 1024
"""Bytes of key and of headers that are kept."""


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
    ingest_log, ingest_partition, ingest_offset = _coordinates(record)
    if ingest_log is None and topic == INGEST_EVENTS.name:
        ingest_log, ingest_partition, ingest_offset = log, partition, record.offset
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
            "error": _said(error, record.value),
            "attempts": _attempts(headers),
            "timestamp": record.timestamp,
            "key": None if record.key is None else record.key[:HEADERS],
            "payload": None if record.value is None else record.value[:PAYLOAD],
            "headers": list(_fitting(headers)),
        }
    )


def _said(error: BaseException, value: bytes | None) -> str:
    """The error, and what an agent that met no value would not say: decoders fail on it in their own words."""
    return said(error) if value is not None else f"NoValue: the record has none ({_message(error)})"[:ERROR]


def said(error: BaseException) -> str:
    """Type and message of an error, and the line of an agent, or of what it uses of `streams`, that raised it."""
    places = [(frame.f_globals.get("__name__", ""), line) for frame, line in walk_tb(error.__traceback__)]
    inner = [f" ({module}:{line})" for module, line in places if module.startswith("streams.")][-1:]
    return f"{type(error).__name__}: {_message(error)}"[:ERROR] + "".join(inner)


def _message(error: BaseException) -> str:
    """As UTF-8 has it: a half surrogate, out of JSON, is escaped. An agent's own error may fail even at saying it."""
    try:
        return str(error).encode(errors="backslashreplace").decode()
    except Exception as another:
        return f"its message cannot be told ({type(another).__name__})"


def _fitting(headers: list[tuple[str, bytes | None]]) -> Iterator[dict[str, Any]]:
    """The first of the headers: ours come first, and are short."""
    size = 0
    for name, value in headers:
        size += len(name) + len(value or b"")
        if size > HEADERS:
            return
        yield {"key": name, "value": value or b""}


def _attempts(headers: list[tuple[str, bytes | None]]) -> int:
    """Replays before, as the last of them wrote; none where the header is a stranger's."""
    said = dict(headers).get(ATTEMPTS) or b""
    return int(said) if said.isdigit() and len(said) < 10 else 0  # nine digits are an Avro int


def _coordinates(record: Any) -> tuple[int | None, int | None, int | None]:
    """Where the record's cause stands in ingest.events."""
    headers = dict(record.headers)
    return _place(headers.get(CAUSE) or headers.get(HEADER)) or (None, None, None)


def _place(origin: bytes | None) -> tuple[int, int, int] | None:
    try:
        return ingest_coordinates(origin or b"")
    except OriginError:
        return None


def _who(value: bytes | None) -> tuple[str | None, str | None]:
    try:
        tenant, dialect = _WHO(value or b"")
    except DecodeError:
        return None, None
    return tenant, dialect


def replay_header(letter: bytes, stage: str) -> tuple[str, bytes]:
    """The header by which the stage, alone, takes a replayed record."""
    return LETTER, letter + stage.encode()


def replay_headers(
    letter: bytes, stage: str, headers: Iterable[tuple[str, bytes]], ingest: tuple[int, int, int] | None, attempts: int
) -> list[tuple[str, bytes]]:
    """The headers under which a letter's record, which had ``headers``, is appended again.

    Where that was a replay itself, the first letter's id is kept: however many letters a record has become, the stage
    takes it once.

    ``ingest`` is the place of its cause in ingest.events, for a record that has no origin because it is that cause, or
    one that is none.
    """
    kept = dict(headers)
    cause = kept.get(CAUSE) or kept.get(HEADER)
    if _place(cause) is None and ingest is not None:
        log, partition, offset = ingest
        cause = source(stage, 0, log, partition) + place_of(offset, 0)
    first = kept.get(LETTER, letter)[:16]
    marks = [replay_header(first, stage), (ATTEMPTS, str(attempts).encode())]
    if cause is not None:
        marks.append((CAUSE, cause))
    return [*marks, *((name, value) for name, value in headers if name not in _MARKS)]  # Stepper looks at the first


def claim(state: State, header: bytes, stage: str) -> bool:
    """Whether a replayed record is for this stage and has not been handled; it is remembered from here on."""
    if header[16:].decode(errors="replace") != stage:
        return False
    remembered = _REMEMBERED + header[:16]
    if state.get(remembered) is not None:
        return False
    state.put(remembered, b"")
    return True
