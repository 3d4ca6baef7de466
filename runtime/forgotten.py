"""Who was erased (control.forgotten), and the pseudonym that stands in place of each person's id.

The topic names nobody: a person is known again by a salted digest of tenant and player_id, and the pseudonym is random.
Whoever can read the topic can so find out whether an id that he already suspects was erased, and under what pseudonym;
nobody can read an id out of it (docs/erasure.md).
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from aiokafka import AIOKafkaProducer

from runtime.table import Table
from schemas.codec import DecodeError
from schemas.registry import FORGOTTEN
from schemas.topics import CONTROL_FORGOTTEN

SALT = 16


@dataclass(frozen=True)
class Person:
    """One record of the topic."""

    digest: bytes
    salt: bytes
    pseudonym: str


def digest(salt: bytes, tenant: bytes, player_id: bytes) -> bytes:
    """How a person is known; sinks/forgetting.py has the same in SQL."""
    return sha256(b"%b%d:%b%b" % (salt, len(tenant), tenant, player_id)).digest()


class Forgotten:
    """The persons, followed; for use from several threads. False while there are none."""

    def __init__(self, bootstrap: str) -> None:
        self._persons: dict[bytes, Person] = {}
        self._salts: tuple[bytes, ...] = ()
        self.table = Table(bootstrap, CONTROL_FORGOTTEN.name, self._apply)

    def __bool__(self) -> bool:
        return bool(self._persons)

    def find(self, tenant: bytes, player_id: bytes) -> Person | None:
        """The person with this id, if erased."""
        for salt in self._salts:
            found = self._persons.get(digest(salt, tenant, player_id))
            if found is not None:
                return found
        return None

    def name(self, tenant: bytes, player_id: bytes) -> Person:
        """The person with this id; a new one, with a new pseudonym, if not erased yet."""
        found = self.find(tenant, player_id)
        if found is not None:
            return found
        salt = self._salts[0] if self._salts else os.urandom(SALT)
        return Person(digest(salt, tenant, player_id), salt, f"forgotten-{os.urandom(16).hex()}")

    def add(self, person: Person) -> None:
        """Counts somebody as erased, in this process alone."""
        self._persons[person.digest] = person
        if person.salt not in self._salts:
            self._salts = (*self._salts, person.salt)

    def _apply(self, _: bytes, value: bytes | None, offset: int) -> None:
        if value is None:
            return
        try:
            found = FORGOTTEN.decode(value)
        except DecodeError:
            return  # a newer release's; its sinks know what to do with it
        self.add(Person(found["digest"], found["salt"], found["pseudonym"]))


async def publish(producer: AIOKafkaProducer, persons: Iterable[Person]) -> None:
    """Makes it known to every sink that persons are erased. Raises KafkaError."""
    for person in persons:
        record = {"digest": person.digest, "salt": person.salt, "pseudonym": person.pseudonym}
        value = FORGOTTEN.encode(record | {"forgotten_at": int(time.time() * 1000)})
        await producer.send_and_wait(CONTROL_FORGOTTEN.name, value, key=person.digest.hex().encode(), partition=0)
