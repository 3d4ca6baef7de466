"""The compiled codec beside fastavro, on one canonical event: `python -m bench.codec`.

Microseconds per event and their ratio, each the best of several rounds that take turns, so that noise meets both.
"""

import timeit
from collections.abc import Callable
from io import BytesIO

import fastavro

from schemas.registry import EVENT
from tests.events import event

ROUNDS, TIMES = 15, 2_000
WANTED = ("event_id", "tenant", "event_name", "event_time", "player_id")
BET = event(
    event_name="bet", player_id="player-12345", amount=5, currency="USD", transaction_id="tx_554433", dedup=1,
    game_type="slot", game_provider="EA", ip_address="203.0.113.1", user_agent="Mozilla/5.0 (X11; Linux x86_64)",
)  # fmt: skip


def compare(title: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Prints both and the ratio."""
    pairs = [[min(timeit.repeat(run, number=TIMES, repeat=1)) for run in (ours, theirs)] for _ in range(ROUNDS)]
    mine, other = (min(times) / TIMES * 1e6 for times in zip(*pairs, strict=True))
    print(f"{title:22} {mine:6.2f} us, fastavro {other:6.2f} us, ratio {mine / other:.2f}")


def main() -> None:
    kind, record = EVENT.latest.parsed, EVENT.encode(BET)
    body = record[len(EVENT.latest.header) :]
    read = EVENT.reader(*WANTED)
    compare("write an event", lambda: EVENT.encode(BET), lambda: fastavro.schemaless_writer(BytesIO(), kind, BET))
    compare(
        "read five of its fields", lambda: read(record), lambda: fastavro.schemaless_reader(BytesIO(body), kind, None)
    )


if __name__ == "__main__":
    main()
