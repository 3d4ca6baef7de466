"""The topics: what they carry, for how long, and how they are created (spec/operations.md, Topics).

The topic of an agent's rows needs no line here: the schema of the rows declares it, by the attributes ``topic`` (its
name, and its table's) and ``source`` (the topic that the agent reads).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.registry import (
    API_KEY,
    DEAD_LETTER,
    EPOCH,
    EVENT,
    FORGOTTEN,
    LOSS,
    REGISTERED_EVENT,
    REJECTION,
    REPEAT,
    RecordType,
    record_types,
)

DAY = 24 * 60 * 60 * 1000
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
INGEST_RETENTION = 30 * DAY
LATER_RETENTION = 7 * DAY


@dataclass(frozen=True)
class Topic:
    """A topic as `sluice topics` creates and checks it. Durations in milliseconds."""

    name: str
    value: RecordType | None
    doc: str
    retention: int | None = LATER_RETENTION
    """None: kept for ever."""
    compacted: bool = False
    create_time: bool = False
    """Record timestamps are the producer's; everywhere else the broker's, so that no backlog arrives expired."""
    single: bool = False
    """One partition whatever the setting: small tables that every process reads whole."""
    segment: int | None = None
    table: str | None = None
    """The view of ClickHouse behind which the sink stores the records."""
    source: str | None = None
    """The topic from which an agent of the worker makes it."""

    def config(self) -> dict[str, str]:
        """The broker's settings of the topic."""
        config = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": str(-1 if self.retention is None else self.retention),
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "message.timestamp.type": "CreateTime" if self.create_time else "LogAppendTime",
        }
        if self.segment is not None:
            config["segment.ms"] = str(self.segment)
        return config


INGEST_EVENTS = Topic(
    "ingest.events", EVENT, "accepted events as gateways wrote them, by dedup key", INGEST_RETENTION, create_time=True
)
EVENTS = Topic("events", EVENT, "unique events, by player or device", table="events", source="ingest.events")
WAGERS = Topic("wagers", EVENT, "unique bets, wins and losses, by bet", source="ingest.events")
TOUCHES = Topic(
    "touches", EVENT, "unique impressions, clicks and conversions, by click id, player and device", source="events"
)
DUPLICATES = Topic(
    "duplicates", REPEAT, "dropped repeats with the same payload", table="duplicates", source="ingest.events"
)
CONFLICTS = Topic(
    "conflicts", REPEAT, "dropped repeats with another payload", table="conflicts", source="ingest.events"
)
REJECTIONS = Topic("rejections", REJECTION, "requests that a gateway refused", table="rejections")
DEAD_LETTERS = Topic(
    "dead-letters", DEAD_LETTER, "records that an agent or the sink could not handle", table="dead_letters"
)
CONTROL_KEYS = Topic("control.keys", API_KEY, "API keys, by hash", None, compacted=True, single=True)
CONTROL_REGISTRY = Topic(
    "control.registry", REGISTERED_EVENT, "absinthe's registered events", None, compacted=True, single=True
)
CONTROL_SCHEMAS = Topic(
    "control.schemas", None, "every released schema, by fingerprint", None, compacted=True, single=True
)

CONTROL_EPOCHS = Topic(
    "control.epochs", EPOCH, "rebuilt partitions of agents", None, compacted=True, single=True, table="agent_epochs"
)

CONTROL_FORGOTTEN = Topic(
    "control.forgotten", FORGOTTEN, "persons who were erased, by digest", None, compacted=True, single=True
)

CONTROL_LOSSES = Topic(
    "control.losses", LOSS, "what a person accepted to lose of a log", None, compacted=True, single=True
)


def _rows(kind: RecordType) -> Topic:
    source = kind.latest.source
    return Topic(source["topic"], kind, source["doc"], table=source["topic"], source=source["source"])


ROWS = {topic.name: topic for topic in (_rows(kind) for kind in record_types() if "topic" in kind.latest.source)}
"""The topics of agents' rows, by name, as their schemas declare them."""
BETS, SESSIONS = ROWS["bets"], ROWS["sessions"]

TOPICS = (
    INGEST_EVENTS, EVENTS, WAGERS, TOUCHES, *ROWS.values(), DUPLICATES, CONFLICTS, REJECTIONS, DEAD_LETTERS,
    CONTROL_KEYS, CONTROL_REGISTRY, CONTROL_SCHEMAS, CONTROL_EPOCHS, CONTROL_FORGOTTEN, CONTROL_LOSSES,
)  # fmt: skip
INPUTS = tuple(topic for topic in TOPICS if topic.name in {made.source for made in TOPICS})
"""The topics that agents read."""


def changelog(agent: str, retention: int | None, epoch: int = 0) -> Topic:
    """The changelog of a stateful agent: deleted by time or by its owner, never compacted (design.md).

    An agent that is rebuilt under a new epoch writes a changelog of its own.
    """
    name = f"{agent}-changelog" + (f"-{epoch}" if epoch else "")
    return Topic(name, None, f"state changes of the agent {agent}", retention, segment=DAY // 4)


def by_name(topics: Iterable[Topic] = TOPICS) -> dict[str, Topic]:
    """Topics by their names."""
    return {topic.name: topic for topic in topics}
