"""Every metric of every role, by name, with a sentence each. Served as Prometheus text at /metrics.

Durations are seconds and sizes bytes. A label's values are few and never come from a request's content.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Requests(Collector):
    """Every request's count and duration, in plain dicts: prometheus_client's own objects cost 6 us a request."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = defaultdict(int)
        self._events: dict[str, int] = defaultdict(int)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_FAST) + 1))
        self._sums: dict[str, float] = defaultdict(float)

    def add(self, dialect: str, route: str, status: int, seconds: float) -> None:
        """One request, answered."""
        self._counts[dialect, route, str(status)] += 1
        self._buckets[dialect][bisect_left(_FAST, seconds)] += 1
        self._sums[dialect] += seconds

    def add_events(self, dialect: str, count: int) -> None:
        """Events that Kafka has acknowledged."""
        self._events[dialect] += count

    def collect(self) -> Iterator[Metric]:
        """What /metrics shows."""
        requests = CounterMetricFamily(
            "sluice_gateway_requests", "Requests answered", labels=["dialect", "route", "status"]
        )
        for labels, count in self._counts.items():
            requests.add_metric(labels, count)
        yield requests
        events = CounterMetricFamily("sluice_gateway_events", "Events acknowledged by Kafka", labels=["dialect"])
        for dialect, count in self._events.items():
            events.add_metric([dialect], count)
        yield events
        seconds = HistogramMetricFamily(
            "sluice_gateway_request_seconds", "From a request's head to its answer", labels=["dialect"]
        )
        for dialect, counts in self._buckets.items():
            bounds = [*map(str, _FAST), "+Inf"]
            sums = [(bound, float(sum(counts[: i + 1]))) for i, bound in enumerate(bounds)]
            seconds.add_metric([dialect], sums, self._sums[dialect])
        yield seconds


# Gateway
REQUESTS = Requests()
REGISTRY.register(REQUESTS)
IDEMPOTENT = Counter(
    "sluice_gateway_idempotent",
    "Requests answered from the idempotency index: replayed, or conflict",
    ["dialect", "outcome"],
)
INDEX_FAILURES = Counter("sluice_gateway_index_failures", "Requests that passed without the index, which was away")
LIMIT_FAILURES = Counter("sluice_gateway_limit_failures", "Requests counted locally, Redis being away")
KEYS = Gauge("sluice_gateway_keys", "API keys known, revoked ones included")
IN_PROGRESS = Gauge("sluice_gateway_requests_in_progress", "Requests begun and not yet answered")
HELD_BYTES = Gauge("sluice_gateway_held_bytes", "Memory held by bodies and by records that Kafka has not acknowledged")
ACK_SECONDS = Histogram(
    "sluice_gateway_ack_seconds", "From handing a round to Kafka to its acknowledgement", buckets=_FAST
)
PRODUCER_FAILURES = Counter(
    "sluice_gateway_producer_failures", "Requests not acknowledged: full, timeout, or error", ["reason"]
)
PRODUCERS_REPLACED = Counter("sluice_gateway_producers_replaced", "Producers given up after an error and made anew")
REJECTIONS = Counter("sluice_gateway_rejections", "Rejections written, or dropped for want of room", ["outcome"])

# Worker
AGENT_RECORDS = Counter("sluice_agent_records", "Records handled", ["agent"])
AGENT_REPEATS = Counter("sluice_agent_repeats", "Records dropped because an upstream agent sent them again", ["agent"])
AGENT_LETTERS = Counter("sluice_agent_dead_letters", "Records that became dead letters", ["agent"])
AGENT_BATCH_SECONDS = Histogram(
    "sluice_agent_batch_seconds", "From a batch's first step to its durable state", ["agent"], buckets=_FAST
)
PLAIN_EVENTS = Counter(
    "sluice_agent_plain_events", "Events that a plain agent has seen; a repeat counts again", ["agent"]
)
PLAIN_ALERTS = Counter("sluice_agent_plain_alerts", "What a plain agent had to tell; a repeat counts again", ["agent"])


class Lag(Collector):
    """Records between a log's end and what an agent has applied of it."""

    def __init__(self) -> None:
        self.measure: Callable[[], Iterable[tuple[str, int, int]]] = tuple
        """Gives agent, partition and records of every lane; a worker sets it."""

    def collect(self) -> Iterator[Metric]:
        """What /metrics shows."""
        lag = GaugeMetricFamily(
            "sluice_agent_lag", "Records in the input that are not applied yet", labels=["agent", "partition"]
        )
        for agent, partition, records in self.measure():
            lag.add_metric([agent, str(partition)], records)
        yield lag


LAG = Lag()
REGISTRY.register(LAG)

# Sink
SINK_ROWS = Counter("sluice_sink_rows", "Rows inserted; a repeat counts again", ["table"])
SINK_LETTERS = Counter("sluice_sink_dead_letters", "Records that became dead letters", ["topic"])
SINK_FAILURES = Counter(
    "sluice_sink_failures", "Inserts that failed and are tried again; copies: sessions of events", ["topic"]
)
SINK_BUFFERED = Gauge("sluice_sink_buffered_bytes", "Records fetched and not yet being inserted", ["topic"])
SINK_INSERT_SECONDS = Histogram(
    "sluice_sink_insert_seconds",
    "From a block's records to its acknowledgement; copies: of sessions into rows of events",
    ["topic"],
    buckets=_FAST,
)


class Freshness(Collector):
    """From an event's receipt to its row, of whole blocks at once."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(_FAST) + 1)
        self._sum = 0.0

    def add(self, received: Sequence[int], stored: float) -> None:
        """Events received at these times, stored by now; milliseconds since the epoch."""
        times, total = sorted(received), len(received)
        below = [total - bisect_left(times, stored - bound * 1000) for bound in _FAST] + [total]
        for i, count in enumerate(below):
            self._buckets[i] += count
        self._sum += (stored * total - sum(times)) / 1000

    def collect(self) -> Iterator[Metric]:
        """What /metrics shows."""
        bounds = [*map(str, _FAST), "+Inf"]
        buckets = [(bound, float(count)) for bound, count in zip(bounds, self._buckets, strict=True)]
        yield HistogramMetricFamily(
            "sluice_sink_freshness_seconds", "From an event's receipt to its row", buckets, self._sum
        )


FRESHNESS = Freshness()
REGISTRY.register(FRESHNESS)


def exposition() -> tuple[str, bytes]:
    """Content type and body of /metrics."""
    return CONTENT_TYPE_LATEST, generate_latest()
