"""The warehouse's views, computed again in plain Python from the accepted events. Shares no code with the SQL.

Amounts are unscaled ints; a row is a dict; keys are tuples of the names that a row is unique by.
"""

import json
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from typing import Any

from schemas import money
from tests import oracle

Event = dict[str, Any]
Rows = dict[tuple[Any, ...], dict[str, Any]]


def day(ms: int) -> date:
    return datetime.fromtimestamp(ms / 1000, UTC).date()


def hour(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 3_600_000 * 3600, UTC).replace(tzinfo=None)


def _money(bet: dict[str, Any]) -> dict[str, int]:
    """What a bet adds to a row."""
    if bet["status"] == "open":
        return {"open_bets": 1, "open_stake": bet["stake"]}
    return {"bets": 1, "stake": bet["stake"], "payout": bet["stake"] + bet["net"], "ggr": -bet["net"]}


def ggr_daily(events: list[Event]) -> Rows:
    rows: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    players: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for (tenant, _), bet in _bets(events).items():
        if bet["status"] == "orphaned":
            continue
        days = [("placed", bet["placed_at"])] + ([("settled", bet["settled_at"])] if bet["status"] != "open" else [])
        for basis, at in days:
            names = [bet[name] or "" for name in ("game_provider", "game_type", "currency")]
            row = (day(at), basis, tenant, *names)
            rows[row].update(_money(bet))
            if bet["status"] != "open" and bet["player_id"] is not None:
                players[row].add(bet["player_id"])
    columns = ("bets", "stake", "payout", "ggr", "open_bets", "open_stake")
    found: Rows = {row: {name: sums[name] for name in columns} for row, sums in rows.items()}
    for row, sums in found.items():
        sums["players"] = len(players[row])
        sums["rtp"] = sums["payout"] / sums["stake"] if sums["stake"] else None
        sums["hold"] = sums["ggr"] / sums["stake"] if sums["stake"] else None
    return found


def _bets(events: list[Event]) -> dict[tuple[str, str], dict[str, Any]]:
    """The oracle's bets, by tenant and bet id."""
    found = {}
    for bet_key, bet in oracle.bets(events).items():
        tenant, bet_id = json.loads(bet_key)
        found[tenant, bet_id] = bet
    return found


def player_daily(placed: list[tuple[Any, Event]], gap: int, lateness: int) -> Rows:
    events = [event for _, event in placed]
    rows: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for (tenant, _), bet in _bets(events).items():
        if bet["status"] == "orphaned" or bet["player_id"] is None:
            continue
        player, currency = bet["player_id"], bet["currency"] or ""
        rows[day(bet["placed_at"]), tenant, player, currency].update(_money(bet))
        if bet["status"] != "open":
            settled = {f"settled_{name}": value for name, value in _money(bet).items()}
            rows[day(bet["settled_at"]), tenant, player, currency].update(settled)
    for event in events:
        column = {"deposit": "deposits", "withdraw": "withdrawals"}.get(event["event_name"])
        if column and event["amount"] is not None and event["player_id"] is not None:
            at = (day(event["event_time"]), event["tenant"], event["player_id"], event["currency"] or "")
            rows[at][column] += money.from_bytes(event["amount"])
    for session in oracle.sessions(placed, gap, lateness):
        tenant, kind, who = json.loads(session["identity"])
        if kind == "player":
            rows[day(session["started_at"]), tenant, who, ""].update(sessions=1, active_ms=session["active_ms"])
    names = (
        "bets", "stake", "payout", "ggr", "open_bets", "open_stake", "settled_bets", "settled_stake", "settled_payout",
        "settled_ggr", "deposits", "withdrawals", "sessions", "active_ms",
    )  # fmt: skip
    return {row: {name: sums[name] for name in names} for row, sums in rows.items()}


