"""The idempotency index on this gateway's disk: RocksDB, which keeps what was written through a SIGKILL.

Each day has a folder of its own, so that what has expired is dropped by the folder, without compaction work, and the
index never holds more than the window and a day.
"""

import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

from rocksdict import BlockBasedOptions, Options, Rdict

DAY = 24 * 60 * 60
_TIME = struct.Struct(">d")


class DiskStore:
    """A store for one process; raises nothing but what the disk raises (a full or broken disk stops the gateway)."""

    def __init__(self, folder: Path, window: float, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._window, self._clock = folder, window, clock
        self._days: dict[int, Rdict] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            self._open(int(path.name))
        self._drop_expired()

    async def get(self, key: str) -> bytes | None:
        raw, oldest = key.encode(), self._clock() - self._window
        for database in self._days.values():
            value = database.get(raw)
            if value is not None and _TIME.unpack_from(value)[0] > oldest:
                return bytes(value[_TIME.size :])
        return None

    async def put(self, key: str, value: bytes) -> None:
        now = self._clock()
        day = int(now // DAY)
        if day not in self._days:
            self._open(day)
            self._drop_expired()
        self._days[day][key.encode()] = _TIME.pack(now) + value

    async def claim(self, key: str) -> str | None:
        return ""  # the folder is this process's alone, which has its leaders

    async def release(self, key: str, claim: str) -> None:
        pass

    async def close(self) -> None:
        for database in self._days.values():
            database.close()
        self._days.clear()

    def _open(self, day: int) -> None:
        blocks = BlockBasedOptions()
        blocks.set_bloom_filter(10, False)  # most look-ups are for keys that no day has
        options = Options(raw_mode=True)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_size(8 * 1024 * 1024)
        options.set_max_write_buffer_number(2)
        options.set_keep_log_file_num(2)
        self._days[day] = Rdict(str(self._folder / str(day)), options)
        self._days = dict(sorted(self._days.items(), reverse=True))

    def _drop_expired(self) -> None:
        oldest = int((self._clock() - self._window) // DAY)
        for day in [day for day in self._days if day < oldest]:
            self._days.pop(day).close()
            shutil.rmtree(self._folder / str(day))
