"""A batch's way through an agent's step (native/entry.c), against the same in plain Python."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import native
from native import Entry
from runtime.agent import MAX_RECORD, Emit, Record, State
from runtime.changelog import DELETE, PUT
from runtime.filter import Filter
from runtime.origin import CAUSE, HEADER, LETTER, PACKED, PLACE, Origin, OriginError, ingest_coordinates, place, source
from runtime.producer import Batch, Outbox
from runtime.testing import MemoryStore
from schemas.keys import partition_of
from schemas.topics import EVENTS

TRACE = "traceparent"
ORIGINS = st.builds(
    lambda name, partition, offset, index: source(name, 0, -7, partition) + place(offset, index),
    st.sampled_from(["dedup", "a", ""]), st.integers(0, 2), st.integers(0, 5), st.integers(0, 2),
)  # fmt: skip
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just(HEADER), ORIGINS | st.binary(max_size=14)),
        st.tuples(st.just(CAUSE), ORIGINS | st.binary(max_size=3)),
        st.tuples(st.just(LETTER), st.binary(min_size=17, max_size=18)),
        st.tuples(st.just(TRACE), st.binary(max_size=5)),
        st.tuples(st.sampled_from(["other", "originx", "caus"]), st.binary(max_size=5)),
    ),
    max_size=3,
)
BATCHES = st.lists(st.tuples(st.integers(0, 1 << 42), HEADERS), max_size=12)


class Gap(Exception):  # noqa: N818
    """As runtime.step's."""


def gap(expected: int, found: int) -> None:
    raise Gap(expected, found)


def mine(letter: bytes) -> bool:
    return letter[16] % 2 == 0


@dataclass
class Plain:
    """What entry.c does, as it would be written in Python."""

    dense: bool
    marks: dict[bytes, bytes] = field(default_factory=dict)
    offset: int = -1
    clock: int = -1
    cause: bytes | None = None
    trace: Any = None

    def enter(self, offset: int, timestamp: int, headers: Sequence[tuple[str, bytes]]) -> bool:
        if offset != self.offset + 1 and self.dense:
            raise Gap(self.offset + 1, offset)
        self.offset, self.clock = offset, max(self.clock, timestamp)
        self.cause = self.trace = None
        if not headers:
            return True
        name, value = headers[0]
        self.trace = next((item for item in headers if item[0] == TRACE), None)
        cause = next((found for key, found in headers if key == CAUSE), None) if len(headers) > 1 else None
        if name == HEADER:
            known, mark = value[:-PLACE], value[-PLACE:]
            if mark <= self.marks.get(known, b""):
                return False
            self.marks[known] = mark
            self.cause = cause or value
        elif name == LETTER:
            if not mine(value):
                return False
            self.cause = cause
        elif name == CAUSE and not self.dense:
            self.cause = value
        return True


def of_kafka(records: Sequence[Record]) -> list[Any]:
    """The same records as they are fetched."""
    batch = Batch()
    for record in records:
        assert batch.add(record.timestamp, record.key, record.value, list(record.headers))
    count, first = batch.count, batch.first
    return native.records(batch.take(), count, 0, first, -1)


def entry(add: Any = None, dense: bool = True, marks: dict[bytes, bytes] | None = None) -> tuple[Entry, State, Emit]:
    nothing: Any = {}
    state = State(nothing, {}, 3, -7)
    emit = Emit(add or (lambda *_: None), source("agent", 2, -7, 3), {EVENTS.name: 5}, 2)
    return Entry(state, emit, {} if marks is None else marks, mine, gap, dense), state, emit


@given(BATCHES, st.booleans(), st.booleans(), st.integers(0, 12))
@settings(max_examples=500, deadline=None)
def test_a_record_is_known_by_its_headers(batch: Any, dense: bool, fetched: bool, cut: int) -> None:
    records = [Record("t", 0, n, at, None, b"v", tuple(headers)) for n, (at, headers) in enumerate(batch)]
    plain, marks, said = Plain(dense), {}, []  # type: ignore[var-annotated]
    for part in (slice(0, cut), slice(cut, None)):  # what was seen in one batch is known in the next
        entries, state, _ = entry(dense=dense, marks=marks)
        state.offset, state.clock = plain.offset, plain.clock
        expected = []
        for record in records[part]:
            admitted = plain.enter(record.offset, record.timestamp, record.headers)
            expected += [(record.offset, plain.cause, plain.trace, plain.clock)] if admitted else []

        def step(record: Any, state: Any, emit: Any, said: list[Any] = said) -> None:
            assert (emit.offset, emit.timestamp) == (record.offset, record.timestamp)
            assert state.offset == record.offset
            said.append((record.offset, emit.cause, emit.trace, state.clock))

        given = (of_kafka(records) if fetched else records)[part]
        entries.run(given, step)
        assert said == expected
        assert (entries.handled, entries.dropped) == (len(given), len(given) - len(expected))
        assert (state.offset, state.clock) == (plain.offset, plain.clock)
        assert marks == plain.marks
        said.clear()


