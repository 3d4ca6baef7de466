"""What is written here for speed is byte for byte what the driver writes by itself."""

import random

import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.insert import InsertContext

from sinks.wire import Uuid

CONTEXT = InsertContext("any", ["id"], [get_from_name("UUID")])


@pytest.mark.parametrize("nullable", [False, True])
def test_uuids(nullable: bool) -> None:
    rng = random.Random(5)
    column = [rng.randbytes(16) for _ in range(100)] + [bytes(16), bytes(range(16))]
    given = [*column, None, column[0]] if nullable else column
    ours, drivers = Uuid.of(nullable), get_from_name("Nullable(UUID)" if nullable else "UUID")
    assert ours.name == drivers.name
    written = [bytearray(), bytearray()]
    for kind, to in zip((ours, drivers), written, strict=True):
        kind.write_column(given, to, CONTEXT)
    assert written[0] == written[1]
    assert len(written[0]) == len(given) * (17 if nullable else 16)
