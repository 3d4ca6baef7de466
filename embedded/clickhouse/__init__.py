"""ClickHouse without its server: the engine as a library (chDB) behind ClickHouse's HTTP interface, as a process."""

from embedded.clickhouse.process import ClickHouse

__all__ = ["ClickHouse"]