def test_a_gap_is_told_and_a_step_that_fails_is_counted_up_to() -> None:
    records = [Record("t", 0, n, 5, None, b"v") for n in (0, 1, 3)]
    entries, _, _ = entry()
    with pytest.raises(Gap) as told:
        entries.run(records, lambda *_: None)
    assert told.value.args == (2, 3)
    assert entries.handled == 2
    entries, _, _ = entry(dense=False)
    entries.run(records, lambda *_: None)
    assert entries.handled == 3

    def failing(record: Any, *_: Any) -> None:
        if record.offset == 1:
            raise ZeroDivisionError

    entries, _, _ = entry()
    with pytest.raises(ZeroDivisionError):
        entries.run(records, failing)
    assert entries.handled == 1


def test_what_is_no_record_is_an_error() -> None:
    entries, _, _ = entry()
    for wrong in (None, object(), Record("t", 0, 0, 1, None, None, (("origin", None),))):  # type: ignore[arg-type]
        with pytest.raises((TypeError, AttributeError)):
            entries.enter(wrong)
    for wrong in ((None, None, {}, mine, gap, True), ({}, {}, {}, mine, gap, True), (1,)):
        with pytest.raises(TypeError):
            Entry(*wrong)


def test_coordinates_are_those_of_the_cause() -> None:
    origin = source("dedup", 1, -7, 3) + place(1 << 40, 2)
    entries, _, emit = entry()
    assert emit.coordinates is None
    assert entries.enter(Record("t", 0, 0, 1, None, b"", ((HEADER, origin),)))
    assert emit.cause == origin
    assert PACKED.unpack(emit.coordinates or b"") == (-7, 3, 1 << 40) == ingest_coordinates(origin)
    assert entries.enter(Record("t", 0, 1, 1, None, b"", ((HEADER, b"short"),)))
    with pytest.raises(OriginError, match="not an origin: b'short'"):
        _ = emit.coordinates
    for wrong in (b"", b"\x02" + origin[1:], origin[:28]):
        with pytest.raises(OriginError):
            native.packed_coordinates(wrong)


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=50)), min_size=1, max_size=9), st.booleans())
@settings(max_examples=100, deadline=None)
def test_outputs_tell_where_they_come_from(outputs: list[tuple[bytes, bytes]], called: bool) -> None:
    """To an outbox of ours or to any function, they are the same."""
    box, calls = Outbox(_Outlet(), None), []  # type: ignore[arg-type]
    entries, _, emit = entry((lambda *given: calls.append(given)) if called else box.add)
    cause, trace = source("dedup", 0, -7, 3) + place(9, 0), (TRACE, b"00-1")
    first = Record("t", 0, 0, 77, None, b"", ((HEADER, source("x", 0, 1, 0) + place(4, 0)), trace, (CAUSE, cause)))
    assert entries.enter(first)
    for key, value in outputs:
        emit.record(EVENTS, key, value)
    emit._write(EVENTS.name, b"k", b"row", 5, 6, 78)
    assert emit.index == len(outputs)
    expected = []
    for index, (key, value) in enumerate(outputs):
        headers = [(HEADER, source("agent", 2, -7, 3) + place(0, index)), trace, (CAUSE, cause)]
        expected.append((EVENTS.name, partition_of(key, 5), key, value, headers, 77))
    row = [(HEADER, source("agent", 2, -7, 3) + place(5, 6))]
    expected.append((EVENTS.name, partition_of(b"k", 5), b"k", b"row", row, 78))
    if not called:
        for (topic, partition), batches in box.targets.items():
            for batch in batches:
                count, since = batch.count, batch.first
                calls += [
                    (topic, partition, record.key, record.value, record.headers, record.timestamp)
                    for record in native.records(batch.take(), count, 0, since, -1)
                ]
        expected.sort(key=lambda output: output[1])
        calls.sort(key=lambda output: output[1])
    assert calls == expected
    assert Origin.parse(expected[0][4][0][1]).agent == "agent"


