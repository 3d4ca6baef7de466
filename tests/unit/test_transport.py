"""What the batch transport sets that Faust has no setting for."""

import asyncio
from pathlib import Path
from typing import Any

from faust.transport.drivers import aiokafka as driver

from runtime.app import batch_app
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
