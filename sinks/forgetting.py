"""Takes a person out of the rows that are stored, once every sink knows that the person is erased.

Each table is rewritten by one mutation, in which a part changes as a whole, its checksums with it. A run that was cut
off is finished by the next: rows that are done no longer match. No statement names the person (system.mutations and
query logs keep them): rows are found by the digest of tenant and player.

A session's id is part of its table's key and cannot be changed: the row is inserted again under its new id, then the
old one removed, so that for a moment both are there.

Errors: ClickHouse's.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.client import Client

from runtime.forgotten import Forgotten, Person
from sinks.copies import void
from sinks.erasure import ERASED, NULLED, REFUSED, TEXTS, is_about, names

_IS = """tenant = {tenant:String} AND player_id IS NOT NULL AND SHA256(concat(unhex({salt:String}),
    toString(length(tenant)), ':', toString(tenant), assumeNotNull(player_id))) = unhex({digest:String})"""
_SESSION = """toUUID(concat(substring({hash}, 1, 8), '-', substring({hash}, 9, 4), '-', substring({hash}, 13, 4), '-',
    substring({hash}, 17, 4), '-', substring({hash}, 21, 12)))"""
_TABLES = """
SELECT table, groupArray((name, type, default_expression)) AS columns FROM system.columns
WHERE database = currentDatabase() AND endsWith(table, '_rows')
GROUP BY table HAVING has(groupArray(name), 'tenant') AND has(groupArray(name), 'player_id') ORDER BY table
"""
_SYNC = {"mutations_sync": 2, "allow_nondeterministic_mutations": 1}
CHUNK = 2500
"""Rows that one mutation names by id: a server takes 128 KiB of one parameter, percent-encoded."""
SESSIONS, ASSIGNMENTS, EVENTS = "sessions_rows", "assignments_rows", "events_rows"


def _session(column: str) -> str:
    """As sinks.erasure.session_of, in SQL."""
    return _SESSION.format(
        hash=f"hex(SHA256(concat({{pseudonym:String}}, unhex(replaceAll(toString({column}), '-', '')))))"
    )


_ASSIGNED = f"ALTER TABLE {ASSIGNMENTS} UPDATE session_id = {_session('session_id')} WHERE session_id IN "
_COPIED = f"ALTER TABLE {EVENTS} UPDATE session_id = {_session('assumeNotNull(session_id)')} WHERE session_id IN "


class Forgetting:
    """The tables of one database."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tables = {
            table: {name: (kind, default) for name, kind, default in columns}
            for table, columns in client.query(_TABLES).result_rows
        }

    def tenants(self) -> set[str]:
        """Every workspace that has a row."""
        return {
            str(tenant)
            for table in (*self._tables, "rejections_rows")
            for (tenant,) in self._client.query(f"SELECT DISTINCT tenant FROM {table}").result_rows  # noqa: S608
        }

    def count(self, tenant: str, person: Person) -> dict[str, int]:
        """Rows of a tenant's person that are not rewritten yet, by table; those that a merge will remove count too."""
        return {table: self._count(table, _parameters(tenant, person)) for table in self._tables}

    def _count(self, table: str, parameters: dict[str, str]) -> int:
        sql = f"SELECT count() FROM {table} WHERE {_IS}"  # noqa: S608 - names of our own tables
        return int(self._client.command(sql, parameters=parameters))  # type: ignore[arg-type]

    def rewrite(self, tenant: str, person: Person) -> dict[str, int]:
        """Rewrites every row of the person; returns how many, by table."""
        counts, parameters = self.count(tenant, person), _parameters(tenant, person)
        if counts.get(SESSIONS):
            self._move_sessions(parameters)
        for table, count in counts.items():
            if count and table != SESSIONS:
                self._update(table, parameters)
        return counts

    def move_assignments(self, tenant: str, person: Person, sessions: Sequence[bytes]) -> None:
        """Gives the events of a person's sessions the new ids, where the sessions' own rows have them already."""
        for ids in _chunks([UUID(bytes=session) for session in dict.fromkeys(sessions)]):
            self._move("{ids:Array(UUID)}", {**_parameters(tenant, person), "ids": ids})

    def _update(self, table: str, parameters: dict[str, str]) -> None:
        changes = _changes(self._tables[table])
        assigned = ", ".join(f"{name} = {value}" for name, value in changes.items())
        self._command(f"ALTER TABLE {table} UPDATE {assigned} WHERE {_IS}", parameters)

    def _move_sessions(self, parameters: dict[str, str]) -> None:
        """Assignments first: they are found by the rows that go last."""
        moved = _session("session_id")
        self._move(f"(SELECT session_id FROM {SESSIONS} WHERE {_IS})", parameters)  # noqa: S608
        columns = self._tables[SESSIONS]
        changes = _changes(columns) | {"session_id": moved}
        if "checksum" in columns:
            changes["checksum"] = _replaced(columns["checksum"][1], changes)
        values = ", ".join(changes.get(name, name) for name in columns)
        self._command(
            f"INSERT INTO {SESSIONS} ({', '.join(columns)}) SELECT {values} FROM {SESSIONS} WHERE {_IS}",  # noqa: S608
            parameters,
        )
        self._command(f"ALTER TABLE {SESSIONS} DELETE WHERE {_IS}", parameters)

    def _move(self, sessions: str, parameters: dict[str, Any]) -> None:
        """What the events' rows have is a copy of the assignments: none of before is made once these have changed."""
        self._command(_ASSIGNED + sessions, parameters)
        void(self._client)
        self._command(_COPIED + sessions, parameters)

    def _command(self, sql: str, parameters: dict[str, Any]) -> None:
        self._client.command(sql, parameters=parameters, settings=_SYNC)

    def rejections(self, forgotten: Forgotten, tenants: Sequence[str], dry_run: bool) -> int:
        """Empties those whose body names the person; returns how many."""
        sql = f"SELECT rejection_id, tenant, {', '.join(REFUSED)} FROM rejections WHERE tenant IN {{t:Array(String)}}"  # noqa: S608
        found = [
            row[0]
            for row in self._stream(sql, {"t": list(tenants)})
            if any(names(forgotten, row[1], text) for text in row[2:])
        ]
        emptied = ", ".join(f"{name} = '{'[]' if name == 'errors' else ''}'" for name in REFUSED)
        if not dry_run:
            self._alter("rejections_rows", emptied, "rejection_id", found)
        return len(found)

    def letters(self, forgotten: Forgotten, tenants: Sequence[str], dry_run: bool) -> list[Any]:
        """Empties those whose record is the person's; returns their ids."""
        sql = """SELECT letter_id, topic, tenant, error, key, payload FROM dead_letters
            WHERE payload IS NOT NULL AND ifNull(tenant, '') IN {t:Array(String)}"""
        found = []
        for letter, topic, tenant, error, key, payload in self._stream(sql, {"t": [*tenants, ""]}):
            if is_about(forgotten, _text(topic), _text(tenant), _text(error), key, payload):
                found.append(letter)
        emptied = f"key = NULL, payload = NULL, headers = [], error = concat(splitByChar(':', error)[1], ': {ERASED}')"
        if not dry_run:
            self._alter("dead_letters_rows", emptied, "letter_id", found)
        return found

    def _stream(self, sql: str, parameters: dict[str, Any]) -> Iterator[Any]:
        with self._client.query_rows_stream(sql, parameters=parameters, query_formats={"String": "bytes"}) as rows:
            yield from rows

    def _alter(self, table: str, assigned: str, key: str, ids: Sequence[Any]) -> None:
        for chosen in _chunks(ids):
            self._client.command(
                f"ALTER TABLE {table} UPDATE {assigned} WHERE {key} IN {{ids:Array(UUID)}}",
                parameters={"ids": chosen},
                settings=_SYNC,
            )


def _chunks(ids: Sequence[Any]) -> Iterator[list[str]]:
    for start in range(0, len(ids), CHUNK):
        yield [str(each) for each in ids[start : start + CHUNK]]


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def _parameters(tenant: str, person: Person) -> dict[str, str]:
    return {"tenant": tenant, "salt": person.salt.hex(), "digest": person.digest.hex(), "pseudonym": person.pseudonym}


def _changes(columns: dict[str, tuple[str, str]]) -> dict[str, str]:
    """The new value of each column of a table that changes, its checksum last."""
    values = {"player_id": "{pseudonym:String}", "properties": "'{}'"}
    values |= dict.fromkeys(NULLED, "NULL") | {name: f"if({name} IS NULL, NULL, '')" for name in TEXTS}
    found = {name: f"CAST({values[name]} AS {kind})" for name, (kind, _) in columns.items() if name in values}
    if "checksum" in columns:
        found["checksum"] = _replaced(columns["checksum"][1], found)
    return found


def _replaced(expression: str, changes: dict[str, str]) -> str:
    """An expression of columns, with the new values of those that change."""
    return re.sub(r"\b[a-z_]+\b(?!\()", lambda name: changes.get(name[0], name[0]), expression)
