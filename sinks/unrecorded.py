"""Replays in ingest.events that no table knows of: `sluice dlq replay` died between appending and recording them.

Errors: KafkaError, OSError.
"""

from collections.abc import Iterator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from runtime.ending import end
from runtime.origin import LETTER
from schemas.topics import INGEST_EVENTS


async def replays(bootstrap: str, offsets: Mapping[int, Sequence[int]]) -> dict[int, set[int]]:
    """Those of ``offsets``, by partition, at which the log has a replay."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        await consumer.start()
        return {partition: await _in(consumer, partition, wanted) for partition, wanted in offsets.items()}
    finally:
        await end(consumer)


async def _in(consumer: AIOKafkaConsumer, partition: int, wanted: Sequence[int]) -> set[int]:
    place = TopicPartition(INGEST_EVENTS.name, partition)
    consumer.assign([place])
    found = set()
    for start, last in _runs(wanted):
        consumer.seek(place, start)
        while await consumer.position(place) <= last:
            for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, ()):
                if start <= record.offset <= last and any(name == LETTER for name, _ in record.headers):
                    found.add(record.offset)
    return found


def _runs(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive offsets."""
    start = last = None
    for offset in sorted(offsets):
        if start is None or last is None:
            start = offset
        elif offset != last + 1:
            yield start, last
            start = offset
        last = offset
    if start is not None and last is not None:
        yield start, last
