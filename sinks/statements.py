"""SQL of migrations: cut into statements, judged, and turned into the form for a cluster.

Reads ClickHouse's lexical rules: comments (``--``, ``#``, ``/* */``, nested), strings with both escapes, quoted names,
heredocs. A word in one of those is never taken for SQL.

Errors: StatementError.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|\#[!\ ][^\n]*)
    | (?P<comment>/\*)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*' | `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    | (?P<word>\w+)
    | (?P<open>['"`]|\$\w*\$)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NESTING = re.compile(r"/\*|\*/")

HARMLESS = (
    ("CREATE", "TABLE"),
    ("CREATE", "VIEW"),
    ("CREATE", "OR", "REPLACE", "VIEW"),
    ("CREATE", "ROLE"),
    ("INSERT", "INTO"),
    ("GRANT",),
)
"""Statements that neither drop nor rewrite stored data. What is not named here needs to be allowed by the operator."""
HARMLESS_CHANGES = (
    ("ADD", "COLUMN"),
    ("ADD", "INDEX"),
    ("COMMENT", "COLUMN"),
    ("MODIFY", "COMMENT"),
    ("MODIFY", "SETTING"),
    ("RESET", "SETTING"),
    ("MATERIALIZE", "INDEX"),
)
"""Likewise for what an ALTER TABLE may do."""
REPEATABLE = (
    ("CREATE", "TABLE", "IF", "NOT", "EXISTS"),
    ("CREATE", "VIEW", "IF", "NOT", "EXISTS"),
    ("CREATE", "ROLE", "IF", "NOT", "EXISTS"),
)


class StatementError(ValueError):
    """The text cannot be read as statements."""


@dataclass(frozen=True)
class Token:
    """A word, sign or quoted text at a place in its statement."""

    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """As a keyword; a quoted text is none."""
        return self.text.upper()


@dataclass(frozen=True)
class Statement:
    """One statement, without its semicolon and the comments before it."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def head(self) -> str:
        """What it does to what, for messages: its first line's beginning."""
        return " ".join(token.text for token in self.tokens[:8])[:60].rstrip()

    def is_destructive(self) -> bool:
        """Whether it might drop or rewrite stored data: anything but what is known not to."""
        if self._begins(0, ("ALTER", "TABLE")):
            return not all(
                any(self._begins(at, change) for change in HARMLESS_CHANGES) or self._is_codec(at)
                for at in self._commands(self._name_end(2))
            )
        return not any(self._begins(0, kind) for kind in HARMLESS)

    def repeatable(self) -> str:
        """The text such that a second run has no effect: IF NOT EXISTS where an object is created."""
        for kind in REPEATABLE:
            bare = kind[:2]
            if self._begins(0, bare) and not self._begins(0, kind):
                return self._insert(self.tokens[1].end, " IF NOT EXISTS")
        return self.text

    def for_cluster(self, cluster: str) -> str:
        """The text for every server of ``cluster``, with replicated tables. INSERT needs no such form."""
        again = split(self.repeatable())[0]
        return again._on_cluster("`" + cluster.replace("`", "``") + "`")

    def _on_cluster(self, cluster: str) -> str:
        if self._begins(0, ("INSERT",)):
            return self.text
        at = 1 if self._begins(0, ("GRANT",)) else self._name_end(self._object())
        text = self._insert(self.tokens[at - 1].end, f" ON CLUSTER {cluster}")
        engine = self._engine()
        if engine is None or engine.text.startswith("Replicated"):
            return text
        shift = len(text) - len(self.text)
        return text[: engine.start + shift] + "Replicated" + text[engine.start + shift :]

    def _object(self) -> int:
        """Where the name of what is created or altered begins."""
        at = 0
        while self.tokens[at].upper not in ("TABLE", "VIEW", "ROLE"):
            at += 1
            if at == len(self.tokens):
                raise StatementError(f"no form for a cluster is known: {self.head}")
        at += 1
        return at + 3 if self._begins(at, ("IF", "NOT", "EXISTS")) else at

    def _name_end(self, at: int) -> int:
        """Behind a name, which may have a database before it."""
        at += 1
        while at < len(self.tokens) and self.tokens[at].text == ".":
            at += 2
        return at

    def _engine(self) -> Token | None:
        """The name of a table's engine of the MergeTree family."""
        for at, token in enumerate(self.tokens):
            if token.upper == "ENGINE" and at + 2 < len(self.tokens) and self.tokens[at + 1].text == "=":
                name = self.tokens[at + 2]
                return name if name.text.endswith("MergeTree") else None
        return None

    def _commands(self, at: int) -> Iterator[int]:
        """Where each command of an ALTER begins: behind its name and each comma outside of brackets."""
        yield at
        depth = 0
        for i in range(at, len(self.tokens)):
            text = self.tokens[i].text
            depth += (text in "([{") - (text in ")]}") if len(text) == 1 else 0
            if text == "," and not depth:
                yield i + 1

    def _is_codec(self, at: int) -> bool:
        """Whether a command of an ALTER gives a column a codec and nothing else: parts to come are compressed by it."""
        codec = self._name_end(at + 2)
        if not self._begins(at, ("MODIFY", "COLUMN")) or not self._begins(codec, ("CODEC", "(")):
            return False
        depth = 0
        for i, token in enumerate(self.tokens[codec + 1 :], start=codec + 2):
            depth += (token.text == "(") - (token.text == ")")
            if not depth:
                return i == len(self.tokens) or self.tokens[i].text == ","
        return False

    def _begins(self, at: int, words: tuple[str, ...]) -> bool:
        return tuple(token.upper for token in self.tokens[at : at + len(words)]) == words

    def _insert(self, at: int, text: str) -> str:
        return self.text[:at] + text + self.text[at:]


def split(sql: str) -> list[Statement]:
    """The statements of a file. Raises StatementError where a string or comment does not end."""
    statements: list[Statement] = []
    tokens: list[Token] = []
    for token in _tokens(sql):
        if token.text == ";":
            _close(sql, tokens, statements)
            tokens = []
        else:
            tokens.append(token)
    _close(sql, tokens, statements)
    return statements


def _close(sql: str, tokens: list[Token], statements: list[Statement]) -> None:
    if not tokens:
        return
    start = tokens[0].start
    moved = tuple(Token(token.text, token.start - start, token.end - start) for token in tokens)
    statements.append(Statement(sql[start : tokens[-1].end], moved))


def _tokens(sql: str) -> Iterator[Token]:
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        assert found is not None, "the last alternative takes any character"
        if found["open"]:
            raise StatementError(f"line {sql.count(chr(10), 0, at) + 1}: {found['open']} is opened and never closed")
        if found["comment"]:
            at = _behind_comment(sql, at)
            continue
        if not found["space"]:
            yield Token(found[0], at, found.end())
        at = found.end()


def _behind_comment(sql: str, start: int) -> int:
    depth = 0
    for mark in _NESTING.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    raise StatementError(f"line {sql.count(chr(10), 0, start) + 1}: /* is opened and never closed")