def session_results(placed: list[tuple[Any, Event]], gap: int, lateness: int) -> Rows:
    """By the session's events and the currency."""
    rows: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    session_of = {
        coordinates: frozenset(session["coordinates"])
        for session in oracle.sessions(placed, gap, lateness)
        for coordinates in session["coordinates"]
    }
    where: dict[tuple[str, int, bytes, bytes], Any] = {}
    for coordinates, event in placed:
        known = where.setdefault(
            (event["bet_key"], event["event_time"], event["event_id"], event["fingerprint"]), coordinates
        )
        if coordinates < known:
            where[event["bet_key"], event["event_time"], event["event_id"], event["fingerprint"]] = coordinates
    by_key: dict[str, list[Event]] = defaultdict(list)
    for _, event in placed:
        if event["bet_key"] and event["event_name"] == "bet":
            by_key[event["bet_key"]].append(event)
    bets = oracle.bets([event for _, event in placed])
    for bet_key, group in by_key.items():
        first = min(group, key=oracle._order)
        at = where[bet_key, first["event_time"], first["event_id"], first["fingerprint"]]
        if at in session_of:
            rows[session_of[at], bets[bet_key]["currency"] or ""].update(_money(bets[bet_key]))
    names = ("bets", "stake", "payout", "ggr", "open_bets", "open_stake")
    return {row: {name: sums[name] for name in names} for row, sums in rows.items()}


_STEPS = {
    "impression": "impressions", "click": "clicks", "conversion": "conversions", "register": "registrations",
    "registration": "registrations", "signup": "registrations",
}  # fmt: skip


def funnel_daily(events: list[Event]) -> Rows:
    rows: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    deposits: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event["event_name"] in _STEPS:
            at = (day(event["event_time"]), event["tenant"], event["campaign"] or "")
            rows[at][_STEPS[event["event_name"]]] += 1
        if event["event_name"] == "deposit" and event["player_id"] is not None:
            deposits[event["tenant"], event["player_id"]].append(event)
    for (tenant, _), group in deposits.items():
        first = min(group, key=lambda event: (event["event_time"], event["event_id"].hex()))
        rows[day(first["event_time"]), tenant, first["campaign"] or ""]["first_deposits"] += 1
    names = ("impressions", "clicks", "conversions", "registrations", "first_deposits")
    return {row: {name: sums[name] for name in names} for row, sums in rows.items()}


def data_quality(
    stored: list[Event], duplicates: list[Event], conflicts: list[Event], rejections: list[dict[str, Any]],
    letters: list[tuple[int, str, str, bool]], lateness: int,
) -> Rows:  # fmt: skip
    """``letters``: timestamp, tenant, dialect, and whether the letter keeps its event out of the tables."""
    rows: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    orphans = {bet_id for bet_id, bet in _bets(stored).items() if bet["status"] == "orphaned"}
    for name, group in (("stored", stored), ("duplicates", duplicates), ("conflicts", conflicts)):
        for event in group:
            rows[hour(event["received_at"]), event["tenant"], event["dialect"]].update({name: 1, "accepted": 1})
    for event in stored:
        row = rows[hour(event["received_at"]), event["tenant"], event["dialect"]]
        row["late_events"] += event["received_at"] - event["event_time"] > lateness
        settles = event["event_name"] in ("win", "loss") and event["amount"] is not None
        row["orphaned_settlements"] += settles and (event["tenant"], event["parent_transaction_id"]) in orphans
    for rejection in rejections:
        rows[hour(rejection["received_at"]), rejection["tenant"], rejection["dialect"]]["rejected"] += 1
    for timestamp, tenant, dialect, keeps_out in letters:
        rows[hour(timestamp), tenant, dialect].update(dead_letters=1, accepted=int(keeps_out))
    names = ("accepted", "stored", "duplicates", "conflicts", "rejected", "dead_letters", "late_events",
             "orphaned_settlements")  # fmt: skip
    return {row: {name: sums[name] for name in names} for row, sums in rows.items()}
