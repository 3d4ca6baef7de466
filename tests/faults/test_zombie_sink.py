"""A sink that stands still while a person is erased, and wakes up with rows that tell who it was."""

import signal
from collections.abc import Iterator

import pytest

from tests.events import T0, event
from tests.integration.test_forget import OWN, life, settle, sums, traces
from tests.integration.test_forget import forget as erase
from tests.sinks import SinkProcess, until
from tests.whole import Whole, whole

HELD = {
    "rows": ("events", "bets", "sessions", "attributions"),
    "the sessions of events": ("assignments",),  # they follow the sessions' rows, in the same batch
}


ZOE = f"player_id = '{OWN['player_id']}'"


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("zombie")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("held", HELD)
def test_it_does_not_bring_the_person_back(stack: Whole, held: str) -> None:
    """Its inserts are under way, and arrive after everything is rewritten."""
    stack.pipeline.ingest([event(player_id="p1", nth=i, dedup=f"other{i}", event_time=T0 + i) for i in range(20)])
    settle(stack)
    for view in HELD[held]:
        # Not what reads the table, as copies of assignments do.
        stack.clickhouse.fail(kind="insert", table=rf"^\s*INSERT INTO \W?{view}_rows\b", hold=True, times=1)
    stack.pipeline.ingest(life(0))
    until(lambda: not stack.clickhouse.faults() and not stack.pipeline.lag(), 60, [stack.sink.log, stack.worker.log])
    stack.sink.signal(signal.SIGSTOP)
    other = SinkProcess(stack.kafka, stack.clickhouse.address, stack.sink.folder, 1).start()
    try:
        before_audit = settle(stack)
        before = sums(stack)
        sql = f"SELECT DISTINCT toString(session_id) FROM sessions WHERE {ZOE}"
        ids = stack.warehouse.client.query(sql).result_columns[0]

        def told() -> set[str]:
            """Tables that tell who it was; an old session_id does, being a hash."""
            tables = ("assignments_rows", "events_rows")
            old = {table: stack.count(table, f"session_id IN {tuple(ids)}") for table in tables}
            named = {"assignments" if old["assignments_rows"] else "", "copies" if old["events_rows"] else ""} - {""}
            return {line.split("_rows:")[0] for line in traces(stack)} | named

        assert told()
        assert erase(stack)["complete"]
        assert told() == set()
        stack.clickhouse.mend()
        until(lambda: told() >= set(HELD[held]), 60)  # the zombie's rows arrive
        stack.sink.signal(signal.SIGCONT)
        until(lambda: not told(), 60, [stack.sink.log])
        assert settle(stack) == before_audit
        assert sums(stack) == before
        assert stack.warehouse.value("SELECT uniqExact(player_id) FROM sessions") == 2
    finally:
        stack.sink.signal(signal.SIGCONT)
        assert other.stop() == 0
