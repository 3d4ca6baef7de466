from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

class DecodeError(ValueError):
    """The bytes are not a record of the schema they claim."""

class TooLarge(ValueError):  # noqa: N818
    """An output or a state is more than Kafka takes."""

class OriginError(ValueError):
    """The header is not an origin."""

def partition_of(record_key: bytes, partitions: int, /) -> int: ...
def packed_coordinates(header: bytes, /) -> bytes: ...
def records(data: bytes, count: int, offset: int, timestamp: int, append_time: int, /) -> list[Record]: ...

Change = tuple[int, bytes, bytes, int]

def packed_changes(changes: Iterable[Change], most: int, /) -> list[bytes]: ...
def apply_changes(
    changes: list[Change], put: Callable[[bytes, bytes], object], delete: Callable[[bytes], object], /
) -> None: ...

class Reader:
    def __init__(
        self,
        name: str,
        fields: tuple[Any, ...],
        whole: bool,
        text: bool,
        slots: tuple[int, ...],
        defaults: tuple[Any, ...],
        start: int,
        header: bytes,
        other: Callable[[bytes], tuple[Any, ...]] | None,
        /,
    ) -> None: ...
    def read(self, data: bytes, /) -> tuple[Any, ...]: ...

class Writer:
    def __init__(self, fields: tuple[Any, ...], header: bytes, /) -> None: ...
    def write(self, record: Mapping[str, Any] | tuple[Any, ...], /) -> bytes: ...

class Record:
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> list[tuple[str, bytes | None]]: ...

class Batch:
    def __new__(cls, most: int, /) -> Self: ...
    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    def add(
        self, timestamp: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]], /
    ) -> bool: ...
    def take(self) -> bytes: ...

class Filter:
    def __new__(cls, size: int, /) -> Self: ...
    @property
    def room(self) -> int: ...
    def add(self, keys: list[bytes], /) -> None: ...
    def may_hold(self, key: bytes, /) -> bool: ...

class State:
    changes: dict[bytes, tuple[int, bytes, bytes, int]]
    meta: dict[str, Any]
    partition: int
    log: int
    offset: int
    clock: int
    _ordered: list[bytes] | None
    _reads: Any
    def __new__(
        cls,
        reads: Any,
        filter: Any,
        meta: dict[str, Any],
        partition: int,
        log: int,
        most: int,
        insort: Callable[[list[bytes], bytes], None],
        /,
    ) -> Self: ...
    def get(self, key: bytes, /) -> bytes | None: ...
    def put(self, key: bytes, value: bytes, /) -> None: ...

class Outbox:
    targets: dict[tuple[str, int], list[Any]]
    def __new__(cls, make: Callable[[], Any], /) -> Self: ...
    def add(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        timestamp: int,
        /,
    ) -> None: ...

class Emit:
    epoch: int
    offset: int
    timestamp: int
    index: int
    trace: tuple[str, bytes] | None
    scratch: dict[Any, Any]
    def __new__(cls, add: Any, source: bytes, partitions: dict[str, int], epoch: int, most: int, /) -> Self: ...
    @property
    def cause(self) -> bytes | None: ...
    @property
    def coordinates(self) -> bytes | None: ...
    def record(self, topic: Any, key: bytes, value: bytes, /) -> None: ...
    def _write(self, topic: str, key: bytes, value: bytes, offset: int, index: int, timestamp: int, /) -> None: ...

class Entry:
    handled: int
    dropped: int
    def __init__(
        self,
        state: State,
        emit: Emit,
        marks: dict[bytes, bytes],
        letter: Callable[[bytes], bool],
        gap: Callable[[int, int], None],
        dense: bool,
        /,
    ) -> None: ...
    def enter(self, record: Any, /) -> bool: ...
    def run(self, records: list[Any], step: Callable[[Any, Any, Any], None], /) -> None: ...
