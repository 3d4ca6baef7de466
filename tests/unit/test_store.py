"""The store on a real RocksDB."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import filter as filters
from runtime.changelog import DELETE, PUT, Change, Marker
from runtime.store import OFFSET, Caches, StateDamaged, StateFailed, Store, StoreCursor

RANDOM = [os.urandom(16) for _ in range(500)]
KEYS = [*RANDOM, *(key + b"\x00" for key in RANDOM)]
SOME = [*KEYS[:12], *KEYS[500:512]]
CHANGES = st.lists(st.tuples(st.sampled_from([PUT, DELETE]), st.sampled_from(SOME)), max_size=20)


def test_entries_and_scans_agree(tmp_path: Path) -> None:
    store = Store(tmp_path / "state", Caches(1 << 20))
    keys = [bytes((n,)) * 3 for n in range(1, 40)]
    store.write([(PUT, key, b"value of " + key, n) for n, key in enumerate(keys)], Marker(applied=7), 1, 2)
    found = store.entries(b"", 100)
    assert [key for key, _ in found] == keys, "the marker's own entry is none of the agent's"
    assert [value[OFFSET:] for _, value in found] == [b"value of " + key for key in keys]
    assert found == list(store.scan(b"", b"\xff" * 4)) == list(store.scan_back(b"", b"\xff" * 4))[::-1]
    assert store.entries(keys[10], 5) == found[10:15]
    assert store.entries(keys[10] + b"\x00", 5) == found[11:16]
    assert store.entries(b"\xff", 5) == []
    store.close()
    with pytest.raises(StateFailed):
        store.entries(b"", 5)


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Store]:
    """A store of which the middle can't be read."""
    store, keys = Store(tmp_path / "state", Caches(1 << 20)), [os.urandom(16) for _ in range(5000)]
    store.write([(PUT, key, os.urandom(60), 1) for key in keys], Marker(), 1, 2)
    store.close()
    (file,) = (tmp_path / "state").glob("*.sst")
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes(9000) + content[middle + 9000 :])
    store = Store(tmp_path / "state", Caches(1 << 20))
    yield store
    store.close()


def walk(store: Store, start: Callable[[StoreCursor], bytes], on: Callable[[StoreCursor, bytes], bytes]) -> None:
    cursor = store.cursor()
    key = start(cursor)
    while key:
        key = on(cursor, key)


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.entries(b"", 5001),
        lambda store: store.learn(5001),
        lambda store: list(store.scan(b"", b"\xff" * 17)),
        lambda store: list(store.scan_back(b"", b"\xff" * 17)),
        lambda store: walk(store, lambda to: to.seek(b"\x00"), lambda to, key: to.seek(key + b"\x00")),
        lambda store: walk(store, lambda to: to.seek_back(b"\xff" * 17), lambda to, _: to.previous()),
        lambda store: walk(store, lambda to: to.seek_back(b"\xff" * 17), lambda to, key: to.seek_back(key[:-1])),
    ],
    ids=["entries", "learn", "scan", "scan_back", "seek", "previous", "seek_back"],
)
def test_what_cant_be_read_is_no_end(damaged: Store, read: Callable[[Store], object]) -> None:
    with pytest.raises(StateDamaged):
        read(damaged)


def test_a_store_whose_first_key_cant_be_read_is_released(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    store = Store(folder, Caches(1 << 20))
    store.write(puts(KEYS), Marker(), 1, 2)
    store.close()
    (file,) = folder.glob("*.sst")
    file.write_bytes(bytes(1000) + file.read_bytes()[1000:])
    with suppress(StateDamaged):  # whoever keeps the error keeps the folder
        Store(folder, Caches(1 << 20)).close()
        pytest.fail("it opened")
    Store.drop(folder)
    Store(folder, Caches(1 << 20)).close()


def puts(keys: Iterable[bytes]) -> list[Change]:
    return [(PUT, key, b"value", 1) for key in keys]


def asked(store: Store, keys: Iterable[bytes]) -> int:
    """How many of these RocksDB is asked for; none of them is there."""
    read, found = store._get, []

    def get(key: bytes) -> bytes | None:
        found.append(key)
        return read(key)  # type: ignore[no-any-return]

    store._get = get
    assert [store.get(key) for key in keys] == [None for _ in keys]
    store._get = read
    return len(found)


def test_what_is_not_there_is_known_without_a_look(tmp_path: Path) -> None:
    store, others = Store(tmp_path / "state", Caches(1 << 20)), [os.urandom(16) for _ in range(1000)]
    store.write(puts(KEYS), Marker(), 1, 2)
    assert None not in [store.get(key) for key in KEYS]
    assert asked(store, others) < 50
    store.close()
    store = Store(tmp_path / "state", Caches(1 << 20))
    assert asked(store, others) == 1000, "nothing is known yet"
    for _ in range(1001):
        store.learn(1)
    assert None not in [store.get(key) for key in KEYS]
    assert asked(store, others) < 50
    store.close()


def test_a_filter_grows_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "LEAST", 64)
    store, others = Store(tmp_path / "state", Caches(1 << 20)), [os.urandom(16) for _ in range(1000)]
    for at in range(0, 1000, 10):
        store.write(puts(KEYS[at : at + 10]), Marker(), 1, 2)
        store.learn(20)
    assert None not in [store.get(key) for key in KEYS]
    assert asked(store, others) < 200
    store.close()


@given(st.lists(CHANGES | st.integers(0, 12) | st.just("reopen"), max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_filter_hides_nothing(tmp_path_factory: pytest.TempPathFactory, steps: list[object]) -> None:
    folder, offsets = tmp_path_factory.mktemp("state"), count()
    held: dict[bytes, Change] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "LEAST", 16)
        store = Store(folder, Caches(1 << 20))
        for step in steps:
            match step:
                case "reopen":
                    store.close()
                    store = Store(folder, Caches(1 << 20))
                case int():
                    store.learn(step)
                case list():
                    made = {key: (kind, key, b"value", next(offsets)) for kind, key in step}
                    store.write(made.values(), Marker(), 1, 2)
                    held |= made
            expected = [key in held and held[key][0] == PUT for key in SOME]
            assert [store.get(key) is not None for key in SOME] == expected
        store.close()
