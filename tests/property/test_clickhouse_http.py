"""Whatever is sent to the embedded ClickHouse gets an answer of its own making: a result, or a code of ClickHouse's."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.servers import embedded_clickhouse

REQUESTS = 600
WORDS = (
    "SELECT ", "1", " FORMAT ", "JSON", "INSERT INTO t ", "VALUES ", "'", "`", '"', "\x00", "(", ")", ";", "/*", "--",
    "$$", "numbers(10)", " FROM ", "{a:UInt8}", "\n", "Native", "SETTINGS ", "max_threads=1", "EXPLAIN ", "WITH x AS ",
    "DESCRIBE ", "SHOW ", "UNION ALL ", "é", "\\",
)  # fmt: skip
BYTES = (b"\xff", b"\xe2\x82", b"\x1f\x8b", b"")
PARAMETERS = (
    "query", "database", "default_format", "param_a", "max_threads", "session_id", "query_id", "user", "password",
    "compress", "enable_http_compression", "wait_end_of_query", "log_comment", "readonly", "", "a b", "é",
)  # fmt: skip
VALUES = ("1", "", "0", "x", "\r\n", "é", "'", "`", "JSON", "a\tb", "\\", "\x00", "default")
HEADERS = {
    "Content-Encoding": ("gzip", "lz4", "br", "zstd", "x", "identity", "deflate"),
    "Accept-Encoding": ("gzip", "lz4;q=0", "*", "br, zstd", ";;,"),
    "Authorization": ("Basic", "Basic xx", "Bearer 1", "Basic OTo6"),
    "Origin": ("http://x", "null", "", "http://["),
    "Host": ("localhost", "[::1", "a:b:c", "127.0.0.1:99999"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with embedded_clickhouse() as address:
        yield address


@pytest.mark.parametrize("seed", [1, 2])
def test_every_answer_is_meant(server: str, seed: int) -> None:
    chance, answers = random.Random(seed), Counter[Any]()
    with requests.Session() as session:
        for _ in range(REQUESTS):
            body = "".join(chance.choices(WORDS, k=chance.randint(0, 8))).encode() + chance.choice(BYTES)
            params: Any = {chance.choice(PARAMETERS): chance.choice(VALUES) for _ in range(chance.randint(0, 3))}
            headers: Any = {name: chance.choice(values) for name, values in HEADERS.items() if chance.random() < 0.15}
            method = chance.choice(("GET", "POST", "POST"))
            answer = session.request(method, server, data=body, params=params, headers=headers, timeout=20)
            code = answer.headers.get("X-ClickHouse-Exception-Code")
            assert code is not None or answer.status_code == 200, (body, params, headers, answer.text)
            answers[answer.status_code, code] += 1
        assert session.get(f"{server}/ping", timeout=30).text == "Ok.\n"
    print(f"seed {seed}: {REQUESTS} requests, {len(answers)} kinds of answers")
    assert len(answers) > 8
