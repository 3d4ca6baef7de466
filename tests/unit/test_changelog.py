"""Groups survive interleaving and interruption whole or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import changelog
from runtime.changelog import CARRIED, DELETE, PUT, ChangelogError, Marker, Reader, encode

CHANGES = st.lists(
    st.tuples(
        st.sampled_from([PUT, DELETE, CARRIED]), st.binary(max_size=20), st.binary(max_size=40), st.integers(0, 2**62)
    ),
    max_size=30,
)


@given(CHANGES, st.integers(1, 200))
def test_a_group_comes_back_whole(changes: list[changelog.Change], part: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changelog, "PART", part)
        parts = encode(changes, Marker(applied=7, meta={"a": 1}), b"w" * 16, 3)
    reader = Reader()
    groups = [reader.add(data) for data in parts]
    assert groups[:-1] == [None] * (len(parts) - 1)
    group = groups[-1]
    assert group is not None
    assert list(group.changes()) == changes
    assert (group.marker.applied, group.marker.meta) == (7, {"a": 1})
    assert not reader.pending


@given(st.data())
def test_interleaved_writers_and_half_groups(data: st.DataObject) -> None:
    """Two writers' parts in any interleaving; each may give up in the middle of a group and begin the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changelog, "PART", 1)
        streams, whole = [], set()
        for name in (b"a", b"b"):
            parts: list[bytes] = []
            for group in range(data.draw(st.integers(0, 4))):
                made = encode([(PUT, b"k%d" % i, name, i) for i in range(3)], Marker(applied=group), name * 16, group)
                kept = data.draw(st.integers(0, len(made)))
                parts += made[:kept]
                if kept == len(made):
                    whole.add((name, group))
            streams.append(parts)
    order = data.draw(st.permutations([0] * len(streams[0]) + [1] * len(streams[1])))
    reader, found = Reader(), set()
    for which in order:
        group_ = reader.add(streams[which].pop(0))
        if group_:
            kinds = list(group_.changes())
            assert len(kinds) == 3
            found.add((kinds[0][2], group_.marker.applied))
    assert found == whole


def test_a_group_whose_beginning_is_gone_does_not_count() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changelog, "PART", 1)
        parts = encode([(PUT, b"a", b"1", 1), (PUT, b"b", b"2", 2)], Marker(), b"w" * 16, 1)
    reader = Reader()
    assert [reader.add(data) for data in parts[1:]] == [None] * (len(parts) - 1)


@pytest.mark.parametrize("data", [b"", b"\x00" * 60, b"\x01", b"\x02" * 60])
def test_foreign_records_are_named(data: bytes) -> None:
    with pytest.raises(ChangelogError):
        Reader().add(data)
