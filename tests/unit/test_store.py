"""The store on a real RocksDB."""

from pathlib import Path

import pytest

from runtime.changelog import PUT, Marker
from runtime.store import OFFSET, Caches, StateFailed, Store


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
