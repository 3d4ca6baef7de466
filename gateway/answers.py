"""What is sent back, and the few bodies that are the same everywhere."""

from dataclasses import dataclass, field

from gateway.dialects.base import Refusal
from gateway.limits import Standing

Header = tuple[str, str]

JSON: Header = ("content-type", "application/json")
CLOSE: Header = ("connection", "close")
NOT_FOUND = b'{"detail":"Not Found"}'
NOT_ALLOWED = b'{"detail":"Method Not Allowed"}'
FAULT = b'{"detail":"Internal Server Error"}'
UNAUTHORIZED = "Invalid or missing API key"
FORBIDDEN = "This API key is revoked, or may not use this API"
UNAVAILABLE = b'{"detail":"The event could not be stored now. Retry with backoff"}'
DRAINING = b'{"detail":"This server is shutting down. Retry"}'


@dataclass(slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    headers: list[Header] = field(default_factory=lambda: [JSON])


class Denied(Refusal):
    """401 or 403: the key decides, whatever else the request holds."""

    def __init__(self, status: int) -> None:
        super().__init__(status, UNAUTHORIZED if status == 401 else FORBIDDEN)

    def body(self) -> bytes:
        """The documented text alone."""
        return b'{"detail":"%s"}' % self.detail.encode()


class Limited(Refusal):
    """429."""

    def __init__(self, standing: Standing, what: str) -> None:
        super().__init__(429, f"Rate limit exceeded: {standing.limit} {what} per minute")
        self.standing = standing

    def body(self) -> bytes:
        """The detail alone: there is no fault to mend."""
        return b'{"detail":"%s"}' % self.detail.encode()
