"""What the rows must be, computed by a plain batch program from the set of accepted events.

Written from spec/semantics.md, not from the agents; it shares no code with them but the decoding of amounts.
"""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

from schemas import money

Event = dict[str, Any]


def dedup(log: list[tuple[int, int, Event]], window: int) -> tuple[list[tuple[int, int]], dict[tuple[int, int], Any]]:
    """From (partition, offset, event) in log order: stored coordinates, and repeats with the first's coordinates."""
    first: dict[tuple[int, str], tuple[int, int, bytes]] = {}
    clock: dict[int, int] = defaultdict(lambda: -1)
    stored, repeats = [], {}
    for partition, offset, event in log:
        clock[partition] = now = max(clock[partition], event["received_at"])
        if event["dedup_key"] is not None:
            known = first.get((partition, event["dedup_key"]))
            if known is not None and now - known[1] <= window:
                kind = "duplicate" if known[2] == event["fingerprint"] else "conflict"
                repeats[partition, offset] = (kind, (partition, known[0]))
                continue
            first[partition, event["dedup_key"]] = (offset, now, event["fingerprint"])
        stored.append((partition, offset))
    return stored, repeats


def _amount(event: Event) -> int:
    return money.from_bytes(event["amount"])


def _order(event: Event) -> tuple[int, str]:
    return event["event_time"], event["event_id"].hex()


def bets(events: list[Event]) -> dict[str, dict[str, Any]]:
    """Rows by bet_key, from events in the order of the log, by which alone a key that was used again is told apart."""
    groups: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["bet_key"]:
            groups[event["bet_key"]].append(event)
    return {bet_key: _bet(sorted(group, key=_order)) for bet_key, group in groups.items()}


_SAID = (
    "event_time", "event_id", "player_id", "amount", "currency", "is_crypto", "bet_result", "bet_result_amount",
    "game_type", "game_provider",
)  # fmt: skip
"""What makes bets different: of one that was accepted again after its window, all of it is the same."""


def _bet(events: list[Event]) -> dict[str, Any]:
    placed = [event for event in events if event["event_name"] == "bet"]
    settlements: list[Event] = []
    for event in events:
        names = [other["transaction_id"] for other in settlements]
        same = [other["event_id"] for other in settlements]
        if event["event_name"] != "bet":
            repeated = event["transaction_id"] in names if event["transaction_id"] else event["event_id"] in same
            if not repeated:
                settlements.append(event)
    row: dict[str, Any] = {"stake": None, "net": None, "placed_at": None, "settled_at": None, "anomalies": []}
    if not placed:
        about = settlements[0]
        row |= {"status": "orphaned", "pattern": "", "count": len(settlements)}
        row["settled_at"] = max(event["event_time"] for event in settlements)
    else:
        about = bet = placed[0]
        row |= {"stake": _amount(bet), "placed_at": bet["event_time"], "pattern": "B", "status": "open", "count": 0}
        own = bet["bet_result"] is not None and bet["bet_result_amount"] is not None
        counting = [] if own else [event for event in settlements if event["currency"] == bet["currency"]]
        if own:
            row |= {"pattern": "A", "status": {"win": "won", "loss": "lost"}[bet["bet_result"]], "count": 1}
            row |= {"net": money.from_bytes(bet["bet_result_amount"]), "settled_at": bet["event_time"]}
        elif counting:
            net = sum(_amount(event) for event in counting)
            only = {"win": "won", "loss": "lost"}[counting[0]["event_name"]]
            row |= {"net": net, "status": only if len(counting) == 1 else ("won" if net > 0 else "lost")}
            row |= {"count": len(counting), "settled_at": max(event["event_time"] for event in counting)}
        players = {event["player_id"] for event in settlements if event["player_id"]}
        odd = {
            "double_reported": own and settlements,
            "multiple_settlements": len(counting) > 1,
            "currency_mismatch": any(event["currency"] != bet["currency"] for event in settlements),
            "player_mismatch": bet["player_id"] and players - {bet["player_id"]},
            "settled_before_placed": any(event["event_time"] < bet["event_time"] for event in counting),
            "multiple_bets": len({tuple(event[name] for name in _SAID) for event in placed}) > 1,
        }
        row["anomalies"] = sorted(name for name, found in odd.items() if found)
    row |= {name: about[name] for name in ("player_id", "game_type", "game_provider", "currency")}
    return row


_LINKS = ("device_id", "player_id", "click_id")


