"""`sluice dlq`: dead letters, the records that an agent or the sink could not handle.

    list     which there are
    show     one of them, with its record
    replay   appends their records again, for the stage that failed and for it alone
    discard  records that they will not be replayed

A letter is never deleted. Without --fate, replay and discard take the letters that wait for a decision.
Exit code: 0 done, 1 where some letters were refused or a server does not answer, 2 for wrong usage.
"""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from clickhouse_connect.driver.client import Client

from cli.arguments import positive, some, text
from cli.failures import FAILURES, sentence
from cli.lettertext import lines, shown, summary
from cli.redelivery import Outcome, Redelivery
from runtime.settings import Settings
from runtime.words import counted
from sinks.clickhouse import connect
from sinks.letters import FATES, WAITING, Filter, Letters

FLAGS = ("letter_attempts",)
MOST = 1_000_000
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 12, 31, tzinfo=UTC)
"""That ClickHouse takes."""
_FILTERS = ("ids", "stage", "topic", "tenant", "error", "since", "until", "fate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show | replay | discard")
    listing = actions.add_parser("list", help="which letters there are")
    _add_filters(listing)
    listing.add_argument("--limit", type=positive, default=100, metavar="N", help="show so many (default: 100)")
    one = actions.add_parser("show", help="one letter with its record")
    one.add_argument("id", type=UUID, help="letter_id")
    again = actions.add_parser("replay", help="appends the records again, for the stage that failed")
    never = actions.add_parser("discard", help="records that letters will not be replayed")
    for action in (again, never):
        _add_filters(action)
        action.add_argument("--all", action="store_true", help="every letter, where no filter is given")
        action.add_argument("--limit", type=positive, default=MOST, metavar="N", help="take at most so many")
        action.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
        action.add_argument("--reason", type=text, default="", help="why; recorded with the letters")
        action.add_argument("--by", type=text, default=None, help="who decides (default: the account on this machine)")
    again.add_argument("--force", action="store_true", help="also those that fail again and again")
    for action in (listing, one, again, never):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--id", type=UUID, action="append", dest="ids", default=[], help="letter_id; may be repeated")
    parser.add_argument("--stage", type=some, help="agent's name, or sink.<table>")
    parser.add_argument("--topic", type=some, help="topic of the records")
    parser.add_argument("--tenant", type=text, help="workspace; empty: not known")
    parser.add_argument("--error", type=some, metavar="TEXT", help="a part of the error")
    parser.add_argument("--since", type=_time, metavar="TIME", help="stored at this ISO 8601 time (UTC) or later")
    parser.add_argument("--until", type=_time, metavar="TIME", help="stored before this time")
    parser.add_argument("--fate", choices=FATES, help="what became of them")


def _time(given: str) -> datetime:
    try:
        found = datetime.fromisoformat(given)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{given!r} is no ISO 8601 time, as 2026-01-31T12:00:00") from None
    return min(max(found, EARLIEST), LATEST)


def run(settings: Settings, action: str, json: bool = False, **options: Any) -> int:
    """Exit code: 0 done, 1 something was refused or does not answer, 2 where it is not said which letters."""
    given = {name: options.pop(name) for name in _FILTERS if name in options}
    wanted = Filter(**given | {"ids": tuple(given.get("ids") or ())})
    if action in ("replay", "discard") and not (wanted.given or options.pop("all")):
        print(f"sluice dlq {action}: say which letters, by a filter or with --all", file=sys.stderr)
        return 2
    options.pop("all", None)
    try:
        client = connect(settings)
        try:
            return int(_ACTIONS[action](settings, client, wanted, json, **options))
        finally:
            client.close()
    except FAILURES as error:
        print(sentence(settings, error), file=sys.stderr)
        return 1


def _list(_: Settings, client: Client, wanted: Filter, json: bool, limit: int) -> int:
    letters = Letters(client)
    found, count = letters.find(wanted, limit), letters.count(wanted)
    if json:
        _print({"count": count, "letters": found})
        return 0
    for line in summary(found):
        print(line)
    print(counted(count, "dead letter") + (f", {len(found)} shown" if count > len(found) else ""))
    return 0


