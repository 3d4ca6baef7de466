"""Puts the events that a batch brings for one player among those that are known, touching as few sessions as it can.

One that comes behind all known ones, or among those of the player's last session, as most do, needs no look at the
state but that session. For any other its two neighbours decide, each by the rule for neighbours: it stays within a
session, extends one, joins two, or splits one; only a split and a join have to read events again.

Events are placed in the order in which they came, not in that of their times. A batch that ended earlier (a worker died
in it, say) would have written the sessions of that moment; placed in the same order, each of them comes up here too,
and is withdrawn if it is gone by the batch's end. Only where the stored neighbours are is looked up in the order of
places, so that one cursor passes them all.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from operator import itemgetter

from runtime.agent import Cursor, State
from streams.sessionizing import OTHER, Event, Session, begins, is_repeat, pause

HEAD, SESSION, EVENT = b"h", b"s", b"e"
_RANK = 8
"""Where an event's rank stands in its place, behind its time."""


def unplaced(events: list[Event], session: Session | None, state: State, prefix: bytes) -> list[Event]:
    """The events without those that have their place already; ``session`` is the current one.

    An event comes again where a rebuild takes it from its own record, or from ClickHouse, and then meets the replay of
    the dead letter that it once was.
    """
    if len(events) > 1:
        places = {event.place: event for event in events}
        events = events if len(places) == len(events) else list(places.values())
    last = b"" if session is None else session.last  # behind it is none
    again = [event for event in events if event.place <= last and state.get(prefix + EVENT + event.place) is not None]
    return [event for event in events if event not in again] if again else events


def extended(session: Session, events: list[Event], gap: int) -> bool:
    """Whether the events are all of the current session and change nothing else, as most do; it then has them.

    So it is where no event has a rank of its own and each is within the session, or behind it and near.
    """
    first, last = session.first, session.last
    if not session.is_plain():
        return False
    for event in events:
        place = event[0]
        if place[_RANK] != OTHER:
            return False
        if place > last:
            if int.from_bytes(place[:_RANK]) - int.from_bytes(last[:_RANK]) > gap:
                return False
            last = place
        elif place < first:
            return False
    session.last = last
    for event in events:
        session.count(event)
    return True


@dataclass(slots=True)
class Touched:
    """A session that the batch has changed."""

    session: Session
    assigned: list[Event] = field(default_factory=list)
    """Events that came to belong to it; some may have left it again."""
    all: bool = False
    """Every event of it came to belong to it: its first event, and with it its id, is new."""


