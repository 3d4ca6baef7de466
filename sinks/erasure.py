"""What of a row is removed where its person was erased: applied by the sink to every row that comes later.

The person's id gives way to the pseudonym, so that sums by player stay what they are; what else may tell who it was is
emptied. Transaction ids, amounts, times and game data stay: money hangs on them. sinks/forgetting.py does the same to
rows that are stored already.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any

import orjson

from runtime.forgotten import Forgotten, Person
from schemas.codec import DecodeError
from schemas.topics import DEAD_LETTERS, REJECTIONS, by_name

NULLED = ("device_id", "click_id", "ip_address", "user_agent", "idempotency_key")
TEXTS = ("dedup_key", "payload")
"""Columns of a person's row that become null, and that become empty texts; ``properties`` become an empty object."""
REFUSED = ("body", "errors", "detail")
"""Columns of a rejection that are emptied where its body names a person."""
BURIED = ("key", "payload", "headers")
"""Columns of a dead letter that are emptied where its record is a person's. It cannot be replayed any more."""
ERASED = "(the rest was erased)"

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_WORD = re.compile(rb"[^\s\"'=&?<>{}\[\](),:;/\\]+")
Columns = dict[str, Any]
Scrub = Callable[[Columns, Forgotten], None]


def scrubber(topic: str, columns: Iterable[str]) -> Scrub | None:
    """What to do with rows of a topic, given by column; None where they are about nobody."""
    if topic == REJECTIONS.name:
        return _scrub_rejections
    if topic == DEAD_LETTERS.name:
        return _scrub_letters
    return scrub_persons if {"tenant", "player_id"} <= set(columns) else None


def scrub_persons(found: Columns, forgotten: Forgotten) -> None:
    pairs = list(zip(found["tenant"], found["player_id"], strict=True))
    known = {pair: forgotten.find(_bytes(pair[0]), _bytes(pair[1])) for pair in set(pairs) if pair[1] is not None}
    rows = {at: person for at, pair in enumerate(pairs) if (person := known.get(pair)) is not None}
    if not rows:
        return
    for name in ("player_id", "session_id", "properties", *NULLED, *TEXTS):
        if name in found:
            column = found[name] = list(found[name])
            for at, person in rows.items():
                column[at] = replaced(name, column[at], person)


def replaced(name: str, value: Any, person: Person) -> Any:
    """A column's value in the row of an erased person."""
    if name == "player_id":
        return person.pseudonym if isinstance(value, str) else person.pseudonym.encode()
    if name == "session_id":
        return session_of(person, value)
    if name == "properties":
        return b"{}"
    if name in TEXTS and value is not None:
        return type(value)()
    return None if name in NULLED else value


def session_of(person: Person, session_id: bytes) -> bytes:
    """A session's id, which is a hash of the player's and so would confirm a guess, as one of the pseudonym's."""
    return sha256(person.pseudonym.encode() + session_id).digest()[:16]


def _scrub_rejections(found: Columns, forgotten: Forgotten) -> None:
    each = zip(found["tenant"], *(found[name] for name in REFUSED), strict=True)
    rows = [at for at, (tenant, *texts) in enumerate(each) if any(names(forgotten, tenant, text) for text in texts)]
    for name in REFUSED if rows else ():
        column = found[name] = list(found[name])
        for at in rows:
            column[at] = b"[]" if name == "errors" else b""


def _scrub_letters(found: Columns, forgotten: Forgotten) -> None:
    for name in (*BURIED, "error"):
        found[name] = list(found[name])
    for at in range(len(found["topic"])):
        letter = {name: found[name][at] for name in ("topic", "tenant", "error", "key", "payload")}
        if is_about(forgotten, **letter):
            found["key"][at] = found["payload"][at] = None
            found["headers"][at] = []
            found["error"][at] = told(found["error"][at])


def told(error: str) -> str:
    """What is kept of the error of a letter that was erased: its type."""
    return f"{error.partition(':')[0]}: {ERASED}"


def is_about(
    forgotten: Forgotten, topic: str, tenant: str | None, error: str, key: bytes | None, payload: bytes | None
) -> bool:
    """Whether a dead letter's record is an erased person's, or cannot be read and names one."""
    record = _record(topic, payload or b"")
    if topic == DEAD_LETTERS.name and record:
        return is_about(forgotten, **{name: record[name] for name in ("topic", "tenant", "error", "key", "payload")})
    owner = record.get("tenant") or tenant or ""
    if player := record.get("player_id"):
        return forgotten.find(owner.encode(), player.encode()) is not None
    texts = [text for text in (error.encode(), key, payload) if text]
    return any(names(forgotten, who, text) for who in {owner, ""} for text in texts)


def _record(topic: str, payload: bytes) -> dict[str, Any]:
    """Its fields; none where it is no record of the topic."""
    known = by_name().get(topic)
    if known is None or known.value is None:
        return {}
    try:
        return known.value.decode(payload)
    except DecodeError:
        return {}


def names(forgotten: Forgotten, tenant: str | bytes, text: str | bytes) -> bool:
    """Whether a text that nobody may be able to parse has an erased person's id as a string or word of its own."""
    owner = _bytes(tenant)
    return any(forgotten.find(owner, word) is not None for word in set(words(_bytes(text))))


def words(text: bytes) -> Iterator[bytes]:
    """JSON's strings in a text, unescaped, and all else that stands between spaces and signs."""
    for found in _STRING.finditer(text):
        try:
            yield orjson.loads(found[0]).encode()
        except ValueError:
            yield found[0][1:-1]
    for found in _WORD.finditer(text):
        yield found[0]


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
