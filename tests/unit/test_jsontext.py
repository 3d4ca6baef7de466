"""What is refused is named by its place; hostile bodies take bounded time and make bounded answers."""

import time
from collections.abc import Callable

import pytest

from gateway import jsontext
from gateway.dialects import adwize, gamerebellion, revosurge
from gateway.dialects.base import Malformed, Refusal, Request

LIMIT = 1024 * 1024


def faults(body: bytes) -> list[tuple[str, str]]:
    return [(fault.field, fault.message) for fault in jsontext.read(body).faults]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "a value is expected at its end (character 0)"),
        (b'{"a": 1', "expecting ',' delimiter at its end (character 7)"),
        (b'{\n "a": 1,\n "b" 2}', "expecting ':' delimiter at line 3, column 6 (character 16)"),
        (b'{"a": 1} x', "nothing more is expected at line 1, column 10 (character 9)"),
        (b"[1, 01]", "expecting ',' delimiter at line 1, column 6 (character 5)"),
        (b'"\x01"', "invalid control character at line 1, column 2 (character 1)"),
        (b"\xa0{}", "the body is not UTF-8: byte 0xa0 at position 0"),
        ("\u00a0{}".encode(), "a value is expected at line 1, column 1 (character 0)"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        (b'{"a": undefined}', "a value is expected at line 1, column 7 (character 6)"),
        (b"\xed\xa0\x80", "the body is not UTF-8"),
    ],
)
def test_what_is_no_json_is_named_by_its_place(body: bytes, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        jsontext.read(body)
    assert message in caught.value.detail
    assert caught.value.faults[0].message == caught.value.detail


def test_every_flaw_of_an_event_is_named_by_its_path() -> None:
    body = rb'{"a":1,"a":2,"b":{"c":[0,NaN,"\ud800"]},"d":"\u0000","\udc00":Infinity,"e":{"f":1,"f":{"f":-Infinity}}}'
    assert faults(body) == [
        ("\\udc00", "has half of a surrogate pair (\\udc00), which no text may have"),
        ("a", "stands twice in one object"),
        ("b.c[1]", "NaN is no JSON: send a number, or null"),
        ("b.c[2]", "has half of a surrogate pair (\\ud800), which no text may have"),
        ("d", "has U+0000 (\\u0000), which no text may have"),
        ("\\udc00", "Infinity is no JSON: send a number, or null"),
        ("e.f", "stands twice in one object"),
        ("e.f.f", "-Infinity is no JSON: send a number, or null"),
    ]


def test_a_pair_of_surrogates_is_a_character() -> None:
    piece = jsontext.read(rb'{"a":"\ud83d\ude00"}')
    assert (piece.value, piece.faults) == ({"a": "😀"}, ())


@pytest.mark.parametrize("shape", ["[%s]", '{"a":%s}'])
def test_the_depth_is_counted_from_the_bodys_own_brackets(shape: str) -> None:
    def nested(depth: int) -> bytes:
        text = "0"
        for _ in range(depth):
            text = shape % text
        return text.encode()

    assert not faults(nested(64))
    assert [message for _, message in faults(nested(65))] == ["is nested deeper than 64"]
    batch = jsontext.read_array(b"[" + nested(63) + b"," + nested(64) + b"]", 2)
    assert [bool(piece.faults) for piece in batch.pieces] == [False, True]
    batch = jsontext.read_array(b"[" + b",".join([nested(2)] * 99 + [nested(64)]) + b"]", 100)
    assert [bool(piece.faults) for piece in batch.pieces] == [False] * 99 + [True]
    member = jsontext.read_member(b'{"events":[' + nested(62) + b"," + nested(63) + b"]}", "events", 2)
    assert [bool(piece.faults) for piece in member.pieces] == [False, True]


def test_brackets_in_texts_do_not_count() -> None:
    assert not faults(b'{"a":"' + b"[{" * 500 + b'"}')


def test_a_batch_may_not_be_longer_than_its_limit() -> None:
    assert len(jsontext.read_array(b"[1,2]", 2).pieces) == 2
    with pytest.raises(Refusal, match="at most 2 events"):
        jsontext.read_array(b"[1,2,3]", 2)


def test_members_around_a_batch_are_checked_too() -> None:
    batch = jsontext.read_member(rb'{"a":NaN,"events":[{"b":1}],"a":"\ud800","c":{"d":1,"d":2}}', "events", 10)
    assert [(fault.field, fault.message.split(" ")[0]) for fault in batch.faults] == [
        ("a", "NaN"),
        ("a", "stands"),
        ("a", "has"),
        ("c.d", "stands"),
    ]
    assert batch.malformed
    assert [piece.raw for piece in batch.pieces] == [b'{"b":1}']


def revo(body: bytes) -> object:
    return revosurge.single(Request("POST /v2/s2s/event", {}, {}, body, "acme", 0))


def revo_batch(body: bytes) -> object:
    return revosurge.batch(Request("POST /v2/s2s/batch", {}, {}, body, "acme", 0))


def rebellion(body: bytes) -> object:
    return gamerebellion.track_batch(Request("POST /api/v1/events", {}, {}, body, "acme", 0))


def wize(body: bytes) -> object:
    return adwize.ingest(Request("POST /api/v1/events", {}, {}, body, "acme", 0))


def fill(head: bytes, again: bytes, tail: bytes = b"") -> bytes:
    """A body at the limit."""
    return head + again * ((LIMIT - len(head) - len(tail)) // len(again)) + tail


HOSTILE: list[tuple[Callable[[bytes], object], bytes]] = [
    (revo, fill(b"", b"[")),
    (revo, fill(b"", b'{"a":')),
    (revo, fill(b"", b"[" * 60 + b"]" * 60 + b",")),
    (revo, fill(b'{"a":[', b"{},", b"{}]}")),
    (revo, fill(b'{"a":"', b"\\ud800", b'"}')),
    (revo, fill(b'{"a":[', b'"\\ud800",', b"0]}")),
    (revo, fill(b'{"a":[', b"NaN,", b"0]}")),
    (revo, fill(b"{", b'"a":1,', b'"a":1}')),
    (revo, b"{" + b",".join(b'"k%d":1,"k%d":2' % (n, n) for n in range(50_000)) + b"}"),
    (revo, fill(b'{"timestamp":', b"9", b"}")),
    (revo, fill(b'{"timestamp":0.', b"9", b"}")),
    (revo, fill(b'{"amount":1e', b"9", b"}")),
    (revo, fill(b'{"amount":"', b"9", b'"}')),
    (revo, fill(b'{"amount":"1e-', b"0", b'1"}')),
    (revo, b'{"' + b"k" * 500_000 + b'":{' + b",".join(b'"%d":NaN' % n for n in range(50_000)) + b"}}"),
    (revo, b'{"amount":1' + b"0" * 500_000 + b"e-500000}"),
    (revo, fill(b"", b" ")),
    (revo, fill(b"", b"\n", b"x")),
    (revo, fill(b'"', b"\\")),
    (revo, fill(b"", b"\xff")),
    (revo_batch, fill(b"[", b"0,", b"0]")),
    (revo_batch, b"[" + b",".join([b"{}"] * 1000) + b"]"),
    (revo_batch, b"[" + b",".join([b"[" + b"NaN," * 200 + b"0]"] * 1000) + b"]"),
    (revo_batch, b"[" + b",".join([b"[" * 60 + b"]" * 60] * 1000) + b"]"),
    (rebellion, fill(b"{", b'"events":[],', b'"events":[]}')),
    (rebellion, fill(b'{"events":[', b"{},", b"{}]}")),
    (rebellion, fill(b"{", b'"a":0,', b'"a":0}')),
    (wize, b"[" + b",".join([b'{"source":1,"event_type":1,"data":1}'] * 1000) + b"]"),
]


@pytest.mark.parametrize(
    ("handle", "body"), HOSTILE, ids=lambda value: repr(value)[:24] if isinstance(value, bytes) else value.__name__
)
def test_hostile_bodies_are_refused_in_bounded_time_and_words(handle: Callable[[bytes], object], body: bytes) -> None:
    started = time.process_time()
    with pytest.raises(Refusal) as caught:
        handle(body)
    answer = caught.value.body()
    assert time.process_time() - started < 5
    assert len(answer) < 3 * LIMIT
    assert caught.value.status == 400
    assert len(caught.value.detail) < 1000


LONG = b'{"x":"' + b"x" * 300 + b'"}'
"""An event that looks compact for as long as anyone looks ahead."""


@pytest.mark.parametrize("flawed", [rb'{"a":1,"a":1}', rb'{"a":"\u0000"}', rb'{"a":"\ud800"}', rb'{"a":NaN}'])
def test_a_flaw_is_found_behind_compact_events(flawed: bytes) -> None:
    batch = jsontext.read_array(b"[" + LONG + b"," + flawed + b"]", 2)
    assert [bool(piece.faults) for piece in batch.pieces] == [False, True]


@pytest.mark.parametrize("event", [rb'{"a": 1}', rb'{ "a":1}', rb'{"a":"\/"}', rb'{"a":"\u00e9"}', rb'{"a":"\u001F"}'])
def test_the_bytes_behind_compact_events_are_those_sent(event: bytes) -> None:
    batch = jsontext.read_array(b"[" + LONG + b"," + event + b"]", 2)
    assert [piece.raw for piece in batch.pieces] == [LONG, event]
