"""From checked events to canonical ones: keys, ids and fingerprints (spec/semantics.md, Dedup).

``Drafts`` is one request on its way in. A dialect hands it the pieces of the body and a function that reads one event
into a ``Draft``; it gathers every fault of every event before it refuses, and makes the canonical events.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate, repeat
from struct import Struct
from typing import Any

import orjson

from gateway import canonical
from gateway.columns import ENOUGH, Column, Columns, ReadAll, column, members, shapes
from gateway.dialects.base import Accepted, Event, Fault, Idempotency, Refusal, Request
from gateway.jsontext import Batch, Piece
from schemas.keys import WAGERS, bet_key, identity_key, key, uuid5_bytes, uuid_text
from schemas.registry import EVENT

BLANK: Event = {field["name"]: None for field in EVENT.latest.schema["fields"]}
HEADER_LENGTH = 255
MANY_FAULTS = 10_000
"""Faults up to which an answer names all, however long; beyond, as many as make it ``ANSWER`` bytes large."""
ANSWER = 2 * 1024 * 1024
"""A batch of a thousand events in which every field is wrong stays below; what does not has names of its sender's."""


@dataclass(slots=True)
class Draft:
    """An event as its dialect read it."""

    columns: dict[str, Any]
    """Canonical fields, as far as they are not null."""
    properties: dict[str, Any]
    faults: list[Fault] = field(default_factory=list)
    key: tuple[str, ...] | None = None
    """Dedup key of the dialect's own, which comes before every other: scrip's, CloudEvents'."""


Read = Callable[[dict[str, Any], int], Draft]
"""From an event and the time of receipt to its draft."""


