"""Microseconds per event of the gateway's pure half, stage by stage: `python -m bench.gateway.parse`.

Best of several rounds, so that a busy machine tells of itself less. The event is a bet with its result, 310 bytes; the
batch has a hundred of them. Stages are timed by themselves and need not add up to the whole.
"""

import argparse
import timeit
from collections.abc import Callable

from gateway import canonical, jsontext
from gateway.dialects import adwize, gamerebellion, revosurge, scrip
from gateway.dialects.base import Request
from gateway.drafts import Drafts
from gateway.entry import records
from schemas.registry import EVENT

NOW = 1_767_225_600_000
BET = (
    b'{"client_user_id":"user_001","click_id":"clk_998877","ip_address":"203.0.113.1","event_name":"bet",'
    b'"game_type":"slot","game_provider":"EA","transaction_id":"tx_554433","timestamp":1702963200123,"amount":50.00,'
    b'"currency":"USD","is_crypto":false,"bet_result":"win","bet_result_amount":12.50,"extra":"abc"}'
)
TRANSACTION = (
    b'{"event_type":"transaction","identifiers":{"player_id":"player-12345","device_id":"device-uuid"},'
    b'"utm":{"source":"facebook","medium":"cpc","campaign":"summer_2026"},"payload":{"amount":4.99,"currency":"USD",'
    b'"type":"iap","description":"Premium Sword","status":"success","usd_value":4.99}}'
)
PURCHASE = (
    b'{"source":"backend","event_type":"purchase","data":{"transaction_id":"TXN-12345","value":99.99,"currency":"USD"}}'
)
ORDER = (
    b'{"event_data":{"type":"order","amount":5.10,"currency":"EUR"},"event_timestamp":"2024-01-15T10:30:00Z",'
    b'"idempotency_key":"order-12345-completed","program_id":"550e8400-e29b-41d4-a716-446655440000",'
    b'"external_id":"user_abc123"}'
)
BATCH = 100
PARTITIONS = 8


def request(route: str, body: bytes) -> Request:
    """A request at a fixed time."""
    return Request(route, {}, {}, body, "acme", NOW)


def best(run: Callable[[], object], seconds: float, events: int = 1) -> float:
    """Microseconds per event of the fastest of five rounds."""
    timer = timeit.Timer(run)
    once = timer.timeit(50) / 50
    number = max(1, int(seconds / 5 / once))
    return min(timer.repeat(5, number)) / number / events * 1e6


def stages() -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, with the events that each run has."""
    one = request("POST /v2/s2s/event", BET)
    many = request("POST /v2/s2s/batch", b"[" + b",".join([BET] * BATCH) + b"]")
    purchases = request("POST /api/v1/events", b"[" + b",".join([PURCHASE] * BATCH) + b"]")
    piece = jsontext.read(BET)
    drafts = Drafts.of(one, "revosurge", by_content=True)
    draft = revosurge.read(piece.value, NOW)
    event = drafts.event(piece, draft)
    others = {
        "gamerebellion, single": (gamerebellion.track, request("POST /api/v1/event", TRANSACTION)),
        "adwize, array of one": (adwize.ingest, request("POST /api/v1/events", b"[" + PURCHASE + b"]")),
        "scrip, single": (scrip.ingest, request("POST /v1/events", ORDER)),
    }

    def encoded(handle: Callable[[Request], object], asked: Request) -> Callable[[], object]:
        return lambda: records(handle(asked).events, PARTITIONS, [])  # type: ignore[attr-defined]

    return {
        "parse": (lambda: jsontext.read(BET), 1),
        "  fields": (lambda: revosurge.EVENT.read(piece.value), 1),
        "validate and map": (lambda: revosurge.read(piece.value, NOW), 1),
        "  canonical JSON": (lambda: canonical.canonical(piece.value), 1),
        "  fingerprint": (lambda: canonical.fingerprint(drafts.scope, BET), 1),
        "canonical event": (lambda: drafts.event(piece, draft), 1),
        "Avro": (lambda: EVENT.encode(event), 1),
        "revosurge, single": (encoded(revosurge.single, one), 1),
        f"revosurge, batch of {BATCH}": (encoded(revosurge.batch, many), BATCH),
        f"adwize, batch of {BATCH}": (encoded(adwize.ingest, purchases), BATCH),
        **{name: (encoded(*pair), 1) for name, pair in others.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="per stage")
    seconds = parser.parse_args().seconds
    for name, (run, events) in stages().items():
        print(f"{name:28} {best(run, seconds, events):7.2f} us")


if __name__ == "__main__":
    main()