class Placing:
    """One player's events of one batch. ``run``, then ``save``; then ``touched`` and ``gone`` say what changed."""

    def __init__(self, gap: int, state: State, cursor: Cursor, prefix: bytes) -> None:
        """``prefix`` is the player's part of the state's keys; milliseconds of ``gap``."""
        self._gap, self._state, self._cursor = gap, state, cursor
        self._head, self._events, self._sessions = prefix + HEAD, prefix + EVENT, prefix + SESSION
        self._placed: list[bytes] = []
        self._added: dict[bytes, Event] = {}
        self._stored: dict[bytes, tuple[bytes | None, bytes | None]] = {}
        self.touched: dict[bytes, Touched] = {}
        """By the place of the session's first event."""
        self.gone: set[bytes] = set()
        """First places of sessions that no longer exist, or no longer under the id by the rule."""
        self._current: Session | None = state.load(self._head, Session.unpack)
        self._known_last = b"" if self._current is None else self._current.last
        """Place of the last stored event; b"" without any."""

    def run(self, events: list[Event]) -> None:
        """Places the events, in this order."""
        placed, added, session = self._placed, self._added, self._current
        if session is not None:
            last, surrounds = session.last, session.surrounds
            # The stored neighbours of those, as far as can be said before any event is placed.
            far = [event.place for event in events if event.place <= last and not surrounds(event.place)]
            if far:
                self._look_up(sorted(far))
        for event in events:
            place, session = event.place, self._current
            if session is None or place > session.last:
                self._append(event, session)
                placed.append(place)
            else:
                if session.surrounds(place):
                    session.count(event)
                    self._touch(session).assigned.append(event)
                else:
                    self._insert(event)
                insort(placed, place)
            added[place] = event

    def _look_up(self, places: list[bytes]) -> None:
        """Finds the stored neighbours of places, ascending, that are not behind all stored events."""
        cut, cursor = len(self._events), self._cursor
        before = after = None
        for place in places:
            if after is None or place > after:
                found, previous = cursor.seek(self._events + place), cursor.previous()
                if not found.startswith(self._events):
                    raise LookupError("the state has lost an event")
                after = found[cut:]
                before = previous[cut:] if previous.startswith(self._events) else None
            self._stored[place] = (before, after)

    def save(self) -> None:
        """Writes events, sessions and head to the state."""
        put = self._state.put
        prefix = self._events
        for place, event in self._added.items():
            put(prefix + place, event.pack())
        for first in self.gone:
            self._state.delete(self._sessions + first)
        for first, touched in self.touched.items():
            if touched.session is not self._current:
                put(self._sessions + first, touched.session.pack())
        assert self._current is not None
        self._state.keep(self._head, self._current, Session.pack)

    def assigned(self, touched: Touched) -> list[Event]:
        """The events that the batch made the session's."""
        first, last = touched.session.first, touched.session.last
        if touched.all:
            return self._between(first, last)
        return [event for event in touched.assigned if first <= event.place <= last]

    def _append(self, event: Event, session: Session | None) -> None:
        """The event is behind all that are known, of which ``session`` has the last."""
        place = event.place
        if session is None or begins(session.last, place, self._gap):
            if session is not None:
                self._touch(session)  # no longer the current one, it gets an entry of its own
            repeats = session is not None and is_repeat(session.last, place)
            session = self._current = self._new(Session(place, place, repeats=repeats))
        else:
            session.paused += pause(session.last, place)
            session.last = place
        session.count(event)
        self._touch(session).assigned.append(event)

    def _insert(self, event: Event) -> None:
        """The event belongs between two that are known, or before all of them."""
        place = event.place
        before, after = self._neighbours(place)
        to_left = before is not None and not begins(before, place, self._gap)
        to_right = not begins(place, after, self._gap)
        right = self._holding(after)
        left: Session | None
        if before is not None and right.first <= before:  # both neighbours are of one session
            if to_left and to_right:
                right.paused += pause(before, place) + pause(place, after) - pause(before, after)
                right.count(event)
                self._touch(right).assigned.append(event)
                return
            left, right = right, self._split(right, before, after)
        else:
            left = self._holding(before) if before is not None and to_left else None
        if to_left and before is not None and left is not None:
            target = left
            target.paused += pause(before, place)
            target.last = place
        else:
            target = self._new(Session(place, place, repeats=is_repeat(before, place)))
            self._touch(target).all = True
        target.count(event)
        touched = self._touch(target)
        touched.assigned.append(event)
        if to_right:
            self._join(touched, right, pause(place, after))
        elif is_repeat(place, after) and not right.repeats:  # the id by the rule is now this one's
            right.repeats, right.id = True, b""
            self._touch(right).all = True
            self.gone.add(right.first)

    def _split(self, session: Session, before: bytes, after: bytes) -> Session:
        """Cuts a session between two of its neighbours; returns what comes behind."""
        tail = Session.of(self._between(after, session.last))
        session.absorb(tail, -1)
        session.paused -= pause(before, after)
        session.last = before
        self._touch(session)
        self._new(tail)
        self._touch(tail).all = True
        if self._current is session:
            self._current = tail
        return tail

    def _join(self, into: Touched, right: Session, paused: int) -> None:
        """The session behind becomes part of this one, and is gone."""
        target = into.session
        target.paused += paused
        target.absorb(right)
        if not into.all:
            into.assigned.extend(self._between(right.first, right.last))
        target.last = right.last
        self.touched.pop(right.first, None)
        self.gone.add(right.first)
        if self._current is right:
            self._current = target
            self._state.delete(self._sessions + target.first)

    def _new(self, session: Session) -> Session:
        self.gone.discard(session.first)
        self.touched[session.first] = Touched(session)
        return session

    def _touch(self, session: Session) -> Touched:
        touched = self.touched.get(session.first)
        if touched is None:
            touched = self.touched[session.first] = Touched(session)
        return touched

    def _neighbours(self, place: bytes) -> tuple[bytes | None, bytes]:
        """The events next to a place that is not the last, stored or of this batch."""
        if place <= self._known_last and place not in self._stored:
            self._look_up([place])
        before, after = self._stored.get(place, (self._known_last or None, None))
        at = bisect_left(self._placed, place)
        if at and (before is None or self._placed[at - 1] > before):
            before = self._placed[at - 1]
        if at < len(self._placed) and (after is None or self._placed[at] < after):
            after = self._placed[at]
        assert after is not None
        return before, after

    def _holding(self, place: bytes) -> Session:
        """The session of a known event: the last that begins at or before it."""
        current = self._current
        if current is not None and current.first <= place:
            return current
        mine = max((first for first in self.touched if first <= place), default=b"")
        key = self._cursor.seek_back(self._sessions + place)
        while key.startswith(self._sessions) and key[len(self._sessions) :] in self.gone:
            key = self._cursor.previous()
        stored = key[len(self._sessions) :] if key.startswith(self._sessions) else b""
        session = self._load(max(mine, stored))
        if session is None:
            raise LookupError("older than what the state still holds; `sluice replay sessions` places it")
        return session

    def _load(self, first: bytes) -> Session | None:
        touched = self.touched.get(first)
        if touched is not None:
            return touched.session
        packed = self._state.get(self._sessions + first)
        return None if packed is None else Session.unpack(packed)

    def _between(self, first: bytes, last: bytes) -> list[Event]:
        """The events from one place to another, stored or of this batch."""
        found: list[Event] = []
        if first <= self._known_last:
            cut = len(self._events)
            stored = self._state.scan(self._events + first, self._events + last + b"\x00")
            found = [Event.unpack(key[cut:], packed) for key, packed in stored]
        placed = self._placed[bisect_left(self._placed, first) : bisect_left(self._placed, last + b"\x00")]
        if placed:
            found += [self._added[place] for place in placed]
            found.sort(key=_place)
        return found


_place = itemgetter(0)
