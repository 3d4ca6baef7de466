"""A request's body: read within a size and a time, unpacked within the same size.

Errors: Refusal with 413 (too large, as sent or unpacked), 415 (a Content-Encoding that is not gzip), 400 (gzip that is
none), 408 (too slow); ClientGone.
"""

import asyncio
import time
import zlib
from typing import Any

from granian._granian import RSGIProtocolClosed as ProtocolClosed
from granian._granian import RSGIProtocolError as ProtocolError

from gateway.dialects.base import Fault, Refusal

GZIP = 31
"""zlib's window bits for gzip and nothing else."""
MEMBERS = 100
"""Members of one gzip file; each costs a pass over what follows it, so that a body of empty ones would cost seconds."""


class ClientGone(Exception):  # noqa: N818
    """The client has left before its request was complete; nobody waits for an answer."""


class Slow(Refusal):
    """408: the body was not complete in time. The connection cannot be used again."""

    def __init__(self) -> None:
        super().__init__(408, "the request body was not complete in time")


def declared_size(headers: Any) -> int | None:
    """Content-Length; None where the body comes in chunks. The HTTP server has checked it."""
    text = headers.get("content-length")
    if text is not None:
        return int(text)
    return None if "transfer-encoding" in headers else 0


class Patience:
    """One clock for all bodies that are being read: a timer for each would cost more than reading a small one.

    ``with patience:`` around the reading raises Slow once it has taken too long.
    """

    def __init__(self, within: float) -> None:
        self._within = within
        self._until: dict[asyncio.Task[Any], float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to watch."""
        self._task = asyncio.create_task(self._watch(), name="patience")

    def stop(self) -> None:
        """Ends the watch."""
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        self._until[asyncio.current_task()] = time.monotonic() + self._within  # type: ignore[index]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task = asyncio.current_task()
        if self._until.pop(task, None) is None and kind is asyncio.CancelledError:  # type: ignore[arg-type]
            task.uncancel()  # type: ignore[union-attr]
            raise Slow from None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._within / 4))
            now = time.monotonic()
            for task in [task for task, until in self._until.items() if until < now]:
                del self._until[task]
                task.cancel()


async def read(proto: Any, headers: Any, limit: int, patience: Patience) -> tuple[bytes, bool]:
    """The body as sent, and whether it is whole; one above ``limit`` is not. Raises Slow, ClientGone."""
    size = declared_size(headers)
    if size == 0:
        return b"", True
    try:
        with patience:
            if size is not None and size <= limit:
                return await proto(), True
            return await _skim(proto, limit)
    except (ProtocolClosed, ProtocolError):
        raise ClientGone from None


async def _skim(proto: Any, limit: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    async for part in proto:
        size += len(part)
        if size > limit:
            return b"".join(parts) + part[: limit - size], False
        parts.append(part)
    return b"".join(parts), True


async def discard(proto: Any, headers: Any, keep: int, most: int, patience: Patience) -> tuple[bytes, bool]:
    """The first ``keep`` bytes of a body that is refused, and whether the connection can be used again.

    The rest is read as well, up to ``most`` bytes: a client that is still sending when the connection ends would see a
    reset, and not the answer.
    """
    if declared_size(headers) == 0:
        return b"", True
    kept = bytearray()
    size = 0
    try:
        with patience:
            async for part in proto:
                size += len(part)
                kept += part[: max(0, keep - len(kept))]
                if size > most:
                    return bytes(kept), False
    except (Slow, ProtocolClosed, ProtocolError):
        return bytes(kept), False
    return bytes(kept), True


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
