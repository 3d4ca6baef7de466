"""From an HTTP request to what the engine is asked: ClickHouse's rules for URL, headers and body.

Errors: ClickHouseError.
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import urlsplit

from aiohttp import web

from embedded.clickhouse import coding
from embedded.clickhouse.engine import TAG
from embedded.clickhouse.errors import (
    ACCESS_DENIED,
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    POCO_EXCEPTION,
    QUERY_IS_TOO_LARGE,
    ClickHouseError,
)
from embedded.clickhouse.statement import Statement, split

NO_SETTINGS = frozenset(
    (
        "query", "query_id", "database", "default_format", "user", "password", "quota_key", "role",
        "session_id", "session_timeout", "session_check", "close_session",
        "compress", "decompress", "stacktrace", "buffer_size", "client_protocol_version",
        "wait_end_of_query", TAG,
    )
)  # fmt: skip
"""Parameters of a URL that are no settings of the engine. A session would hold temporary tables and settings: every
request here stands for itself, so its id is let pass."""

LONGEST_ID = 256
LONGEST_FIELD = 128 * 1024
"""Of a parameter in the URL, as it was sent, or in a form: a server's http_max_field_value_size."""
MOST_FIELDS, LONGEST_HEAD = 1000, 8 * 1024
"""Of a form; and of the headers of one."""
LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))

STREAMABLE = frozenset(
    ("Native", "TSV", "TabSeparated", "TSVRaw", "TabSeparatedRaw", "CSV", "RowBinary", "JSONEachRow",
     "JSONCompactEachRow", "LineAsString", "Values")
)  # fmt: skip
"""Formats without head and foot, of which any number of pieces makes one whole."""


@dataclass(frozen=True)
class Query:
    """Everything that one request asks for."""

    id: str
    statement: Statement
    settings: dict[str, str]
    parameters: dict[str, str]
    database: str
    output: str
    """Output format where the statement names none."""
    encoding: str | None
    """Of the answer."""
    get: bool
    """By GET nothing is written, as in ClickHouse."""
    whole: bool
    """The client waits for the end, so that an error late in the query still has a status of its own."""

    @property
    def format(self) -> str:
        """Format of the answer."""
        return self.statement.format or self.output

    @property
    def streams(self) -> bool:
        """Whether the answer may leave while it is being made."""
        return self.statement.reads and self.format in STREAMABLE and not self.whole


async def read(request: web.Request, limit: int) -> Query:
    """Reads the whole request, its body up to ``limit`` bytes as sent and as unpacked."""
    parameters = dict(request.query)
    for name in ("compress", "decompress"):
        if _is_on(parameters, name):
            raise ClickHouseError(
                NOT_IMPLEMENTED, f"{name}=1 (native block compression) is not supported: use Content-Encoding"
            )
    body = await _body(request, limit)
    sizes = [len(each) for each in request.rel_url.raw_query_string.split("&")]
    if request.content_type == "multipart/form-data":
        fields = await asyncio.to_thread(_form, request.headers["Content-Type"], body)
        sizes += map(len, fields.values())
        parameters, body = fields | parameters, b""
    if max(sizes) > LONGEST_FIELD:
        raise ClickHouseError(POCO_EXCEPTION, "HTML Form Exception: Field value too long")
    text = parameters.get("query", "").encode("utf-8", "surrogateescape")
    source = text + b"\n" + body if text and body else text or body
    wants_packed = _is_on(parameters, "enable_http_compression")
    return Query(
        id=_plain(parameters.get("query_id", "")) or str(uuid.uuid4()),
        statement=split(source),
        settings={
            name: value
            for name, value in parameters.items()
            if name not in NO_SETTINGS and not name.startswith("param_")
        },
        parameters={name[6:]: value for name, value in parameters.items() if name.startswith("param_")},
        database=request.headers.get("X-ClickHouse-Database") or parameters.get("database", ""),
        output=request.headers.get("X-ClickHouse-Format") or parameters.get("default_format") or "TabSeparated",
        encoding=coding.choose(request.headers.get("Accept-Encoding", "")) if wants_packed else None,
        get=request.method in ("GET", "HEAD"),
        whole=_is_on(parameters, "wait_end_of_query") or _is_on(parameters, "http_wait_end_of_query"),
    )


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """A form's fields. Clients put parameters there that are too long for a URL, and the statement beside them.

    Cut by hand, since the standard library's parser takes the time and memory of a whole mail for every eight bytes.
    """
    boundary = _headers(b"Content-Type: " + content_type.encode("utf-8", "surrogateescape")).get_boundary()
    delimiter = b"\r\n--" + (boundary or "").encode("utf-8", "surrogateescape")
    _, *parts = (b"\r\n" + body).split(delimiter, MOST_FIELDS + 2)
    if not boundary or not parts:
        raise _no_form()
    if len(parts) > MOST_FIELDS + 1:
        raise ClickHouseError(POCO_EXCEPTION, "HTML Form Exception: Too many form fields")
    found: dict[str, str] = {}
    for part in parts:
        if part.startswith(b"--"):
            return found
        padding, begins, rest = part.partition(b"\r\n")
        head, ends, value = rest.partition(b"\r\n\r\n")
        if padding.strip() or not (begins and ends) or len(head) > LONGEST_HEAD:
            raise _no_form()
        headers = _headers(head)
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str) or headers.get_filename() is not None:
            raise ClickHouseError(NOT_IMPLEMENTED, "External data (files of a form) are not supported")
        found.setdefault(name, value.decode("utf-8", "surrogateescape"))
    raise _no_form()  # its end is missing


def _headers(head: bytes) -> EmailMessage:
    return BytesParser(EmailMessage, policy=HTTP).parsebytes(head + b"\r\n\r\n", headersonly=True)


def _no_form() -> ClickHouseError:
    return ClickHouseError(BAD_ARGUMENTS, "The body is not the form that its Content-Type says")


def _plain(text: str) -> str:
    """The text if it can stand in a header of the answer, else nothing."""
    return text if text.isascii() and text.isprintable() and len(text) <= LONGEST_ID else ""


def _is_on(parameters: Mapping[str, str], name: str) -> bool:
    return parameters.get(name, "0").lower() not in ("0", "", "false")


async def _body(request: web.Request, limit: int) -> bytes:
    """All of it before anything is executed: half an INSERT, of a client that went away, never is."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > limit:
            raise ClickHouseError(QUERY_IS_TOO_LARGE, f"The body has more than {limit} bytes")
    encoding = request.headers.get("Content-Encoding", "").lower()
    return await asyncio.to_thread(coding.unpack, bytes(body), encoding, limit)


def refuse_strangers(request: web.Request) -> None:
    """A web page in a browser on this machine can send requests to loopback too: none of them is answered."""
    origin = request.headers.get("Origin")
    if _host_of(f"//{request.host}")[0] not in LOCAL:
        raise ClickHouseError(ACCESS_DENIED, f"This server answers on localhost only, not as {request.host!r}")
    if origin is not None and _host_of(origin)[1] != request.host:
        raise ClickHouseError(ACCESS_DENIED, "Requests of web pages from elsewhere are not answered")


def _host_of(url: str) -> tuple[str, str]:
    """Name, and name with port; nothing where it is no address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.hostname or "", parts.netloc
