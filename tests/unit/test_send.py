"""Recorded requests, and what a poster does with a gateway that hesitates."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from cli.posting import Poster, Reply, Request
from cli.send import as_line, parse


@pytest.mark.parametrize("body", [b"", b"{}", b'{"amount":1.10}', "ünïcode".encode(), b"\xff\x00"])
def test_a_line_is_the_request_again(body: bytes) -> None:
    request = Request("POST", "/v2/s2s/batch?x=%20", {"Idempotency-Key": "ü"}, body)
    assert parse(as_line(request)) == request


def test_a_body_of_json_keeps_its_digits() -> None:
    request = parse(b'{"path": "/a", "body": {"amount": 1.10, "large": 123456789012345678901234567890, "e": 1E2}}')
    assert request.body == b'{"amount":1.10,"large":123456789012345678901234567890,"e":1E2}'
    assert (request.method, request.headers) == ("POST", {})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "Expecting"),
        (b"[]", "an object with a path"),
        (b'{"path": "a"}', "begins with /"),
        (b'{"path": "/a", "boddy": 1}', "has no boddy"),
        (b'{"path": "/a", "headers": {"n": 1}}', "headers are"),
        (b'{"path": "/a", "method": "GET /b"}', "method is a word"),
        (b'{"path": "/a", "body": "x", "base64": "eA=="}', "exclude each other"),
        (b'{"path": "/a", "base64": "?"}', "base64 data"),
        (rb'{"path": "/a\r\nX: y"}', "control characters"),
        (rb'{"path": "/a", "headers": {"X-A": "1\n2"}}', "control characters"),
        (rb'{"path": "/a", "headers": {"X-\ud800": "1"}}', "half surrogates"),
        ('{"path": "/a", "method": "É"}'.encode(), "method is a word"),
    ],
)
def test_what_is_no_request(line: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(line)


class Gateway:
    """Answers with what it is told, one after the other."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self._answers: Iterator[tuple[int, dict[str, str]]] = iter(answers)
        self.seen: list[tuple[str, str, bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """The next one."""
        self.seen.append((request.raw_path, request.headers.get("X-API-Key", ""), await request.read()))
        status, headers = next(self._answers)
        return web.Response(status=status, headers=headers)


@asynccontextmanager
async def listening(gateway: Gateway) -> Any:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", gateway.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def post(gateway: Gateway, tries: int = 5, headers: dict[str, str] | None = None) -> Reply:
    """One request's fate."""

    async def run() -> Reply:
        async with listening(gateway) as address, Poster(address, 1, tries) as poster:
            return await poster.post(Request("POST", "/a%2Fb", headers or {}, orjson.dumps({})), "given")

    return asyncio.run(run())


def test_an_answer_is_an_answer() -> None:
    gateway = Gateway((409, {}))
    assert post(gateway) == Reply(409, b"", 1, False)
    assert gateway.seen == [("/a%2Fb", "given", b"{}")]


def test_a_record_keeps_its_own_key() -> None:
    gateway = Gateway((202, {}))
    post(gateway, headers={"x-api-key": "own"})
    assert gateway.seen[0][1] == "own"


def test_in_doubt_it_is_sent_again() -> None:
    assert post(Gateway((503, {}), (500, {}), (201, {}))) == Reply(201, b"", 3, True)


def test_too_many_requests_are_no_doubt_and_wait_as_asked() -> None:
    began = time.monotonic()
    assert post(Gateway((429, {"Retry-After": "1"}), (200, {}))) == Reply(200, b"", 2, False)
    assert time.monotonic() - began >= 1


def test_it_gives_up() -> None:
    reply = post(Gateway((503, {}), (503, {})), tries=2)
    assert (reply.status, reply.tries, reply.ok) == (503, 2, False)


def test_a_redirect_is_not_followed() -> None:
    assert post(Gateway((302, {"Location": "/elsewhere"}))).status == 302


def test_nobody_there() -> None:
    async def run() -> Reply:
        async with Poster("http://127.0.0.1:9", 1, 2) as poster:
            return await poster.post(Request("POST", "/a", {}, b""), None)

    reply = asyncio.run(run())
    assert (reply.status, reply.tries) == (None, 2)
