"""What the batch transport sets that Faust has no setting for."""

import asyncio
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from runtime.app import batch_app, name_member, raw_topic
from runtime.batches import Answer
from runtime.settings import load
from runtime.transport import FETCH_WAIT, Fetching, _LeanRecords


def test_a_fetch_that_finds_nothing_holds_up_the_other_partitions_for_a_moment_only(tmp_path: Path) -> None:
    async def waits() -> tuple[int, int]:
        app = batch_app("sink", load(data_dir=tmp_path))
        consumer: Any = app.consumer
        found = []
        for thread in (consumer._thread, driver.Consumer._new_consumer_thread(consumer)):
            made = thread._create_worker_consumer(app.transport)
            found.append(made._fetch_max_wait_ms)
            thread.thread_loop.close()
            await made.stop()
        return found[0], found[1]

    ours, fausts = asyncio.run(waits())
    assert ours == FETCH_WAIT
    assert fausts == 1500, "Faust waits for another time now: is its fetch still held up?"


def test_a_fetch_waits_for_as_much_as_the_app_asks_for(tmp_path: Path) -> None:
    async def least(fetching: Fetching | None) -> tuple[int, int]:
        app = batch_app("sink", load(data_dir=tmp_path), fetching)
        thread: Any = app.consumer._thread
        made = thread._create_worker_consumer(app.transport)
        thread.thread_loop.close()
        await made.stop()
        return made._fetch_max_wait_ms, made._fetch_min_bytes

    assert asyncio.run(least(None)) == (FETCH_WAIT, 1)
    assert asyncio.run(least(Fetching(wait=100, least=4096))) == (100, 4096)


def test_every_partition_is_looked_at_at_once(tmp_path: Path) -> None:
    """Faust makes a task with a timer for each, which a sink of many topics pays for once a second."""

    async def looked() -> tuple[list[Any], int]:
        app = batch_app("sink", load(data_dir=tmp_path))
        consumer: Any = app.consumer
        found: list[Any] = []
        consumer.assignment = lambda: {TopicPartition("t", n) for n in range(3)}
        consumer._has_caught_up = lambda tp: True
        consumer.verify_recovery_event_path = lambda now, tp: found.append(tp)
        before = len(asyncio.all_tasks())
        await consumer.verify_all_partitions_active()
        consumer._thread.thread_loop.close()
        return sorted(found), len(asyncio.all_tasks()) - before

    assert asyncio.run(looked()) == ([TopicPartition("t", n) for n in range(3)], 0)


WAITED, PATIENCE = TP("events", 0), 300.0
"""Of the partition below; and Faust's, in seconds."""


@pytest.mark.parametrize(
    ("what", "inbound", "highwater", "committed", "said"),
    [
        ("nothing waits", 400.0, 8, 8, ""),
        ("a record that never came to the agent", None, 9, 8, "Stream has not started processing"),
        ("a record that does not come to the agent", 400.0, 9, 8, "Stream stopped processing"),
        ("records that are not committed", 0.0, 9, 5, "Has not committed"),
    ],
)
def test_what_stands_still_is_said_once_it_has_for_long(
    what: str, inbound: float | None, highwater: int, committed: int, said: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Faust takes what waits for a moment after quiet minutes for what has waited through them."""
    now = 1000.0
    state = SimpleNamespace(highwater=8, position=8, has_valid_position=True, timestamp=now * 1000)

    async def run() -> tuple[str, str]:
        app: Any = batch_app("sink", load(data_dir=tmp_path))
        consumer = app.consumer
        assignment = SimpleNamespace(active=True, state_value=lambda _tp: state)
        subscriptions = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        consumer._thread._ensure_consumer = lambda: SimpleNamespace(
            _fetcher=SimpleNamespace(_subscriptions=subscriptions)
        )
        consumer.assignment = lambda: {WAITED}
        app.topics.acks_enabled_for = lambda _topic: True
        consumer._thread.time_started = consumer._thread.tp_last_committed_at[WAITED] = now - 400
        consumer._known[WAITED], consumer.fetched[WAITED] = 8, 7
        monkeypatch.setattr("runtime.transport.time.monotonic", lambda: now)

        async def look(after: float) -> str:
            nonlocal now
            now += after
            state.timestamp = now * 1000
            if inbound is not None:
                app.monitor.stream_inbound_time[WAITED] = now - inbound
            caplog.clear()
            await consumer.verify_all_partitions_active()
            return caplog.text

        quiet = await look(0)
        state.highwater, consumer._known[WAITED] = highwater, committed
        at_once = quiet + await look(1.25)
        later = await look(PATIENCE)
        consumer._thread.thread_loop.close()
        return at_once, later

    at_once, later = asyncio.run(run())
    assert at_once == ""
    assert said in later if said else not later


def test_a_member_has_another_name_only_where_it_reads_other_topics(tmp_path: Path) -> None:
    async def name(*topics: str) -> str:
        app = batch_app("sink", load(data_dir=tmp_path))
        for topic in topics:
            app.agent(raw_topic(app, topic), name=f"sink.{topic}")(_idle)
        name_member(app)
        app.consumer._thread.thread_loop.close()
        return str(app.conf.consumer_group_instance_id)

    first, turned, more = (asyncio.run(name(*topics)) for topics in (("a", "b"), ("b", "a"), ("a", "b", "c")))
    assert first == turned != more
    assert first.rpartition("-")[0] == more.rpartition("-")[0]


async def _idle(_: Any) -> None:
    """An agent that takes nothing."""


def batch(offset: int) -> bytearray:
    """One record."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1000)
    builder.append(0, 1, b"key", b"value", [])
    made = builder.build()
    struct.pack_into(">q", made, 0, offset)
    return bytearray(made)


def test_behind_a_wrong_checksum_nothing_is_taken() -> None:
    """The batches before it were not delivered either: all is fetched again from where it began."""
    batches = [batch(offset) for offset in range(5, 8)]
    batches[1][-2] ^= 1
    answer = Answer(b"".join(map(bytes, batches)))
    taken = _LeanRecords(TopicPartition("t", 0), answer, [], 5, None, None, True, 0)
    with pytest.raises(CorruptRecordException, match="t-0@6"):
        iter(taken)
    assert list(taken) == []
    assert taken.next_fetch_offset == 5
