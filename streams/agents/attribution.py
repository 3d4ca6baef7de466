"""Attribution: each conversion or registration with the touch that is credited for it, the last of the strongest kind.

A **touch** is an event named ``impression`` or ``click``, a **conversion** one named ``conversion``, ``register``,
``registration`` or ``signup`` (as in the view funnel_daily), of any dialect. A late event (semantics.md, Sessions) is
neither. A touch can be credited for a conversion of the same tenant if

* both have the same click id, the same player or the same device (their **link**), and
* it happened no later than the conversion and no more than the window (7 days) before it, by event time.

Of several, the first of these that differs decides:

1. the link: click id before player before device, since a click id names one click, and a device may be shared;
2. the campaign: where the conversion names one, a touch of that campaign before any other;
3. the kind: a click before an impression, since it is an act and the other only an opportunity;
4. the last, by (event_time, event_id, ingest coordinates).

A conversion without a touch is unattributed, and has a row that says so. As in sessions the result follows from the set
of accepted events alone: a touch that comes after its conversion, or a conversion that comes late, restates the row.

This agent sees the touches and conversions of one link (streams/agents/touches.py) and so decides 2 to 4; it writes a
row for each link of a conversion, of which the view ``attributions`` shows the strongest that found a touch.

State, all keys behind 16 bytes of the link's hash; the place is the event's in the order of 4:

    c or i, campaign's hash or zeros, place  -> a click or impression, once among its campaign's and once among all
    g, place                                 -> a conversion, with the rank of the touch that it is credited to

Since touches are only ever added, a new one changes a conversion exactly if it ranks higher than the one credited so
far.

An entry is removed when no event that still comes can have to do with it. What still comes was received no longer
before the latest that has come than the logs on its way keep it, and happened no longer before that than the lateness;
a touch is kept for the window more. (In `events` each ingest partition is in order, which lets sessions forget sooner;
behind a second topic it is not.) A dead letter that is replayed after that finds nothing of what it needs; `sluice
replay attribution` puts that right.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from runtime.agent import NEVER, Ageing, Agent, Emit, State
from runtime.changelog import Marker
from runtime.origin import PACKED
from runtime.settings import Settings
from schemas.keys import TOUCHES as NAMES
from schemas.keys import uuid5_bytes
from schemas.registry import EVENT
from schemas.topics import DAY, INGEST_RETENTION, LATER_RETENTION, ROWS, TOUCHES
from streams.sessionizing import OTHER, coordinates_of, event_id_of, order_key, time_of

ATTRIBUTIONS = ROWS["attributions"]
UNDER_WAY = INGEST_RETENTION + LATER_RETENTION
"""Milliseconds that an event may be on its way here: in ingest.events, and in events."""
HASH = 16
KINDS = {"click": b"c", "impression": b"i"}
STRENGTH = {"impression": 1, "click": 2}
GOAL = b"g"
RECEIVED = "received"
"""Name of a fact about the partition: received_at of the latest event."""
ANY = bytes(16)
"""In the place of a campaign: touches of all campaigns, and of none."""
_read = EVENT.reader(
    "event_id", "event_name", "event_time", "received_at", "player_id", "device_id", "click_id", "campaign",
    "utm_source", "utm_medium", "utm_campaign",
)  # fmt: skip


class Touch(NamedTuple):
    """A click or impression, but for its place."""

    name: str
    campaign: str | None
    utm_source: str | None
    utm_medium: str | None
    utm_campaign: str | None

    def rank(self, place: bytes, conversion: "Conversion") -> bytes:
        """What of two touches is credited: the higher, compared as bytes."""
        same = conversion.campaign is not None and conversion.campaign == self.campaign
        return bytes((same, STRENGTH[self.name])) + place


@dataclass(slots=True)
class Conversion:
    """A conversion or registration, but for its place, and the rank of the touch that it is credited to."""

    name: str
    received: int
    player: str | None
    device: str | None
    click: str | None
    campaign: str | None
    rank: bytes = b""

    def pack(self) -> bytes:
        known = (self.name, self.received, self.player, self.device, self.click, self.campaign, self.rank.hex())
        return orjson.dumps(known)

    @classmethod
    def unpack(cls, packed: bytes) -> "Conversion":
        fields: list[Any] = orjson.loads(packed)
        fields[-1] = bytes.fromhex(fields[-1])
        return cls(*fields)


class Attributor:
    """The agent's functions, for a window and a lateness in milliseconds."""

    def __init__(self, window: int, lateness: int) -> None:
        self._window, self._lateness = window, lateness

    def step(self, record: Any, state: State, emit: Emit) -> None:
        """Takes in a touch or a conversion, and writes the rows that change by it."""
        event_id, name, time, received, player, device, click, campaign, *utm = _read(record.value)
        coordinates = emit.coordinates
        if coordinates is None:
            raise ValueError("an event without its coordinates: neither of the headers origin and cause is there")
        emit.scratch[RECEIVED] = max(received, emit.scratch.get(RECEIVED, received))
        if received - time > self._lateness:
            return
        place = order_key(time, OTHER, event_id, coordinates)
        link = Link(record.key, coordinates, state, emit, self._window)
        if name in NAMES:
            link.touch(place, Touch(name, campaign, *utm))
        else:
            link.convert(place, Conversion(name, received, player, device, click, campaign))

    def close(self, state: State, emit: Emit) -> None:
        """Notes when the latest event was received."""
        for name, received in emit.scratch.items():
            state.meta[name] = max(received, state.meta.get(name, received))

    def horizon(self, marker: Marker) -> int:
        """Neither a conversion nor a touch may still come that happened before this."""
        return int(marker.meta[RECEIVED]) - UNDER_WAY - self._lateness if RECEIVED in marker.meta else NEVER

    def matters(self, key: bytes, _: bytes) -> int:
        """Time of the last event that could have to do with the entry."""
        if key[HASH : HASH + 1] == GOAL:
            return time_of(key[HASH + 1 :])
        return time_of(key[HASH + 1 + len(ANY) :]) + self._window


