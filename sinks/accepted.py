"""What the audit makes of losses that a person has accepted (runtime/losses.py).

What dedup lost of ingest.events are offsets that nothing can account for: they are taken out of what is missing. What
any other reader lost are places in another log, of which nobody knows any more what stood there: these are only told.
"""

from collections.abc import Mapping, Sequence

from runtime.losses import SINK, Loss, spans
from schemas.topics import CONFLICTS, DEAD_LETTERS, DUPLICATES, EVENTS, INGEST_EVENTS
from sinks.audit import Auditor, Balance

READER = "dedup"
"""Whose losses of ingest.events count: the agent through which alone its events get on."""
_LEADING = {topic.name for topic in (EVENTS, DUPLICATES, CONFLICTS, DEAD_LETTERS)}

Spans = dict[int, list[tuple[int, int]]]
"""By partition of ingest.events, offsets from and to before."""


def concerning(losses: Sequence[Loss], log: int) -> list[Loss]:
    """Without those of an earlier incarnation of ingest.events, whose offsets mean something else now."""
    return [loss for loss in losses if loss.topic != INGEST_EVENTS.name or loss.log == log]


def accepted(losses: Sequence[Loss], ends: Mapping[int, int]) -> Spans:
    """The offsets before ``ends`` that may be missing."""
    found = spans(loss for loss in losses if (loss.topic, loss.reader) == (INGEST_EVENTS.name, READER))
    clipped = {
        partition: [(start, min(end, ends.get(partition, 0))) for start, end in each]
        for partition, each in found.items()
    }
    return {partition: [span for span in each if span[0] < span[1]] for partition, each in clipped.items()}


def accept(auditor: Auditor, balance: Balance, losses: Sequence[Loss], ends: Mapping[int, int]) -> Spans:
    """Moves what is missing by an accepted loss within the balance; returns where that may be."""
    balance.losses = list(losses)
    found = accepted(losses, ends)
    if balance.missing:
        for partition, each in found.items():
            balance.accepted_losses += sum(auditor.uncovered(partition, *span) for span in each)
        balance.missing -= balance.accepted_losses
    return found


def suspicion(losses: Sequence[Loss]) -> str:
    """What to add where an event is lost between dedup and the tables: the sink may have been allowed to lose it."""
    places = [loss.place for loss in losses if loss.reader == SINK and loss.topic in _LEADING]
    return f"; maybe it was in what the sink was allowed to lose: {', '.join(places)}" if places else ""
