"""One partition's state on disk: RocksDB, a cache of what the changelog holds.

The write-ahead log is off: what a crash takes out of memory is read again from the changelog, from the position that
stands in the database beside the data it describes (one WriteBatch, so either both are there or neither).

Errors: StateInUse; StateDamaged, whose folder must be dropped and rebuilt; StateFailed, a disk that is full or away.
"""

import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompactionStyle,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

import native
from runtime.changelog import Change, ChangelogError, Marker
from runtime.filter import Filter

META = b""
"""Key of the marker and the position: the one key that an agent may not use."""
RESERVED = b"\x00sluice\x00"
"""Prefix of the runtime's own entries."""
_POSITION = struct.Struct(">qq")
_OFFSET = struct.Struct(">q")
OFFSET = _OFFSET.size
WRITE_BUFFER = 8 * 1024 * 1024
RUNS = 8
"""Sorted runs before some are merged. Few keys are looked for that are not there (``Filter``), so it costs little."""
FILES = 512
"""Kept open, of some twenty that a store has: RocksDB counts them in 64 parts, of which each needs room for a few."""


class StateInUse(Exception):  # noqa: N818
    """Another process has this folder open."""


class StateDamaged(Exception):  # noqa: N818
    """The folder can't be read; it is only a cache, so drop it and read the changelog."""


class StateFailed(Exception):  # noqa: N818
    """The disk fails, not what is on it: wait."""


_key = itemgetter(1)

_DAMAGE = ("Corruption", "No such file", "Invalid argument")


def _failure(folder: Path, error: Exception) -> Exception:
    """What rocksdict's plain Exception means."""
    text = str(error)
    if "/LOCK:" in text:
        return StateInUse(f"{folder} is open in another process: give each worker a slot of its own")
    return (StateDamaged if any(sign in text for sign in _DAMAGE) else StateFailed)(f"{folder}: {text}")


class Caches:
    """The block cache that all stores of a process share. Bytes."""

    def __init__(self, size: int) -> None:
        self.blocks = Cache(size)


def _options(caches: Caches) -> Options:
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_cache(caches.blocks)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(WRITE_BUFFER)
    options.set_max_write_buffer_number(2)
    options.set_compaction_style(DBCompactionStyle.universal())  # keys are random: levels would be rewritten whole
    options.set_level_zero_file_num_compaction_trigger(RUNS)
    options.set_level_zero_slowdown_writes_trigger(4 * RUNS)
    options.set_level_zero_stop_writes_trigger(5 * RUNS)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    options.set_max_open_files(FILES)
    options.set_keep_log_file_num(2)
    return options


