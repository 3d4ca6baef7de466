"""JSON before it goes into ClickHouse's JSON type."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.properties import storable, suspected


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


def is_suspected(text: str) -> bool:
    """What ClickHouse finds by the condition; the expression means the same in Python."""
    found = re.fullmatch(r"match\(p, '(.*)'\)", suspected("p"))
    assert found is not None
    return re.search(found[1].replace("\\\\", "\\"), text, re.ASCII) is not None


PIECES = ["a", "b.", ".", "\\u002e", "\\u002E", '\\"', "\\\\", "e400", "1e400", ":", ",", " ", "é"]
KEYS = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
NUMBERS = st.sampled_from(["1", "-1.5", "1e400", "-2E+999", "1" * 200, "9" * 150 + "." + "9" * 150, "1e-400", "1e99"])
SPACES = st.sampled_from(["", " ", "\n", "\t "])
DOCUMENTS = st.recursive(
    NUMBERS | KEYS.map(lambda text: f'"{text}"') | st.sampled_from(["true", "null"]),
    lambda inner: (
        st.tuples(SPACES, st.lists(inner, max_size=3)).map(lambda each: f"[{each[0]}{(',' + each[0]).join(each[1])}]")
        | st.tuples(SPACES, st.lists(st.tuples(KEYS, inner), max_size=3)).map(
            lambda each: "{" + ",".join(f'{each[0]}"{key}"{each[0]}:{each[0]}{value}' for key, value in each[1]) + "}"
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1e400}', '{"a":[-1E+999]}', '{"a": 10.5e300}', '{"a":\n' + "7" * 250 + "e99}", '[{"a":[0, 1E400]}]',
        '{"a.b":1}', '{"a." : 1}', '{"a\\u002eb":1}', '{"a\\u002Eb":1}', '{"a.\\"b":1}', '{"a\\".b":1}',
        '{"x":{".":1}}',
    ],
)  # fmt: skip
def test_what_may_have_to_be_mended_is_suspected(text: str) -> None:
    assert is_suspected(text)


@given(DOCUMENTS)
def test_all_that_is_mended_is_suspected(text: str) -> None:
    document = f'{{"x":{text}}}'
    (kept,) = storable([document.encode()])
    assert json.loads(kept) == json.loads(document) or is_suspected(document)


@pytest.mark.parametrize(
    "text", ['{"a":1.5,"b":"x.y","c":["2.0",3.25],"d":"e123","id":"9e400b.c"}', '{"u":"a:b"}', "{}"]
)
def test_what_most_senders_send_is_not_suspected(text: str) -> None:
    assert not is_suspected(text)


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
    started = time.process_time()
    storable([text.encode()])
    assert time.process_time() - started < 1
