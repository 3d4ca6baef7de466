"""What a request's head says: the names of its headers, the path of its target."""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import httptools


def without_upgrade(method: bytes, url: bytes, headers: Mapping[str, str]) -> bytes:
    """The head again, as if no other protocol had been asked for: nobody has to grant that, but llhttp stops at it."""
    if method == b"CONNECT":
        raise ValueError("no proxy")
    kept = [f"{name}: {value}" for name, value in headers.items() if name not in ("upgrade", "connection")]
    return method + b" " + url + b" HTTP/1.1\r\n" + "\r\n".join(kept).encode() + b"\r\n\r\n"


@lru_cache(256)
def name_of(name: bytes) -> str:
    """A header's name, by which it is found."""
    return name.decode("latin-1").lower()


@lru_cache(256)
def path_of(url: bytes) -> str:
    """The decoded path of a request's target, without the query."""
    if not url.startswith(b"/"):
        try:
            url = httptools.parse_url(url).path or b"/"
        except httptools.HttpParserInvalidURLError:
            return ""
    path = url.partition(b"?")[0]
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode("utf-8", "replace")
