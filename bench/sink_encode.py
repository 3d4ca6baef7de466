"""How many events a second one CPU makes ready for ClickHouse: `python -m bench.sink_encode`.

Prints microseconds per event for joining the records as they are, and for what is done with the few batches for which
that cannot be: decoding (a run of 500 records at a time, as the sink does) and encoding a block in the Native format.
The best of five rounds, and the events per second of both ways. Nothing is sent.
"""

import random
import time
from collections.abc import Callable
from typing import Any

from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.transform import NativeTransform

from runtime.agent import Record
from runtime.origin import place, source
from schemas.money import to_bytes
from schemas.registry import EVENT
from sinks.avro import new_mark
from sinks.feeds import EventFeed
from sinks.table import Block
from sinks.writer import ONE_BLOCK

EVENTS, RUN, ROUNDS = 20_000, 500, 5
PAYLOAD = (
    b'{"client_user_id":"user_001","click_id":"clk_998877","ip_address":"203.0.113.1","event_name":"bet",'
    b'"game_type":"slot","game_provider":"EA","transaction_id":"tx_554433","timestamp":1702963200123,"amount":50.00,'
    b'"currency":"USD","is_crypto":false,"bet_result":"win","bet_result_amount":12.50,"extra":"abc"}'
)


def record(nth: int, rng: random.Random) -> Record:
    """A bet as revosurge sends it."""
    fields: dict[str, Any] = {field["name"]: None for field in EVENT.latest.schema["fields"]}
    fields |= {
        "event_id": nth.to_bytes(16, "big"), "fingerprint": bytes(16), "event_name": "bet", "tenant": "acme",
        "dedup_key": f'["acme","revosurge","tx","bet","tx_{nth}"]', "identity": f'["acme","player","user_{nth % 997}"]',
        "bet_key": f'["acme","tx_{nth}"]', "dialect": "revosurge", "event_time": 1_790_000_000_000 + nth,
        "received_at": 1_790_000_000_250 + nth, "player_id": f"user_{nth % 997}", "transaction_id": f"tx_{nth}",
        "amount": to_bytes(rng.randrange(10**21)), "currency": "USD", "is_crypto": False, "bet_result": "win",
        "bet_result_amount": to_bytes(rng.randrange(10**20)), "game_type": "slot", "game_provider": "EA",
        "click_id": f"clk_{nth}", "ip_address": "203.0.113.1", "properties": '{"extra":"abc"}', "payload": PAYLOAD,
    }  # fmt: skip
    origin = source("dedup", 0, 77, nth % 8) + place(nth, 0)
    return Record("events", 0, nth, fields["received_at"], b"", EVENT.encode(fields), (("origin", origin),))


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    """Microseconds per event of the fastest round, and what it gave."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        given = work()
        fastest = min(fastest, time.perf_counter() - started)
    return fastest / EVENTS * 1e6, given


def main() -> None:
    rng = random.Random(7)
    records = [record(nth, rng) for nth in range(EVENTS)]
    names = [field["name"] for field in EVENT.latest.schema["fields"] if field["name"] not in ("identity", "bet_key")]
    columns = dict.fromkeys(names, "") | {"properties": "JSON(max_dynamic_paths=32)"}
    del columns["fingerprint"]
    feed = EventFeed({"events_rows": columns}, 86_400_000)
    (table,) = feed.tables

    def join() -> int:
        values, passage = feed.passed(records), feed.passage
        assert values is not None
        assert passage is not None
        feed.received(records)
        return len(passage.body(values, new_mark()))

    def decode() -> Block:
        block = Block(table)
        for start in range(0, EVENTS, RUN):
            ((given, causes),) = feed.rows(records[start : start + RUN])
            block.extend(given, causes)
        return block

    def encode() -> int:
        context = InsertContext(
            table.name, [c.name for c in table.columns], [c.type for c in table.columns], column_oriented=True,
            block_size=ONE_BLOCK,
        )  # fmt: skip
        context.data = block.columns
        return sum(map(len, NativeTransform().build_insert(context)))

    joining, size = best(join)
    print(f"as they are {joining:.1f} us an event of {size // EVENTS} bytes: {1e6 / joining:,.0f} events/s")
    decoding, block = best(decode)
    encoding, size = best(encode)
    print(f"decode {decoding:.1f} us, encode {encoding:.1f} us an event of {size // EVENTS} bytes")
    print(f"{1e6 / (decoding + encoding):,.0f} events/s")


if __name__ == "__main__":
    main()