@dataclass(slots=True)
class Drafts:
    """A request and what its events have in common."""

    request: Request
    dialect: str
    scope: bytes
    """Of the fingerprints: dialect, route and campaign header."""
    by_content: bool = False
    """Events without any key are told apart by their fingerprint (revosurge: each carries its own time)."""
    header: str | None = None
    """The request's Idempotency-Key."""
    faults: list[Fault] = field(default_factory=list)
    """What is wrong so far."""
    blank: Event = field(init=False)
    """An event of this request before anything is known of it."""

    def __post_init__(self) -> None:
        request = self.request
        self.blank = {
            **BLANK, "idempotency_key": self.header, "received_at": request.received_at,
            "event_time": request.received_at, "tenant": request.tenant, "dialect": self.dialect, "properties": "{}",
            "identity": "", "bet_key": "",
        }  # fmt: skip

    @classmethod
    def of(
        cls,
        request: Request,
        dialect: str,
        *,
        route: str | None = None,
        campaign: str | None = None,
        by_content: bool = False,
    ) -> "Drafts":
        """``route``: with the template's names filled in, where it has any. ``campaign``: the header's."""
        faults: list[Fault] = []
        key = header(request.headers, "Idempotency-Key", faults)
        scope = canonical.scope(dialect, route or request.route, campaign)
        return cls(request, dialect, scope, by_content, key, faults)

    def one(self, piece: Piece, read: Read) -> Event:
        """The canonical event of a body that is one event. Raises Refusal."""
        draft = self.draft(piece, read)
        self.refuse_faults()
        return self.event(piece, draft)

    def all(
        self, batch: Batch, read: Read, read_all: ReadAll | None = None, within: str | None = None
    ) -> Sequence[Event]:
        """The canonical events of a batch, checked whole. Raises Refusal.

        With ``read_all`` those that are alike are read together; ``within`` is a member whose members count for that.
        """
        self.faults += batch.faults
        if read_all is not None and (alike := self._columns(batch.pieces, read_all, within)) is not None:
            return alike
        drafts = [self.draft(piece, read, index) for index, piece in enumerate(batch.pieces)]
        self.refuse_faults()
        return [
            self.event(piece, draft, index)
            for index, (piece, draft) in enumerate(zip(batch.pieces, drafts, strict=True))
        ]

    def refuse_faults(self) -> None:
        """Raises Refusal where anything is wrong so far."""
        if self.faults:
            raise refusal(self.faults)

    def accepted(self, status: int, answer: Mapping[str, Any], events: Sequence[Event]) -> Accepted:
        """The answer, with what the gateway's index has to remember of the request's Idempotency-Key."""
        idempotency = None
        if self.header is not None:
            prints = b"".join(column(events, "fingerprint"))
            print_ = prints if len(events) == 1 else sha256(self.scope + prints).digest()[:16]
            known = key(self.request.tenant, self.dialect, "header", self.header)
            idempotency = Idempotency(known, print_, 422, self.header)
        return Accepted(status, orjson.dumps(answer), events, idempotency)

    def draft(self, piece: Piece, read: Read, index: int | None = None) -> Draft:
        """One event read; its faults are added to the request's."""
        if isinstance(piece.value, dict):
            draft = read(piece.value, self.request.received_at)
        else:
            draft = Draft({}, {}, [Fault("", "must be an object")])
        if piece.faults:
            named = {fault.field for fault in piece.faults}
            draft.faults = [*piece.faults] + [fault for fault in draft.faults if fault.field not in named]
        if draft.faults:
            for fault in draft.faults:
                fault.index = index
            self.faults += draft.faults
        return draft

    def event(self, piece: Piece, draft: Draft, index: int | None = None) -> Event:
        """The canonical event of a draft without faults."""
        event = self.blank.copy()
        event.update(draft.columns)
        tenant, name, transaction = event["tenant"], event["event_name"], event["transaction_id"]
        print_ = canonical.fingerprint(self.scope, piece.canonical or canonical.canonical(piece.value))
        dedup = self._dedup_key(draft, name, transaction, print_, index)
        event["event_id"] = self.request.new_id() if dedup is None else uuid5_bytes(dedup)
        event["fingerprint"] = print_
        event["dedup_key"] = dedup
        event["identity"] = identity_key(tenant, event["player_id"], event["device_id"])
        event["bet_key"] = bet_key(tenant, name, event["amount"], transaction, event["parent_transaction_id"])
        if draft.properties:
            event["properties"] = canonical.properties(draft.properties)
        event["payload"] = piece.raw
        return event

    def _columns(self, pieces: Sequence[Piece], read_all: ReadAll, within: str | None) -> Columns | None:
        """The events by columns; None where that saves nothing or anything is not plainly right."""
        if self.faults or len(pieces) < ENOUGH:
            return None
        groups: list[tuple[Sequence[int], dict[str, Column]]] = []
        try:
            for places in shapes([piece.value for piece in pieces], within):
                alike = [pieces[place] for place in places]
                columns, properties = read_all(members([piece.value for piece in alike]), self.request.received_at)
                groups.append((places, self._all_alike(alike, places, columns, properties)))
        except ValueError:
            return None
        self._new_ids(groups)
        return Columns(self.blank, groups, len(pieces))

    def _all_alike(
        self,
        pieces: Sequence[Piece],
        places: Sequence[int],
        columns: dict[str, Column],
        properties: Mapping[str, Column],
    ) -> dict[str, Column]:
        """`event` for events of one shape; an event without a key has no id yet."""
        tenant, names, unknown = self.request.tenant, columns["event_name"], repeat(None)
        prints = []
        for piece in pieces:
            if piece.canonical is None:
                raise ValueError("it was looked at more closely")
            prints.append(canonical.fingerprint(self.scope, piece.canonical))
        columns["fingerprint"], columns["payload"] = prints, [piece.raw for piece in pieces]
        if properties:
            columns["properties"] = [
                canonical.properties(dict(zip(properties, row, strict=True)))
                for row in zip(*properties.values(), strict=True)
            ]
        players, devices = columns.get("player_id", unknown), columns.get("device_id", unknown)
        if players is not unknown or devices is not unknown:
            columns["identity"] = list(map(identity_key, repeat(tenant, len(pieces)), players, devices))
        transactions = columns.get("transaction_id", unknown)
        if not WAGERS.isdisjoint(names):
            amounts, parents = columns.get("amount", unknown), columns.get("parent_transaction_id", unknown)
            columns["bet_key"] = list(map(bet_key, repeat(tenant), names, amounts, transactions, parents))
        dedup = self._all_dedup_keys(names, transactions, prints, places)
        if dedup is not None:
            columns["dedup_key"], columns["event_id"] = dedup, list(map(uuid5_bytes, dedup))
        return columns

    def _all_dedup_keys(
        self, names: Column, transactions: Iterable[str | None], prints: Column, places: Sequence[int]
    ) -> list[str] | None:
        """`_dedup_key` for events of one shape."""
        tenant, dialect, header = self.request.tenant, self.dialect, self.header
        if not isinstance(transactions, repeat):
            return [
                key(tenant, dialect, "transaction", name, transaction)
                for name, transaction in zip(names, transactions, strict=True)
            ]
        if header is not None:
            return [key(tenant, dialect, "header", header, place) for place in places]
        if self.by_content:
            return [key(tenant, dialect, "fingerprint", print_.hex()) for print_ in prints]
        return None

    def _new_ids(self, groups: Sequence[tuple[Sequence[int], dict[str, Column]]]) -> None:
        """Gives ids to the events that have no key, in the order sent."""
        without = [(places, columns) for places, columns in groups if "dedup_key" not in columns]
        new = {place: self.request.new_id() for place in sorted(place for places, _ in without for place in places)}
        for places, columns in without:
            columns["event_id"] = [new[place] for place in places]

    def _dedup_key(
        self, draft: Draft, name: str, transaction: str | None, print_: bytes, index: int | None
    ) -> str | None:
        """The first rule that applies; each names itself, so that no two rules share a key."""
        tenant, dialect = self.request.tenant, self.dialect
        if draft.key is not None:
            return key(tenant, dialect, *draft.key)
        if transaction is not None:
            return key(tenant, dialect, "transaction", name, transaction)
        if self.header is not None:
            place = () if index is None else (index,)
            return key(tenant, dialect, "header", self.header, *place)
        return key(tenant, dialect, "fingerprint", print_.hex()) if self.by_content else None