class Store:
    """A RocksDB of values by key, each with the offset of the input record that last changed it."""

    def __init__(self, folder: Path, caches: Caches) -> None:
        """Opens or creates. Raises StateInUse, StateDamaged."""
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = Rdict(str(folder), _options(caches), access_type=AccessType.read_write())
        except Exception as error:
            raise _failure(folder, error) from error
        write = WriteOptions()
        write.disable_wal = True
        self._db.set_write_options(write)
        self._get = self._db.get
        self._in_passing = ReadOptions()
        self._in_passing.fill_cache(False)  # whoever reads everything would leave nothing else in it
        self._begin_filter()

    def _begin_filter(self) -> None:
        self.filter = Filter.unknown() if self._keys(b"", 1) else Filter(0)
        """Asked before the store is."""
        self._next: Filter | None = None
        """The filter that takes its place once it has every key, and how far those were read."""
        self._next_from = b""

    def get(self, key: bytes) -> bytes | None:
        """The value behind its offset's eight bytes, as stored. Raises StateDamaged, StateFailed."""
        if not self.filter.may_hold(key):
            return None
        return self._read(key)

    def _read(self, key: bytes) -> bytes | None:
        try:
            return self._get(key)  # type: ignore[no-any-return]
        except Exception as error:
            raise _failure(self.folder, error) from error

    def _keys(self, start: bytes, count: int) -> list[bytes]:
        """Up to ``count`` stored keys from ``start`` on, ascending."""
        found = self._first(self._db.keys, start, count)
        if len(found) < count:
            self._check_end(found[-1] + b"\x00" if found else start)
        return found

    def learn(self, count: int) -> None:
        """Reads up to ``count`` keys on for a new filter, where the one in use is full or knows nothing.

        Raises StateDamaged, StateFailed.
        """
        if self._next is None:
            if self.filter.room > 0:
                return
            self._next, self._next_from = Filter(self.size()), b""
        found = self._keys(self._next_from, count)
        self._next.add(found)
        if len(found) < count:
            self.filter, self._next = self._next, None
        elif found:
            self._next_from = found[-1] + b"\x00"

    def entries(self, start: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Up to ``count`` stored pairs from ``start`` on, ascending: half the time of a scan.

        Raises StateDamaged, StateFailed.
        """
        found = self._first(self._db.items, start, count)
        if len(found) < count:
            self._check_end(found[-1][0] + b"\x00" if found else start)
        return found

    def _first(self, read: Callable[..., Iterable[Any]], start: bytes, count: int) -> list[Any]:
        try:
            return list(islice(read(from_key=start or b"\x00", read_opt=self._in_passing), count))
        except Exception as error:
            raise _failure(self.folder, error) from error

    def _check_end(self, start: bytes) -> None:
        """Raises if there is anything from ``start`` on: what can't be read just ends rocksdict's generators."""
        rest = self._db.iter(self._in_passing)
        rest.seek(start or b"\x00")
        if self.found(rest):
            raise StateFailed(f"{self.folder}: what stands from the key {start.hex()} on could not be read")

    def found(self, place: Any) -> bool:
        """Whether an iterator stands on a key; it doesn't at the end, either. Raises StateDamaged, StateFailed."""
        if place.valid():
            return True
        try:
            place.status()
        except Exception as error:
            raise _failure(self.folder, error) from error
        return False

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Stored pairs with start <= key < stop, ascending. Raises StateDamaged, StateFailed."""
        place = self._db.iter()
        place.seek(start or b"\x00")
        while self.found(place):
            key = place.key()
            if key >= stop:
                return
            yield key, place.value()
            place.next()

    def scan_back(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Stored pairs with start <= key < stop, descending. Raises StateDamaged, StateFailed."""
        place = self._db.iter()
        place.seek_for_prev(stop)
        if self.found(place) and place.key() >= stop:
            place.prev()
        while self.found(place):
            key = place.key()
            if key < start or key == META:
                return
            yield key, place.value()
            place.prev()

    def cursor(self) -> "StoreCursor":
        """A cursor over the keys as they are now, which raises StateDamaged, StateFailed."""
        return StoreCursor(self, self._db.iter())

    def meta(self) -> tuple[Marker, int, int] | None:
        """(marker, position in the changelog, its incarnation), or None. Raises StateDamaged, StateFailed."""
        raw = self._read(META)
        if raw is None:
            return None
        position, log = _POSITION.unpack_from(raw)
        try:
            return Marker.decode(raw[_POSITION.size :]), position, log
        except ChangelogError as error:
            raise StateDamaged(f"{self.folder}: {error}") from error

    def write(self, changes: Iterable[Change], marker: Marker, position: int, log: int) -> None:
        """Changes, marker and position in one WriteBatch. Raises StateDamaged, StateFailed."""
        batch, ordered = self.batch(), sorted(changes, key=_key)  # in order they cost RocksDB half
        keys = list(map(_key, ordered))
        self.filter.add(keys)
        if self._next is not None:
            self._next.add(keys)
        native.apply_changes(ordered, batch.put, batch.delete)
        batch.put(META, _POSITION.pack(position, log) + marker.encode())
        self._apply(batch)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Removes entries that can have no effect any more. Raises StateDamaged, StateFailed."""
        batch = self.batch()
        for key in keys:
            batch.delete(key)
        self._apply(batch)

    def batch(self) -> Any:
        """An empty WriteBatch."""
        return WriteBatch(raw_mode=True)

    def _apply(self, batch: Any) -> None:
        try:
            self._db.write(batch)
        except Exception as error:
            raise _failure(self.folder, error) from error

    def flush(self) -> None:
        """Memory to disk, so that the next start has less to read."""
        self._db.flush()

    def size(self) -> int:
        """About how many keys there are."""
        return int(self._db.property_int_value("rocksdb.estimate-num-keys") or 0)

    def close(self) -> None:
        """Flushes and releases the folder."""
        self._db.close()

    @classmethod
    def drop(cls, folder: Path) -> None:
        """Removes a closed store."""
        shutil.rmtree(folder, ignore_errors=True)


class StoreCursor:
    """runtime.agent.Cursor over RocksDB."""

    def __init__(self, store: Store, place: Any) -> None:
        self._store, self._place = store, place

    def seek(self, key: bytes) -> bytes:
        self._place.seek(key)
        return self._key()

    def seek_back(self, key: bytes) -> bytes:
        self._place.seek_for_prev(key)
        return self._key()

    def previous(self) -> bytes:
        self._place.prev()
        return self._key()

    def _key(self) -> bytes:
        return self._place.key() if self._store.found(self._place) else b""


def offset_of(stored: bytes) -> int:
    """The input offset of a stored value's last change."""
    return int(_OFFSET.unpack_from(stored)[0])
