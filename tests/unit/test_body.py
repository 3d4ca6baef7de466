"""Bodies: sizes, gzip in every form, media types."""

import gzip
import tracemalloc
import zlib

import pytest

from gateway.body import is_json, unpack
from gateway.dialects.base import Refusal

LIMIT = 1024 * 1024


def refusal(body: bytes, encoding: str = "gzip") -> int:
    with pytest.raises(Refusal) as caught:
        unpack(body, encoding, LIMIT)
    return caught.value.status


def test_plain_and_identity_pass() -> None:
    assert unpack(b"{}", "", LIMIT) == b"{}"
    assert unpack(b"{}", "identity", LIMIT) == b"{}"


def test_gzip_of_several_members_is_one_body() -> None:
    assert unpack(gzip.compress(b'{"a"') + gzip.compress(b":1}"), "GZip", LIMIT) == b'{"a":1}'


def test_a_body_of_just_the_limit_passes_and_a_byte_more_does_not() -> None:
    assert len(unpack(gzip.compress(bytes(LIMIT)), "gzip", LIMIT)) == LIMIT
    assert refusal(gzip.compress(bytes(LIMIT + 1))) == 413
    assert refusal(gzip.compress(bytes(LIMIT)) + gzip.compress(b"x")) == 413


def test_a_bomb_is_never_unpacked_whole() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    tracemalloc.start()
    try:
        assert refusal(bomb) == 413
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip",
        gzip.compress(b"{}", mtime=0)[:-3],
        gzip.compress(b"{}", mtime=0) + b"trailing",
        zlib.compress(b"{}"),
        b"\x1f\x8b",
        b"",
    ],
)
def test_what_is_no_gzip_is_400(body: bytes) -> None:
    assert refusal(body) == 400


def test_ten_thousand_empty_members_are_refused_at_once() -> None:
    assert refusal(gzip.compress(b"") * 10_000) == 400


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_encodings_are_415(encoding: str) -> None:
    assert refusal(b"{}", encoding) == 415


def test_media_types() -> None:
    passing = [None, "", "application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"]
    assert all(is_json(kind) for kind in passing)
    assert not any(
        is_json(kind) for kind in ("text/plain", "text/json", "application/xml", "json", "application/jsonx")
    )
