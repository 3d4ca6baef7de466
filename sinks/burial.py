"""Dead letters of the sink: appended to their topic, and acknowledged, before their records are settled.

Errors: Stop, SendFailed (try again).
"""

from collections.abc import Mapping, Sequence

from faust.types import TP

from runtime.kafka import Log
from runtime.letters import dead_letter
from runtime.producer import Outbox, Outlet
from schemas.keys import partition_of
from schemas.topics import DEAD_LETTERS
from sinks.writer import BadRow, Stop


class Burial:
    """Where refused rows go."""

    def __init__(self, outlet: Outlet, logs: Mapping[str, Log], partitions: int) -> None:
        """``logs`` of the topics that are read; ``partitions`` of the topic of dead letters."""
        self._outlet, self._logs, self._partitions = outlet, logs, partitions

    async def bury(self, rows: Sequence[tuple[BadRow, TP]]) -> None:
        """Appends a letter for each row, whose record is of that partition, and waits for the acknowledgements.

        A refused letter becomes a letter itself, once: then something is wrong with the table of letters.
        """
        box = Outbox(self._outlet, await self._outlet.producer())
        for row, tp in rows:
            record, stage = row.cause, row.table.stage
            if tp.topic == DEAD_LETTERS.name and stage.encode() in (record.value or b""):
                raise Stop(f"ClickHouse refuses the dead letter of a dead letter: {row.error}")
            key, value = dead_letter(stage, record, self._logs[tp.topic].number, row.error, tp)
            box.add(DEAD_LETTERS.name, partition_of(key, self._partitions), key, value, [], record.timestamp)
        await box.deliver()