def _show(_: Settings, client: Client, __: Filter, json: bool, id: UUID) -> int:
    letters = Letters(client)
    found = letters.whole(Filter(ids=(id,)), 1)
    if not found:
        print(f"no dead letter has the id {id}: sluice dlq list shows them", file=sys.stderr)
        return 1
    letter = shown(found[0]) | {"replays": letters.replays(id)}
    if json:
        _print(letter)
    else:
        print("\n".join(lines(letter)))
    return 0


def _replay(
    settings: Settings, client: Client, wanted: Filter, json: bool, limit: int, dry_run: bool, reason: str,
    by: str | None, force: bool,
) -> int:  # fmt: skip
    letters = Letters(client)
    ids, refused = _chosen(letters, wanted, limit)
    redelivery = Redelivery(settings, letters, by or _account(), reason)
    most = MOST if force else settings.letter_attempts
    outcome = asyncio.run(redelivery.run(ids, most, dry_run, _progress(len(ids))))
    return _done("replayed", Outcome(outcome.replayed, refused | outcome.refused), dry_run, json)


def _discard(
    _: Settings, client: Client, wanted: Filter, json: bool, limit: int, dry_run: bool, reason: str, by: str | None
) -> int:
    letters = Letters(client)
    ids, refused = _chosen(letters, wanted, limit)
    if not dry_run:
        letters.discard(ids, by or _account(), reason)
    return _done("discarded", Outcome(ids, refused), dry_run, json)


def _done(what: str, outcome: Outcome, dry_run: bool, json: bool) -> int:
    """Says what became of the letters; the exit code."""
    done, refused = outcome.replayed, outcome.refused
    if json:
        reasons = {str(letter): why for letter, why in refused.items()}
        counts = {what: len(done), "refused": len(refused)}
        _print({"dry_run": dry_run, **counts, "letters": done, "reasons": reasons})
    else:
        for letter, why in refused.items():
            print(f"{letter} is not {what}: {why}")
        print(f"{counted(len(done), 'letter')} {'would be ' if dry_run else ''}{what}")
    return int(bool(refused))


def _chosen(letters: Letters, wanted: Filter, limit: int) -> tuple[list[UUID], dict[UUID, str]]:
    """The letters meant: those that wait, unless a fate is named. And why others, named by their ids, are not."""
    chosen = Filter(**{"fate": WAITING} | wanted.given)
    found = [row["letter_id"] for row in letters.find(chosen, max(limit, len(wanted.ids)))]
    others = tuple(dict.fromkeys(id for id in wanted.ids if id not in found))
    rows = {row["letter_id"]: row for row in letters.find(Filter(ids=others), len(others))} if others else {}
    return found[:limit], {id: _why(rows.get(id), chosen) for id in others}


def _why(letter: dict[str, Any] | None, chosen: Filter) -> str:
    """Why a letter, or an id that none has, is not among those that are meant."""
    if letter is None:
        return "no dead letter has the id"
    if letter["fate"] == chosen.fate:
        return "another filter does not hold for it"
    if letter["fate"] == WAITING:
        return "it waits for a decision"
    when = letter["decided_at"].isoformat(sep=" ", timespec="seconds")
    return f"it was {letter['fate']} already, at {when} by {letter['decided_by']}"


def _progress(total: int) -> Any:
    def say(done: int) -> None:
        print(f"\r{done:,} of {total:,}", end="" if done < total else "\n", file=sys.stderr, flush=True)

    return say if sys.stderr.isatty() else lambda _: None


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in a container
        return "unknown"


def _print(found: dict[str, Any]) -> None:
    print(orjson.dumps(found, default=str, option=orjson.OPT_INDENT_2).decode())


_ACTIONS: dict[str, Any] = {"list": _list, "show": _show, "replay": _replay, "discard": _discard}
__all__: Sequence[str] = ("add_arguments", "run")
