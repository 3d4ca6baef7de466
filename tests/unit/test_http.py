"""The HTTP server by itself, over real sockets: what clients do right, and what they do wrong."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from embedded.place import free_port
from gateway.answers import CLOSE, JSON, Answer
from gateway.http import HttpServer
from gateway.incoming import ClientGone, Garbled, Incoming, TooSlow
from runtime.settings import Settings, load

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Echo:
    """Answers with method, path and body."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gone = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, incoming: Incoming) -> Answer | None:
        self.seen.append(incoming.path)
        await self.gate.wait()
        if incoming.path == "/refused":
            done = await incoming.body.discard(4, 1000, 0.5)
            return Answer(401, incoming.body.bytes() + (b" all" if done else b" part"))
        if incoming.path == "/last":
            return Answer(200, b"", [JSON, CLOSE])
        try:
            whole = await incoming.body.complete(0.5)
        except TooSlow:
            return Answer(408, b"", [CLOSE])
        except Garbled:
            return Answer(400, b"", [CLOSE])
        except ClientGone:
            self.gone += 1
            return None
        text = f"{incoming.method} {incoming.path} {len(incoming.body.bytes())} {whole}"
        return Answer(200, text.encode(), [JSON, ("x-seen", incoming.headers.get("x-a", "-"))])


def serve(talk: Talk, application: Callable[[], Any] = Echo, **settings: Any) -> Any:
    """Runs a server and one client; returns the application."""

    async def run() -> Any:
        limits: dict[str, Any] = {"gateway_header_timeout": 0.6, "gateway_body_bytes": 4096, "gateway_idle_timeout": 1}
        chosen: Settings = load(gateway_port=free_port(), **(limits | settings))
        echo = application()
        server = HttpServer(chosen)
        await server.start()
        server.application = echo
        try:
            async with asyncio.timeout(15):
                reader, writer = await asyncio.open_connection("127.0.0.1", chosen.gateway_port)
                await talk(reader, writer)
                writer.close()
        finally:
            await server.stop(1)
        return echo

    return asyncio.run(run())


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_one_connection_serves_many_requests() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(3):
            writer.write(post(f"/{number}", b"x" * number, "X-A: 1"))
            status, headers, body = await answer(reader)
            assert (status, headers["x-seen"], body) == (200, "1", f"POST /{number} {number} True".encode())
            assert "date" in headers
            assert "connection" not in headers

    serve(talk)


def test_a_pipeline_is_answered_in_order_one_at_a_time() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(post(f"/{number}", b"") for number in range(20)))
        for number in range(20):
            assert (await answer(reader))[2] == f"POST /{number} 0 True".encode()

    serve(talk)


def test_white_space_around_a_value_is_no_part_of_it() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/a", b"", "x-a: \t b c \t "))
        assert (await answer(reader))[1]["x-seen"] == "b c"

    serve(talk)


def test_a_pipeline_without_end_is_cut_off() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/", b"") * 2000)
        seen = await reader.read()
        assert seen.count(b"200 OK") <= 64

    assert len(serve(talk).seen) <= 64


def test_a_request_a_byte_at_a_time() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in post("/%C3%A9%2f?q=1", b"abc", "X-A: \u00e9"):
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        status, headers, body = await answer(reader)
        assert (status, body.decode()) == (200, "POST /é/ 3 True")
        assert headers["x-seen"] == "\u00e9"

    serve(talk)


def test_chunks_and_expect() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for _ in range(3):
            writer.write(b"5\r\nhello\r\n")
            await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")
        assert (await answer(reader))[2] == b"POST /c 15 True"

    serve(talk)


@pytest.mark.parametrize("size", [3, 63_000, 200_000])
def test_a_body_behind_its_head_is_no_part_of_the_next_head(size: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            whole = post("/b", b"x" * size, "X-A: " + "a" * 10_000)
            for part in (whole[:5000], whole[5000:-size], whole[-size:]):
                writer.write(part)
                await asyncio.sleep(0.02)
            status, headers, body = await answer(reader)
            assert (status, body) == (200, f"POST /b {size} True".encode())
            assert "connection" not in headers
        assert await reader.read() == b""  # closed in silence, when it has been idle for long enough

    serve(talk, gateway_body_bytes=1 << 20)


def test_a_head_behind_a_body_is_not_as_large_as_both() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = post("/b", b"x" * 200_000)
        writer.write(whole + whole[:20])
        await asyncio.sleep(0.05)
        writer.write(whole[20:])
        for _ in range(2):
            assert (await answer(reader))[2] == b"POST /b 200000 True"

    serve(talk, gateway_body_bytes=1 << 20)


IN_CHUNKS = b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = IN_CHUNKS + b"5\r\nhello\r\n0\r\n"


def test_fields_behind_a_body_are_not_the_next_requests() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"X-A: behind\r\n\r\n" + post("/next", b""))
        for text in (b"POST /t 5 True", b"POST /next 0 True"):
            _, headers, body = await answer(reader)
            assert (headers["x-seen"], body) == ("-", text)

    serve(talk)


def test_fields_behind_a_body_have_an_end() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (CHUNKED, b"X-A: " + b"a" * 16_384, *[b"a" * 16_384] * 3):
            writer.write(part)
            await asyncio.sleep(0.02)
        assert await reader.read() == b""  # and no 408 that waited for more

    serve(talk)


def test_what_stands_around_chunks_is_no_field_behind_them() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(IN_CHUNKS)
        for _ in range(20):
            writer.write(b"1;x=" + b"a" * 4096 + b"\r\n")
            await asyncio.sleep(0.005)
            writer.write(b"x\r\n")
            await asyncio.sleep(0.005)
        writer.write(b"0\r\n\r\n")
        assert (await answer(reader))[2] == b"POST /t 20 True"

    serve(talk)


