"""Compressed bodies, both ways, by HTTP's Content-Encoding and Accept-Encoding."""

import mmap
from collections.abc import Callable
from typing import Any

import cramjam

from embedded.clickhouse.errors import (
    CANNOT_DECOMPRESS,
    QUERY_IS_TOO_LARGE,
    UNKNOWN_COMPRESSION_METHOD,
    ClickHouseError,
)

CODECS: dict[str, Any] = {
    "br": cramjam.brotli,
    "lz4": cramjam.lz4,
    "zstd": cramjam.zstd,
    "gzip": cramjam.gzip,
    "deflate": cramjam.zlib,
    "xz": cramjam.xz,
    "bz2": cramjam.bzip2,
}
LEVELS = {"lz4": 1, "zstd": 1, "gzip": 3, "deflate": 3, "br": 3}
"""What an answer may be packed by, in this order, and how hard: client and server are on one machine."""


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its ``encoding``. Raises ClickHouseError: unknown, broken, or above ``limit`` bytes."""
    if encoding in ("", "identity"):
        return body
    codec = CODECS.get(encoding)
    if codec is None:
        raise ClickHouseError(UNKNOWN_COMPRESSION_METHOD, f"Unknown compression method: {encoding!r}")
    if not body:
        return body
    with mmap.mmap(-1, limit) as room:  # pages come into being as they are written, so a large limit costs nothing
        try:
            size = codec.decompress_into(body, room)
        except cramjam.DecompressionError as error:
            if "whole buffer" in str(error):
                raise ClickHouseError(QUERY_IS_TOO_LARGE, f"The unpacked body has more than {limit} bytes") from None
            raise ClickHouseError(CANNOT_DECOMPRESS, f"Cannot unpack the body by {encoding}: {error}") from None
        return room[:size]


def choose(accepted: str) -> str | None:
    """The encoding for an answer by the request's Accept-Encoding; None: as it is."""
    wanted = {}
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        wanted[name.strip()] = parameters.replace(" ", "")
    usable = {name for name, parameters in wanted.items() if parameters not in ("q=0", "q=0.0", "q=0.00", "q=0.000")}
    return next((name for name in LEVELS if name in usable), None)


def pack(body: bytes, encoding: str) -> bytes:
    """A whole answer, packed."""
    piece, end = packer(encoding)
    return piece(body) + end()


def packer(encoding: str | None) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """For an answer that comes in pieces: a function for each piece and one for the end."""
    if encoding is None:
        return lambda piece: piece, lambda: b""
    compressor = CODECS[encoding].Compressor(LEVELS[encoding])

    def pack(piece: bytes) -> bytes:
        compressor.compress(piece)
        return bytes(compressor.flush())

    return pack, lambda: bytes(compressor.finish())
