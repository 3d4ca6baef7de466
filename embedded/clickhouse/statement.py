"""Takes a statement apart as far as HTTP needs it: where an INSERT's data begins, and which format is named.

Everything else about SQL is the engine's. Reads bytes, because what follows an INSERT may be any.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from embedded.clickhouse.errors import INTO_OUTFILE_NOT_ALLOWED, SYNTAX_ERROR, ClickHouseError

_TOKEN = re.compile(
    rb"""
      (?P<space> \s++ | --[^\n]*+ | \#[ !][^\n]*+ | /\*(?>.*?(?:\*/|\Z)) )
    | (?P<quoted> '(?>\\.|''|[^'\\])*+(?:'|\Z) | `(?>\\.|``|[^`\\])*+(?:`|\Z) | "(?>\\.|""|[^"\\])*+(?:"|\Z)
                | \$(?P<tag>\w*+)\$(?>.*?(?:\$(?P=tag)\$|\Z)) )
    | (?P<word> \w[\w$]*+ )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
"""What is not closed goes on to the end: so each byte is looked at once, and the engine finds the fault."""
_DATA_GAP = re.compile(rb";?[ \t\f]*+\r?\n?")
"""What may stand between a format's name and the data, and is no part of either."""

NO_ROWS = "Syntax error: an INSERT needs VALUES, FORMAT or SELECT. (SYNTAX_ERROR)"
READING = frozenset((b"SELECT", b"WITH", b"FROM", b"("))


@dataclass(frozen=True)
class Statement:
    """A statement, and the data of an INSERT that carries any."""

    text: str
    verb: str
    """Its first word in capitals, or ``(``."""
    format: str | None
    """The format that it names, for input or output."""
    data: bytes | None = None
    """None where the engine gets the whole as text."""
    values: bool = False
    """The data are VALUES, which may hold expressions and parameters."""
    settings: str = ""
    """The SETTINGS of an INSERT with data, with which its text ends."""
    input: str = ""
    """The text up to behind the parenthesis of ``input(``, where an INSERT's SELECT reads its data by that function."""

    def from_file(self, path: str) -> str:
        """An INSERT with data as one text that reads them from a file; ``path`` is a SQL string."""
        if self.input:
            before = self.input.rstrip("( \t\r\n")[: -len("input")]
            return f"{before}file({path}, '{self.format}', {self.text[len(self.input) :]}"
        head = self.text.removesuffix(self.settings)
        return f"{head} FROM INFILE {path} COMPRESSION 'none' {self.settings} FORMAT {self.format}"

    def inline(self) -> "Statement":
        """An INSERT ... VALUES as one text, for parameters are only looked for in a text."""
        return Statement(f"{self.text} VALUES {_text(self.data or b'')}", self.verb, None)

    @property
    def reads(self) -> bool:
        """Whether it is a SELECT, in any of its forms."""
        return self.verb.encode() in READING


def split(source: bytes) -> Statement:
    """Raises ClickHouseError where there is no statement, or where an INSERT wants to read a file of this machine."""
    tokens = _tokens(source)
    first = next(tokens, None)
    if first is None:
        raise ClickHouseError(SYNTAX_ERROR, "Syntax error: Empty query. (SYNTAX_ERROR)")
    verb = first[0].upper()
    if verb == b"INSERT":
        found = _insert(source, tokens)
        if found is not None:
            return found
    return Statement(_text(source), verb.decode(errors="replace"), _output_format(source))


def _insert(source: bytes, tokens: Iterator[tuple[bytes, int, int]]) -> Statement | None:
    """An INSERT with data; None where it takes its rows from a SELECT of something else."""
    depth, settings = 0, None
    before = [(b"", 0)] * 2  # words, and where they begin
    for token, start, end in tokens:
        depth += (token == b"(") - (token == b")")
        if depth:
            continue
        word = token.upper()
        if word == b"=" and settings is None and before[0][0] == b"SETTINGS":
            settings = before[0][1]
        before = [before[1], (word, start)]
        if word in (b"SELECT", b"WITH"):
            return _selecting(source, tokens)
        if word == b"WATCH":
            return None
        if word == b"INFILE":
            raise ClickHouseError(INTO_OUTFILE_NOT_ALLOWED, "FROM INFILE is for clickhouse-client, not for HTTP")
        written = _text(source[settings or start : start])
        if word == b"VALUES":
            return Statement(_text(source[:start]), "INSERT", "Values", source[end:], True, written)
        if word == b"FORMAT":
            return _with_data(source, tokens, start, settings=written)
    raise ClickHouseError(SYNTAX_ERROR, NO_ROWS)


def _selecting(source: bytes, tokens: Iterator[tuple[bytes, int, int]]) -> Statement | None:
    """An INSERT whose SELECT, from which the tokens go on, reads the data by the function ``input``; None without."""
    depth, word, read = 0, b"", 0
    for token, start, end in tokens:
        if token == b"(" and word == b"INPUT":
            read = end
        depth += (token == b"(") - (token == b")")
        word = token.upper()
        if word == b"FORMAT" and read and not depth:
            return _with_data(source, tokens, start, read=_text(source[:read]))
    return None


def _with_data(
    source: bytes, tokens: Iterator[tuple[bytes, int, int]], start: int, settings: str = "", read: str = ""
) -> Statement:
    """An INSERT whose FORMAT stands at ``start``, the next of the tokens being its name."""
    name = next(tokens, None)
    if name is None or not name[0].isalnum():
        raise ClickHouseError(SYNTAX_ERROR, NO_ROWS)
    gap = _DATA_GAP.match(source, name[2])
    data = source[gap.end() if gap else name[2] :]
    return Statement(_text(source[:start]), "INSERT", name[0].decode(), data, settings=settings, input=read)


def _output_format(source: bytes) -> str | None:
    """The name after a FORMAT with which the statement ends, SETTINGS and a semicolon aside."""
    found, after = None, b""
    before = b""
    for token, _, _ in _tokens(source):
        word = token.upper()
        if before == b"FORMAT" and token.isalnum():
            found, after = token, b""
        elif found is not None and not after:
            after = word
            if after not in (b"SETTINGS", b";"):
                found = None
        before = word
    return found.decode() if found is not None else None


def words(source: bytes) -> list[tuple[str, bool]]:
    """The names in a statement, quoted ones too, each with whether a parenthesis follows it."""
    found: list[tuple[str, bool]] = []
    for match in _TOKEN.finditer(source):
        text = match.group()
        if match.group("word") is not None or (match.group("quoted") is not None and text[:1] in b'`"'):
            found.append((text.strip(b'`"').decode(errors="replace"), False))
        elif text == b"(" and found:
            found[-1] = (found[-1][0], True)
        elif match.group("space") is None:
            found.append(("", False))
    return found


def _tokens(source: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Words and signs with where they begin and end; a quoted text is one empty token."""
    for match in _TOKEN.finditer(source):
        if match.lastgroup != "space" and match.group("space") is None:
            yield (b"" if match.group("quoted") is not None else match.group(), *match.span())


def _text(source: bytes) -> str:
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        raise ClickHouseError(
            SYNTAX_ERROR, f"Syntax error: the statement is not UTF-8: {error}. (SYNTAX_ERROR)"
        ) from None