def test_a_body_over_the_limit_is_not_kept() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/", b"x" * 4097))
        assert (await answer(reader))[2] == b"POST / 4096 False"

    serve(talk)


def test_a_refused_body_is_taken_off_or_the_connection_given_up() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/refused", b"0123456789"))
        assert (await answer(reader))[2] == b"0123 all"
        writer.write(post("/", b""))
        assert (await answer(reader))[0] == 200
        writer.write(post("/refused", b"0123456789" * 100_000))
        status, headers, body = await answer(reader)
        assert (status, headers["connection"]) == (401, "close")
        assert body.endswith(b" part")
        assert await reader.read() == b""

    serve(talk)


def test_upgrades_are_answered_as_if_not_asked_for() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wish = (
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA",
        )
        for _ in range(2):
            writer.write(post("/u", b"abc", *wish))
            assert (await answer(reader))[2] == b"POST /u 3 True"

    serve(talk)


def test_http_1_0_that_asks_to_be_kept_gets_its_answers_end() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /old HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert (await answer(reader))[1]["connection"] == "close"
        assert await asyncio.wait_for(reader.read(), 0.5) == b""

    serve(talk)


def test_head_http_1_0_and_connection_close() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert f"content-length: {len('HEAD /h 0 True')}" in head
        writer.write(b"GET /old HTTP/1.0\r\n\r\n")
        assert (await answer(reader))[1]["connection"] == "close"
        assert await reader.read() == b""

    serve(talk)


@pytest.mark.parametrize("path", ["/last", "/"])
def test_the_application_or_the_client_may_end_the_connection(path: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(path, b"", *(() if path == "/last" else ("Connection: close",))))
        assert (await answer(reader))[1]["connection"] == "close"
        assert await reader.read() == b""

    serve(talk)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no http\r\n\r\n", b" 400 "),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(102)), b" 431 "),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000, b" 431 "),
        (b"GET /" + b"a" * 70_000, b" 431 "),
        (post("/", b"", "x: " + "a" * 70_000), b" 431 "),
        (post("/" + "a" * 70_000, b""), b" 431 "),
        (b"GET / HTTP/1.1\r\nHost:", b" 408 "),
        (b"", b""),
        (post("/", b"", "Content-Length: 5"), b" 400 "),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", b" 400 "),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", b" 408 "),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(sent: bytes, status: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        assert status in await reader.read()

    serve(talk)


@pytest.mark.parametrize(
    ("sent", "status", "detail"),
    [
        (b"no http\r\n\r\n", 400, "this is no HTTP/1.1 request"),
        (b"GET /" + b"a" * 70_000, 431, "the request's head is too large, or has too many headers"),
        (b"GET / HTTP/1.1\r\nHost:", 408, "the request's head was not complete in time"),
    ],
)
def test_what_is_no_request_is_told_so_as_other_faults_are(sent: bytes, status: int, detail: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        told, headers, body = await answer(reader)
        assert (told, headers["content-type"], headers["connection"]) == (status, "application/json", "close")
        assert json.loads(body) == {"detail": detail, "errors": []}
        assert await reader.read() == b""

    serve(talk)


@pytest.mark.parametrize("pause", [0.0, 0.05])
@pytest.mark.parametrize(
    "parts",
    [
        (IN_CHUNKS, b"zz\r\n"),
        (IN_CHUNKS + b"5\r\nhello", b" and more\r\n"),
        (CHUNKED, b"Content-Length: 5\r\n\r\n"),
        (CHUNKED, b"no field\r\n\r\n"),
    ],
)
def test_chunks_that_are_none_are_refused_at_once(parts: tuple[bytes, bytes], pause: float) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/before", b"", "X-A: 1"))
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        assert (await answer(reader))[2] == b"POST /before 0 True"
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (400, "close")
        assert await reader.read() == b""

    serve(talk)


def test_what_stands_before_nonsense_is_still_answered() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/a", b"") + post("/b", b"") + b"nonsense\r\n\r\n")
        assert [(await answer(reader))[2] for _ in range(2)] == [b"POST /a 0 True", b"POST /b 0 True"]
        assert await reader.read() == b""

    serve(talk)


def test_a_client_that_leaves_in_mid_body_is_noticed() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await asyncio.sleep(0.1)

    assert serve(talk).gone == 1


def test_a_client_that_closes_its_side_still_gets_its_answer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/", b"abc"))
        writer.write_eof()
        assert (await answer(reader))[2] == b"POST / 3 True"

    serve(talk)


def test_an_idle_connection_is_closed_in_silence() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/", b""))
        await answer(reader)
        assert await reader.read() == b""

    serve(talk)


def test_more_connections_than_there_is_room_for() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        second, its_writer = await asyncio.open_connection("127.0.0.1", port)
        assert b" 503 " in await second.read()
        its_writer.close()
        writer.write(post("/", b""))
        assert (await answer(reader))[0] == 200

    serve(talk, gateway_connections=1)


def test_a_client_that_does_not_take_its_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.WRITE_LIMIT", 0.5)

    class Huge(Echo):
        async def __call__(self, incoming: Incoming) -> Answer | None:
            self.seen.append(incoming.path)
            return Answer(200, b"x" * 8_000_000)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(post("/", b"") * 10)
        await writer.drain()
        await asyncio.sleep(2.5)

    assert len(serve(talk, Huge).seen) < 5
