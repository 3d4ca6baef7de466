"""API keys: made once, known ever after by their SHA-256, kept in the compacted topic control.keys.

A gateway holds all of them in memory, by hash: an unknown key costs a hash and a look-up, whoever guesses and however
often. Keys have 190 random bits, so a plain hash is enough: there is nothing to try out.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from runtime.metrics import KEYS
from runtime.table import Table
from schemas.codec import DecodeError
from schemas.registry import API_KEY
from schemas.topics import CONTROL_KEYS

log = logging.getLogger("sluice.keys")

LONGEST = 256
"""Characters of a header that can be a key; a longer one is not even hashed."""


@dataclass(frozen=True, slots=True)
class Key:
    """A known API key, without its secret."""

    id: str
    tenant: str
    tier: str
    limit: int | None
    """Requests per minute; 0: unlimited; None: the dialect's default."""
    events_limit: int | None
    """Events per minute; None: none."""
    dialects: frozenset[str] | None
    """Allowed dialects; None: all."""
    revoked: bool

    def may_use(self, dialect: str) -> bool:
        """Whether requests of the dialect are let in."""
        return not self.revoked and (self.dialects is None or dialect in self.dialects)


class Keys:
    """All keys, as control.keys has them at this moment."""

    def __init__(self, kafka: str) -> None:
        self._by_hash: dict[bytes, Key] = {}
        self.table = Table(kafka, CONTROL_KEYS.name, self._apply, self._by_hash.clear)
        KEYS.set_function(lambda: len(self._by_hash))

    def find(self, secret: str | None) -> Key | None:
        """The key that was sent, revoked or not; None where it is unknown or missing."""
        if not secret or len(secret) > LONGEST:
            return None
        return self._by_hash.get(hashlib.sha256(secret.encode()).digest())

    def _apply(self, name: bytes, value: bytes | None, offset: int) -> None:
        try:
            digest = bytes.fromhex(name.decode())
            if value is None:
                self._by_hash.pop(digest, None)
            else:
                self._by_hash[digest] = _key(API_KEY.decode(value))
        except (DecodeError, ValueError) as error:
            log.warning("key is not read", extra={"offset": offset, "reason": str(error)})


def _key(record: dict[str, Any]) -> Key:
    dialects = record["dialects"]
    return Key(
        record["id"], record["tenant"], record["tier"], record["limit"], record["events_limit"],
        None if dialects is None else frozenset(dialects), record["revoked"],
    )  # fmt: skip


def create(
    tenant: str,
    tier: str = "free",
    limit: int | None = None,
    events_limit: int | None = None,
    dialects: Sequence[str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """A new key, to be shown once, and its record for control.keys."""
    secret = f"sluice_{secrets.token_urlsafe(24)}"
    record = {
        "id": secrets.token_hex(4),
        "key_hash": hashlib.sha256(secret.encode()).hexdigest(),
        "tenant": tenant,
        "tier": tier,
        "limit": limit,
        "events_limit": events_limit,
        "dialects": None if dialects is None else sorted(dialects),
        "revoked": False,
        "created_at": int(time.time() * 1000),
    }
    return secret, record


async def publish(producer: AIOKafkaProducer, record: dict[str, Any]) -> None:
    """Writes a key's record: every gateway knows it within two seconds. Raises KafkaError."""
    await producer.send_and_wait(
        CONTROL_KEYS.name, API_KEY.encode(record), key=record["key_hash"].encode(), partition=0
    )


async def withdraw(producer: AIOKafkaProducer, key_hash: str) -> None:
    """Removes a key's record, as if the key had never been made. Raises KafkaError."""
    await producer.send_and_wait(CONTROL_KEYS.name, None, key=key_hash.encode(), partition=0)