def ids(events: Sequence[Event]) -> list[str]:
    """The ids of the events as texts, in their order."""
    if len(events) == 1:
        return [uuid_text(events[0]["event_id"])]
    whole = b"".join(column(events, "event_id")).hex().encode()
    return [b"-".join(parts).decode() for parts in _uuid_parts(whole)]  # half the time of one by one


_uuid_parts = Struct("8s4s4s4s12s").iter_unpack


def header(headers: Mapping[str, str], name: str, faults: list[Fault]) -> str | None:
    """The value of a header that is a key or a name; what neither may be is a fault."""
    value = headers.get(name.lower())
    if value is None:
        return None
    if not 1 <= len(value) <= HEADER_LENGTH or not value.isprintable():
        faults.append(Fault(name, f"must have 1 to {HEADER_LENGTH} printable characters"))
        return None
    return value


def refusal(faults: list[Fault], status: int = 400) -> Refusal:
    """The refusal that names all the faults."""
    first, more = faults[0], len(faults) - 1
    whose = "the body" if first.index is None else f"event {first.index}"
    if first.field:
        whose = first.field if first.index is None else f"{whose}: {first.field}"
    also = f" (and {more} more)" if more else ""
    return Refusal(status, f"{whose} {first.message}{also}", faults if more < MANY_FAULTS else _first(faults))


def _first(faults: list[Fault]) -> list[Fault]:
    """As many of them as make an answer of ``ANSWER`` bytes."""
    sizes = accumulate(len(orjson.dumps(fault)) for fault in faults)
    return faults[: next((count for count, size in enumerate(sizes) if size > ANSWER), None)]
