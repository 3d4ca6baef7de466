"""Hostile input over raw sockets: a documented 4xx or a closed connection, in bounded time and memory, never a 5xx."""

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from gateway.dialects.registry import NAMES
from gateway.drafts import ANSWER
from tests.gateways import JSON, Gateway, adwize, await_that, gateway, make_key

HEAD_TIMEOUT, BODY_TIMEOUT = 2.0, 2.0
ROUTES = ("/events", "/events/data", "/api/v1/event", "/api/v1/events", "/v1/events", "/v2/s2s/event", "/v2/s2s/batch")


@pytest.fixture(scope="module")
def one(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    with gateway(broker, folder, gateway_header_timeout=HEAD_TIMEOUT, gateway_body_timeout=BODY_TIMEOUT) as running:
        yield running
        assert httpx.get(running.url + "/ready", timeout=30).status_code == 200
        assert running.running.poll() is None
        errors = [line for line in running.log.read_text().splitlines() if json.loads(line)["level"] == "error"]
        assert not errors, errors[:3]


@pytest.fixture(scope="module")
def secret(broker: str, one: Gateway) -> str:
    return make_key(broker, [one])


def exchange(one: Gateway, data: bytes, limit: float = 60) -> bytes:
    """What comes back before the connection is closed or silent for ``limit`` seconds."""
    with socket.create_connection(("127.0.0.1", one.port), limit) as connection:
        with suppress(OSError):  # closed while we were still sending: what it said before may still be read
            connection.sendall(data)
        found = b""
        with suppress(OSError):
            while part := connection.recv(65536):
                found += part
        return found


def status(reply: bytes) -> int:
    """The first answer's status; 0 where there was none."""
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


def request(secret: str, body: bytes, *headers: str, path: str = "/api/v1/events", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    own = ("Host: x", f"X-API-Key: {secret}", "Connection: close", f"Content-Length: {size}", *headers)
    return f"POST {path} HTTP/1.1\r\n".encode() + "\r\n".join(own).encode("latin-1") + b"\r\n\r\n" + body


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


BODIES = {
    "nothing": b"",
    "a bare value": b"1",
    "deep arrays": nested(100_000),
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "many small arrays": b"[" + b"[]," * 300_000 + b"[]]",
    "many keys": json.dumps({f"k{i}": i for i in range(60_000)}).encode(),
    "one key many times": b"{" + b'"a":1,' * 100_000 + b'"a":1}',
    "a huge integer": b'[{"source":"s","event_type":"e","data":{"value":' + b"9" * 500_000 + b"}}]",
    "a huge exponent": b'[{"source":"s","event_type":"e","data":{"value":1e999999999}}]',
    "NaN": b'[{"source":"s","event_type":"e","data":{"value":NaN}}]',
    "Infinity": b'[{"source":"s","event_type":"e","data":{"value":-Infinity}}]',
    "a lone surrogate": b'[{"source":"\\ud800","event_type":"e","data":{}}]',
    "bad UTF-8": b'[{"source":"\xff\xfe","event_type":"e","data":{}}]',
    "an overlong UTF-8": b'[{"source":"\xc0\xaf","event_type":"e","data":{}}]',
    "a raw NUL": b'[{"source":"a\x00b","event_type":"e","data":{}}]',
    "UTF-16": '[{"source":"s"}]'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf[]",
    "wrong types": b'[{"source":[],"event_type":{},"data":"x"},null,1,"x",[],{}]',
    "truncated": b'[{"source":"s","event_type":"e","data":{"a":"',
    "two values": b"[] []",
    "a long text": b'"' + b"\\u0000" * 170_000 + b'"',
    "escapes": b'[{"source":"\\u0000\\uD834\\uDD1E\\/\\b","event_type":"' + b"\\n" * 100_000 + b'","data":5}]',
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", BODIES)
def test_bodies(one: Gateway, secret: str, name: str, path: str) -> None:
    began = one.processor_time()
    reply = exchange(one, request(secret, BODIES[name], "Content-Type: application/json", path=path))
    assert 200 <= status(reply) < 500, reply[:300]
    assert one.processor_time() - began < 5
    assert b"content-type: application/json" in reply
    body = reply.partition(b"\r\n\r\n")[2]
    json.loads(body)
    assert len(body) < ANSWER * 1.1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(10_000)) + b"\r\n",
            {431, 0},
        ),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 1_000_000 + b"\r\n\r\n", {431, 0}),
        (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414, 431, 400, 0}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello", {400, 0}),
        (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", {400, 0}),
        (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", {400, 0}),
        (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", {400, 0}),
        (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", {400, 413, 401, 0}),
        (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", {400, 401, 0}),
        (b"GET /health\x00 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 0}),
        (b"GET /%00%ff%0d%0aX:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404, 400}),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404, 400}),
        (b"BREW /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {400, 405}),
        (b"GET /health HTTP/9.9\r\n\r\n", {400, 505, 0}),
    ],
)
def test_heads(one: Gateway, data: bytes, expected: set[int]) -> None:
    assert status(exchange(one, data)) in expected


@pytest.mark.parametrize(
    "header",
    [
        "X-Request-Id: a\tb",
        "X-Request-Id: \xe9\xff",
        "X-Request-Id: " + "a" * 5000,
        "X-Request-Id: x\x01y",
        "Idempotency-Key: \xe9",
        "Idempotency-Key: " + "k" * 20_000,
        "Content-Type: application/json; charset=\xff",
        "Content-Encoding: gzip, gzip",
        "traceparent: 00-" + "z" * 5000,
        "X-Campaign-ID: \xff",
        "Expect: 100-continue",
        "Expect: nonsense",
    ],
)
def test_header_values(one: Gateway, secret: str, header: str) -> None:
    reply = exchange(one, request(secret, adwize("a"), header))
    assert status(reply) in {0, 100, 201, 400, 415, 417}, reply[:300]
    head = reply.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")[0]
    assert b"\xff" not in head
    assert head.count(b"x-request-id:") <= 1


def test_a_gzip_bomb(one: Gateway, secret: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(700)) + packer.flush()
    assert len(bomb) < 1024 * 1024
    before = one.memory()
    began = one.processor_time()
    for _ in range(20):
        assert status(exchange(one, request(secret, bomb, "Content-Encoding: gzip"))) == 413
    assert one.processor_time() - began < 10
    members = gzip.compress(b"") * 50_000
    assert status(exchange(one, request(secret, members[: 1024 * 1024], "Content-Encoding: gzip"))) == 400
    assert one.memory() - before < 100 * 1024 * 1024


def test_a_body_larger_than_it_may_be_is_not_read_into_memory(one: Gateway, secret: str) -> None:
    before = one.memory()
    big = b" " * (200 * 1024 * 1024)
    assert status(exchange(one, request(secret, big))) in {413, 0}
    chunked = b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = chunked % secret.encode() + b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    assert status(exchange(one, data + (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 60)) in {413, 0}
    assert one.memory() - before < 100 * 1024 * 1024
    two_megabytes = httpx.post(
        one.url + "/api/v1/events", headers=JSON | {"X-API-Key": secret}, content=b" " * 2_000_000, timeout=30
    )
    assert two_megabytes.status_code == 413, "an honest client that is a little over gets its answer"


def test_chunks_that_are_none_are_a_400(one: Gateway, secret: str) -> None:
    head = b"POST /api/v1/event HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    began = time.monotonic()
    reply = exchange(one, head % secret.encode() + b"2\r\n{}}\r\n0\r\n\r\n")
    assert status(reply) == 400
    assert b"connection: close" in reply
    fault = {"index": None, "field": "", "message": "the body's chunks are not as Transfer-Encoding: chunked has them"}
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["errors"] == [fault]
    assert status(exchange(one, head % b"unknown" + b"zz\r\n")) == 401
    assert time.monotonic() - began < 4


def test_slow_heads_and_bodies_are_cut_off(one: Gateway, secret: str) -> None:
    began = time.monotonic()
    assert status(exchange(one, b"GET /health HTTP/1.1\r\nHost:", 60)) in {0, 408}
    assert time.monotonic() - began < 9
    began = time.monotonic()
    reply = exchange(one, request(secret, b"[", length=100))
    assert status(reply) == 408
    assert b"connection: close" in reply
    assert time.monotonic() - began < 14
    began = time.monotonic()
    reply = exchange(one, request("unknown", b"[", length=100))
    assert status(reply) == 401
    assert time.monotonic() - began < 14


def test_a_crowd_of_slow_clients_keeps_nobody_out(broker: str, tmp_path: Path) -> None:
    """Who is let in at last because others were cut off was kept out: here nobody is cut off."""
    with gateway(broker, tmp_path, gateway_header_timeout=120, gateway_body_timeout=120) as one:
        secret = make_key(broker, [one])
        slow = [socket.create_connection(("127.0.0.1", one.port), 60) for _ in range(400)]
        try:
            for number, connection in enumerate(slow):
                connection.sendall(b"POST /v1/ev" if number % 2 else request(secret, b"[", length=1000))
            reply = exchange(one, request(secret, adwize("a"), "Content-Type: application/json"))
            assert status(reply) == 201
        finally:
            for connection in slow:
                connection.close()
        await_that(lambda: one.metric("sluice_gateway_requests_in_progress") == 1, 60)


@pytest.mark.parametrize("path", ["/v1/events", "/api/v1/events"])
def test_who_finds_no_room_is_told_his_limit_too(broker: str, tmp_path: Path, path: str) -> None:
    with gateway(broker, tmp_path, gateway_memory=8 * 1024 * 1024, gateway_body_timeout=120) as one:
        secret = make_key(broker, [one], limit=50)
        slow = [socket.create_connection(("127.0.0.1", one.port), 60) for _ in range(8)]
        try:
            for connection in slow:
                connection.sendall(request(secret, b"[", path=path, length=1024 * 1024))
            await_that(lambda: one.metric("sluice_gateway_held_bytes") == 8 * 1024 * 1024, 60)
            reply = exchange(one, request(secret, b"[]", path=path))
            assert status(reply) == 503
            assert b"retry-after: " in reply
            assert b"x-ratelimit-limit: 50\r\n" in reply
        finally:
            for connection in slow:
                connection.close()


def test_guessing_keys_is_cheap_and_leaves_nothing(one: Gateway) -> None:
    before, rejected = one.memory(), one.metric("sluice_gateway_rejections_total")
    with httpx.Client(timeout=30) as client:
        began = one.processor_time()
        for number in range(1500):
            reply = client.post(
                one.url + "/v1/events", headers={"X-API-Key": f"sluice_guess_{number:020}"}, content=b"{}"
            )
            assert reply.status_code == 401
    assert one.processor_time() - began < 15
    assert one.memory() - before < 20 * 1024 * 1024
    assert one.metric("sluice_gateway_rejections_total") == rejected


def test_no_input_was_answered_with_5xx(one: Gateway) -> None:
    for dialect in NAMES:
        for number in ("500", "503"):
            assert one.metric("sluice_gateway_requests_total", dialect=dialect, status=number) == 0