class Link:
    """The touches and conversions of one click id, player or device."""

    def __init__(self, key: bytes, cause: bytes, state: State, emit: Emit, window: int) -> None:
        """``cause`` is the place in ingest.events of the event at hand, packed."""
        self._key, self._cause, self._state, self._emit, self._window = key, cause, state, emit, window
        self._prefix = uuid5_bytes(key.decode())

    def touch(self, place: bytes, touch: Touch) -> None:
        """Keeps the touch, and credits it for the conversions behind it that had a weaker one."""
        packed, kind = orjson.dumps(tuple(touch)), KINDS[touch.name]
        self._state.put(self._prefix + kind + ANY + place, packed)
        if touch.campaign is not None:
            self._state.put(self._prefix + kind + _scope(touch.campaign) + place, packed)
        time = time_of(place)
        for key, value in self._within(GOAL, time, time + self._window):
            conversion = Conversion.unpack(value)
            rank = touch.rank(place, conversion)
            if rank > conversion.rank:
                self._credit(key[HASH + 1 :], conversion, touch, rank)

    def convert(self, place: bytes, conversion: Conversion) -> None:
        """Keeps the conversion, credited to the best touch before it that is known."""
        scopes = [ANY] if conversion.campaign is None else [_scope(conversion.campaign), ANY]
        for scope in scopes:
            for kind in KINDS.values():
                found = self._last(kind + scope, time_of(place))
                if found is not None:
                    at, touch = found
                    self._credit(place, conversion, touch, touch.rank(at, conversion))
                    return
        self._credit(place, conversion, None, b"")

    def _last(self, group: bytes, time: int) -> tuple[bytes, Touch] | None:
        """Place and touch of the group's last in the window before ``time``."""
        start, stop = self._bounds(group, time - self._window, time)
        for key, value in self._state.scan_back(start, stop):
            return key[HASH + len(group) :], Touch(*orjson.loads(value))
        return None

    def _within(self, group: bytes, first: int, last: int) -> list[tuple[bytes, bytes]]:
        """Entries of a group by event time, both ends included."""
        return list(self._state.scan(*self._bounds(group, first, last)))

    def _bounds(self, group: bytes, first: int, last: int) -> tuple[bytes, bytes]:
        return self._prefix + group + _time(first), self._prefix + group + _time(last + 1)

    def _credit(self, place: bytes, conversion: Conversion, touch: Touch | None, rank: bytes) -> None:
        conversion.rank = rank
        self._state.put(self._prefix + GOAL + place, conversion.pack())
        row = self._row(place, conversion, touch, rank[2:])
        self._emit.row(ATTRIBUTIONS, self._key, self._key + place, row)

    def _row(self, place: bytes, conversion: Conversion, touch: Touch | None, touched: bytes) -> dict[str, Any]:
        tenant, link, _ = orjson.loads(self._key)
        log, partition, offset = coordinates_of(place)
        caused = PACKED.unpack(self._cause)
        known = coordinates_of(touched) if touch else (None, None, None)
        return {
            "tenant": tenant,
            "link": link,
            "conversion_id": event_id_of(place),
            "conversion_name": conversion.name,
            "converted_at": time_of(place),
            "received_at": conversion.received,
            "player_id": conversion.player,
            "device_id": conversion.device,
            "click_id": conversion.click,
            "conversion_campaign": conversion.campaign,
            "touch_name": touch.name if touch else "",
            "touch_id": event_id_of(touched) if touch else None,
            "touched_at": time_of(touched) if touch else None,
            "campaign": touch.campaign if touch else None,
            "utm_source": touch.utm_source if touch else None,
            "utm_medium": touch.utm_medium if touch else None,
            "utm_campaign": touch.utm_campaign if touch else None,
            "conversion_ingest_log": log,
            "conversion_ingest_partition": partition,
            "conversion_ingest_offset": offset,
            "touch_ingest_log": known[0],
            "touch_ingest_partition": known[1],
            "touch_ingest_offset": known[2],
            "epoch": self._emit.epoch,
            "partition": self._state.partition,
            "offset": self._emit.offset,
            "ingest_log": caused[0],
            "ingest_partition": caused[1],
            "ingest_offset": caused[2],
        }


def _scope(campaign: str) -> bytes:
    return uuid5_bytes(campaign)


def _time(time: int) -> bytes:
    """What the places of events at that time begin with."""
    return order_key(time, OTHER, bytes(16), b"")[:8]


def make(window: int, lateness: int) -> Agent:
    """The agent, for a window and a lateness in milliseconds."""
    attributor = Attributor(window, lateness)
    return Agent(
        name="attribution",
        source=TOUCHES,
        step=attributor.step,
        outputs=(ATTRIBUTIONS,),
        version=2,
        close=attributor.close,
        ageing=Ageing(attributor.horizon, attributor.matters),
        retention=window + lateness + UNDER_WAY + DAY,
    )


def agent(settings: Settings) -> Agent:
    """The agent, by its settings."""
    return make(round(settings.attribution_window * 1000), round(settings.lateness * 1000))
