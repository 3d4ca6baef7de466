"""JSON before it goes into ClickHouse's JSON type."""

import json
import time

import pytest

from sinks.properties import storable


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('{"a":1e400}', '{"a":"1e400"}'),
        ('{"a":[-1E+999,1.5e308]}', '{"a":["-1E+999",1.5e+308]}'),
        ('{"a":"1e400"}', '{"a":"1e400"}'),
        ('{"a.b":1, "a.c":{"d":2}}', '{"a.b":1,"a.c":{"d":2}}'),
        ('{"a":1,"a.b":2}', '{"a":1,"a%2Eb":2}'),
        ('{"a":{"b":1},"a.b":2}', '{"a":{"b":1},"a%2Eb":2}'),
        ('{"a":1,"a\\u002eb":2}', '{"a":1,"a%2Eb":2}'),
        ('{"x":[{"a":1,"a.":2}]}', '{"x":[{"a":1,"a%2E":2}]}'),
        ('{"a":{},"a.b":2}', '{"a":{},"a%2Eb":2}'),
        ('{"a\\".b":2, "a\\"":1}', '{"a\\"%2Eb":2,"a\\"":1}'),
    ],
)
def test_what_cannot_be_stored_is_mended(sent: str, kept: str) -> None:
    assert storable([sent.encode()]) == [kept.encode()]


def test_integers_of_any_length_become_text() -> None:
    (kept,) = storable([b'{"a":' + b"7" * 5000 + b"}"])
    assert json.loads(kept) == {"a": "7" * 5000}


@pytest.mark.parametrize("text", ['{ "a" : 1.50, "b": "x.y:z", "ü": "\\u0000" }', "{}", '{"a":0.1e99}'])
def test_everything_else_stays_byte_for_byte(text: str) -> None:
    assert storable([text.encode()]) == [text.encode()]


@pytest.mark.parametrize(
    "text", ['{"a":"' + "." * 10**6 + '"}', '{"a":"' + '\\".' * 300_000 + '"}', '{"' + "." * 10**6]
)
def test_no_text_takes_long(text: str) -> None:
    started = time.perf_counter()
    storable([text.encode()])
    assert time.perf_counter() - started < 1