class _Outlet:
    def batch(self) -> Batch:
        return Batch()


def test_an_output_to_a_topic_that_was_not_named_or_of_no_bytes_is_an_error() -> None:
    _, _, emit = entry()
    with pytest.raises(AttributeError):
        emit.record("events", b"k", b"v")
    emit._write(EVENTS.name, b"k", b"v", 1, 2, 3)
    with pytest.raises(ValueError, match="elsewhere is not among the agent's outputs"):
        emit._write("elsewhere", b"k", b"v", 1, 2, 3)
    for key, value in ((None, b""), (b"", None), ("k", b"")):
        with pytest.raises(TypeError):
            emit.record(EVENTS, key, value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an output of"):
        emit.record(EVENTS, b"k", bytes(MAX_RECORD))
    with pytest.raises(ValueError, match="an output of"):
        emit.record(EVENTS, bytes(MAX_RECORD), b"v")
    with pytest.raises(ValueError, match="a row of"):
        emit._write(EVENTS.name, bytes(MAX_RECORD), b"v", 1, 2, 3)


def test_state_is_what_is_stored_and_the_changes_before_it() -> None:
    asked = []

    class Stored(dict[bytes, bytes]):
        filter = Filter(0)

        def get(self, key: bytes, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    reads: Any = Stored({b"a": bytes(8) + b"one", b"b": bytes(8), b"new": bytes(8) + b"x"})
    reads.filter.add([b"a", b"b"])
    state = State(reads, {}, 0, 1)
    state.offset = 5
    assert [state.get(b"a"), state.get(b"b"), state.get(b"new")] == [b"one", b"", None]
    assert asked == [b"a", b"b"], "what the filter does not hold is not asked for"
    state.put(b"a", b"two")
    state.delete(b"b")
    assert [state.get(b"a"), state.get(b"b")] == [b"two", None]
    assert state.changes == {b"a": (PUT, b"a", b"two", 5), b"b": (DELETE, b"b", b"", 5)}
    for key, value in ((b"k", None), ("k", b""), (b"k", "v")):
        with pytest.raises(TypeError):
            state.put(key, value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a state of"):
        state.put(b"k", bytes(MAX_RECORD))
    with pytest.raises(ValueError, match="a state of"):
        state.put(bytes(MAX_RECORD), b"v")
    no_key: Any
    for no_key, error in ((b"", ValueError), ("k", TypeError), (None, TypeError)):
        for call in (state.get, state.delete, lambda key: state.put(key, b"")):
            with pytest.raises(error):
                call(no_key)
    assert len(state.changes) == 2


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.booleans()), max_size=12), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_changes_are_scanned_in_order_however_late_they_come(changes: list[tuple[bytes, bool]], looked: int) -> None:
    store = MemoryStore.__new__(MemoryStore)
    store._data = {b"b": bytes(8) + b"stored"}
    store.filter = Filter.unknown()
    state, known = State(store, {}, 0, 1), {b"b": b"stored"}
    for n, (key, kept) in enumerate(changes):
        if n == looked:
            list(state.scan(b"a", b"z"))
        if kept:
            state.put(key, b"%d" % n)
            known[key] = b"%d" % n
        else:
            state.delete(key)
            known.pop(key, None)
    assert list(state.scan(b"a", b"z")) == sorted(known.items())
    assert list(state.scan_back(b"a", b"z")) == sorted(known.items())[::-1]


def test_a_filter_finds_what_was_added() -> None:
    found = Filter(1000)
    room = found.room
    keys = [b"%d" % n for n in range(1000)]
    found.add(keys)
    assert all(map(found.may_hold, keys))
    assert found.room == room - 1000
    assert sum(found.may_hold(b"other %d" % n) for n in range(10_000)) < 100
    assert Filter.unknown().may_hold(b"any")
    assert Filter.unknown().room == 0
    for wrong in (3, -1):
        with pytest.raises(ValueError, match="power of two"):
            native.Filter(wrong)
