"""What ends a command with a sentence: a server that is away, refuses, or cannot answer."""

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.topics import unreachable
from runtime.settings import Settings
from runtime.table import TableError
from sinks.clickhouse import Refused, Unreachable

FAILURES = (Unreachable, Refused, TableError, KafkaError, ClickHouseError)


def sentence(settings: Settings, error: Exception) -> str:
    """What one of them says to a person."""
    if isinstance(error, KafkaError):
        return unreachable(settings, error)
    if isinstance(error, ClickHouseError):
        return f"ClickHouse at {settings.clickhouse_url()} cannot answer: {error}"
    return str(error)
