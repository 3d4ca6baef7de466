"""Dedup by record key on Quix Streams: quix_dedup.py BROKER TOPIC EVENTS GUARANTEE. Prints events/s.

Runs in an environment of its own (requirements.txt beside it), and imports nothing of Sluice's.
"""

import os
import sys
import tempfile
import time
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found]

broker, topic, events, guarantee = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
application = Application(
    broker_address=broker,
    consumer_group=f"quix-{time.time_ns()}",
    auto_offset_reset="earliest",
    state_dir=tempfile.mkdtemp(prefix="quix-"),
    processing_guarantee=guarantee,
    producer_extra_config={"compression.type": "snappy"},
)
started, handled = 0.0, 0


def is_first(_: Any, state: Any) -> bool:
    """Whether the record's key has not been seen before."""
    global started, handled
    started, handled = started or time.perf_counter(), handled + 1
    if handled == events:
        print(events / (time.perf_counter() - started), flush=True)
        os._exit(0)
    if state.get("seen"):
        return False
    state.set("seen", True)
    return True


source = application.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
target = application.topic(f"{topic}-quix", value_serializer="bytes")
application.run(application.dataframe(source).filter(is_first, stateful=True).to_topic(target))
