"""Replays dead letters: appends their records again to the topic from which the failed stage read them.

A letter is appended, acknowledged, and then recorded as replayed. If the command dies in between, the letter still
waits and is appended again by the next run; the stage takes a letter once (runtime/letters.py), so that adds nothing.

Errors: KafkaError, ClickHouse's.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaProducer

from runtime.kafka import LogReader
from runtime.letters import PAYLOAD, replay_headers
from runtime.producer import MAX_BATCH, MAX_REQUEST
from runtime.settings import Settings
from runtime.words import counted
from sinks.erasure import ERASED
from sinks.letters import Filter, Letters, Place

CHUNK = 200
"""Letters that are held in memory at once; each may have a record of the largest size."""


@dataclass
class Outcome:
    """What became of the letters that were chosen."""

    replayed: list[UUID] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    """With the reason of each."""


def refusal(letter: dict[str, Any], limit: int) -> str:
    """Why a letter is not replayed; empty if it is. From ``limit`` replays on it counts as going in a circle."""
    if letter["payload"] is None:
        return "its record was erased" if letter["error"].endswith(ERASED) else "its record has no value to handle"
    if len(letter["payload"]) >= PAYLOAD:
        return "its record was too large to be kept whole"
    if letter["attempts"] >= limit:
        return (
            f"it has failed again after {counted(letter['attempts'], 'replay')}: mend the cause first, or use --force"
        )
    return ""


def millis(when: datetime) -> int:
    """A record's timestamp, which stays what it was; rounded, since a float may fall short of the millisecond."""
    return round(when.timestamp() * 1000)


class Redelivery:
    """One run of `sluice dlq replay`."""

    def __init__(self, settings: Settings, letters: Letters, by: str, note: str) -> None:
        self._settings, self._letters, self._by, self._note = settings, letters, by, note
        self._kafka = LogReader(settings.kafka_address())
        self._logs: dict[str, int] = {}

    async def run(
        self, ids: Sequence[UUID], limit: int, dry_run: bool, said: Callable[[int], None] = lambda _: None
    ) -> Outcome:
        """Replays the letters but those that are refused; ``said`` is told how many are done."""
        outcome = Outcome()
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_address(), acks="all", enable_idempotence=True,
            compression_type="snappy", max_batch_size=MAX_BATCH, max_request_size=MAX_REQUEST, linger_ms=5,
        )  # fmt: skip
        await producer.start()
        try:
            for chunk in _chunks(ids):
                found = await asyncio.to_thread(self._letters.whole, Filter(ids=tuple(chunk)), len(chunk))
                reasons = {letter["letter_id"]: refusal(letter, limit) for letter in found}
                outcome.refused |= {letter: reason for letter, reason in reasons.items() if reason}
                accepted = [letter for letter in found if not reasons[letter["letter_id"]]]
                if not dry_run:
                    await self._append(producer, accepted)
                outcome.replayed += [letter["letter_id"] for letter in accepted]
                said(len(outcome.replayed))
        finally:
            await producer.stop()
            await self._kafka.stop()
        return outcome

    async def _append(self, producer: AIOKafkaProducer, letters: list[dict[str, Any]]) -> None:
        unknown = {letter["topic"] for letter in letters} - self._logs.keys()
        if unknown:
            self._logs |= {name: log.number for name, log in (await self._kafka.logs(sorted(unknown))).items()}
        sent = [await self._send(producer, letter) for letter in letters]
        places = []
        for letter, metadata in zip(letters, await asyncio.gather(*sent), strict=True):
            at = Place(metadata.topic, self._logs[metadata.topic], metadata.partition, metadata.offset)
            places.append((letter["letter_id"], at))
        if places:
            await asyncio.to_thread(self._letters.replayed, places, self._by, self._note)

    @staticmethod
    async def _send(producer: AIOKafkaProducer, letter: dict[str, Any]) -> Any:
        place = (letter["ingest_log"], letter["ingest_partition"], letter["ingest_offset"])
        ingest = None if None in place else place
        identity, stage = letter["letter_id"].bytes, letter["stage"]
        headers = replay_headers(identity, stage, letter["headers"], ingest, letter["attempts"] + 1)
        stamp = millis(letter["timestamp"])
        return await producer.send(
            letter["topic"], letter["payload"], letter["key"], letter["partition"], stamp, headers
        )


def _chunks(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
