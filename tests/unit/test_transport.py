"""What the batch transport sets that Faust has no setting for."""

import asyncio
from pathlib import Path
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from runtime.app import batch_app
from runtime.plain import PlainWorker
from runtime.settings import load
from runtime.transport import FETCH_WAIT


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


def test_a_record_that_a_plain_agent_handled_twice_does_not_stall_commits(tmp_path: Path) -> None:
    tp = TP("events", 0)

    async def offsets() -> tuple[int | None, int | None]:
        consumer: Any = PlainWorker([], load(data_dir=tmp_path))._made().consumer
        found = []
        for new_offset in (consumer._new_offset, lambda tp: driver.Consumer._new_offset(consumer, tp)):
            consumer._acked[tp], consumer._acked_index[tp] = [4, 2, 3, 3, 4, 1], {1, 2, 3, 4}
            found.append(new_offset(tp))
        consumer._thread.thread_loop.close()
        return found[0], found[1]

    ours, fausts = asyncio.run(offsets())
    assert ours == 5
    assert fausts == 4, "Faust passes over a second acknowledgement now: is our override still needed?"
