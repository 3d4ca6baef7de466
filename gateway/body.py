"""What a request's body may be: its size as sent and unpacked, its encoding and its media type.

Errors: Refusal with 413 (too large), 415 (a Content-Encoding that is not gzip), 400 (gzip that is none).
"""

import zlib

from gateway.dialects.base import Fault, Refusal

GZIP = 31
"""zlib's window bits for gzip and nothing else."""
MEMBERS = 100
"""Members of one gzip file; each costs a pass over what follows it, so that a body of empty ones would cost seconds."""


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding. Raises Refusal."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip"):
        raise Refusal(415, "Content-Encoding must be gzip or absent")
    return _gunzip(body, limit)


def _gunzip(body: bytes, limit: int) -> bytes:
    """Every member of the file, never more than a byte over ``limit``."""
    out = bytearray()
    for _ in range(MEMBERS):
        unpacker = zlib.decompressobj(GZIP)
        try:
            out += unpacker.decompress(body, limit + 1 - len(out))
        except zlib.error as error:
            raise _bad_gzip(str(error)) from None
        if len(out) > limit:
            raise too_large(limit)
        if not unpacker.eof:
            raise _bad_gzip("it ends too early")
        body = unpacker.unused_data
        if not body:
            return bytes(out)
    raise _bad_gzip(f"it has more than {MEMBERS} members")


def _bad_gzip(reason: str) -> Refusal:
    message = f"the body is not valid gzip: {reason}"
    return Refusal(400, message, [Fault("", message)])


def too_large(limit: int) -> Refusal:
    """413."""
    return Refusal(413, f"the request body is larger than {limit} bytes, as sent or unpacked")


def is_json(content_type: str | None) -> bool:
    """Whether a Content-Type passes: missing, application/json or application/*+json, with any parameters."""
    if not content_type:
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
