"""Every metric of every role, by name, with a sentence each. Served as Prometheus text at /metrics.

Durations are seconds and sizes bytes. A label's values are few and never come from a request's content.
"""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Gateway
REQUESTS = Counter("sluice_gateway_requests", "Requests answered", ["dialect", "route", "status"])
REQUEST_SECONDS = Histogram(
    "sluice_gateway_request_seconds", "From a request's head to its answer", ["dialect"], buckets=_FAST
)
EVENTS = Counter("sluice_gateway_events", "Events acknowledged by Kafka and answered with success", ["dialect"])
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


def exposition() -> tuple[str, bytes]:
    """Content type and body of /metrics."""
    return CONTENT_TYPE_LATEST, generate_latest()