def attributions(events: list[tuple[Any, Event]], window: int, lateness: int) -> dict[Any, tuple[str, Any] | None]:
    """By conversion: the link and the touch that is credited, or None; all named by their coordinates."""
    timely = [(at, event) for at, event in events if event["received_at"] - event["event_time"] <= lateness]
    linked: dict[Any, list[tuple[Any, Event]]] = defaultdict(list)
    for at, event in timely:
        if event["event_name"] in ("impression", "click"):
            for name in _LINKS:
                linked[name, event[name]].append((at, event))
    found = {}
    for at, event in timely:
        if event["event_name"] in ("conversion", "register", "registration", "signup"):
            touches = [touch for name in _LINKS if event[name] for touch in linked[name, event[name]]]
            ranked = [(_touch_rank(event, place, touch, window), place) for place, touch in touches]
            best = max(((rank, place) for rank, place in ranked if rank is not None), default=None)
            found[at] = best and (("device", "player", "click_id")[best[0][0]], best[1])
    return found


def _touch_rank(conversion: Event, place: Any, touch: Event, window: int) -> tuple[Any, ...] | None:
    """None if it is not eligible; else the higher is the one that is credited."""
    links = [conversion[name] and conversion[name] == touch[name] for name in _LINKS]
    ago = conversion["event_time"] - touch["event_time"]
    if touch["tenant"] != conversion["tenant"] or not any(links) or ago < 0 or ago > window:
        return None
    strongest = max(number for number, linked in enumerate(links) if linked)
    same = conversion["campaign"] is not None and conversion["campaign"] == touch["campaign"]
    return strongest, same, touch["event_name"] == "click", touch["event_time"], touch["event_id"].hex(), place


_RANK = {"session_start": 0, "session_stop": 2, "session_end": 3}


def sessions(events: list[tuple[Any, Event]], gap: int, lateness: int) -> list[dict[str, Any]]:
    """Sessions of all identities; ``events`` are (coordinates, event)."""
    groups: dict[str, list[tuple[Any, Event]]] = defaultdict(list)
    for coordinates, event in events:
        if event["identity"] and event["received_at"] - event["event_time"] <= lateness:
            groups[event["identity"]].append((coordinates, event))
    rows = []
    for identity, group in groups.items():
        group.sort(key=lambda item: (item[1]["event_time"], _RANK.get(item[1]["event_name"], 1),
                                     item[1]["event_id"].hex(), item[0]))  # fmt: skip
        cut: list[list[tuple[Any, Event]]] = []
        for item in group:
            if not cut or _new_session(cut[-1][-1][1], item[1], gap):
                cut.append([])
            cut[-1].append(item)
        before: Event | None = None
        for part in cut:
            rows.append(_session(identity, part, before))
            before = part[-1][1]
    return rows


def _new_session(before: Event, event: Event, gap: int) -> bool:
    if event["event_time"] - before["event_time"] > gap or before["event_name"] == "session_end":
        return True
    begins: bool = event["event_name"] == "session_start" and before["event_name"] != "session_stop"
    return begins


_SAME = ("event_time", "event_name", "event_id")


def _session(identity: str, part: list[tuple[Any, Event]], before: Event | None) -> dict[str, Any]:
    events = [event for _, event in part]
    first, last = events[0], events[-1]
    repeats = before is not None and all(first[name] == before[name] for name in _SAME)
    stopped = sum(
        after["event_time"] - before["event_time"]
        for before, after in pairwise(events)
        if before["event_name"] == "session_stop"
    )
    sums: dict[str, Counter[str]] = {"bet": Counter(), "deposit": Counter(), "withdraw": Counter()}
    for event in events:
        if event["event_name"] in sums and event["amount"] is not None:
            sums[event["event_name"]][event["currency"] or ""] += _amount(event)
    return {
        "identity": identity,
        "first": (first["event_time"], first["event_id"], part[0][0] if repeats else ()),
        "started_at": first["event_time"],
        "ended_at": last["event_time"],
        "end_reason": {"session_end": "ended", "session_stop": "stopped"}.get(last["event_name"], "idle"),
        "active_ms": last["event_time"] - first["event_time"] - stopped,
        "events": len(events),
        "event_counts": dict(Counter(event["event_name"] for event in events)),
        "bets": sum(event["event_name"] == "bet" for event in events),
        "stake": dict(sums["bet"]),
        "deposits": dict(sums["deposit"]),
        "withdrawals": dict(sums["withdraw"]),
        "coordinates": {coordinates for coordinates, _ in part},
    }
