"""Every setting of every role, in one place.

A value comes from a flag, else from the environment (``SLUICE_`` and the name in capitals), else from a ``.env`` file
in the current folder, else from the default here. ``docs/settings.md`` is made from this file (`make docs`).

Errors: SettingsError, with every fault at once.
"""

import re
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

HOUR = 3600.0
DAY = 24 * HOUR
LONGEST = 100 * 365 * DAY
"""Of the durations that the results depend on: beyond, milliseconds fit no longer where they are kept."""
_LABEL = r"[^\s:/\[\].]{1,63}"
BROKER = re.compile(rf"(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{{1,5}}))?", re.ASCII)


class SettingsError(ValueError):
    """One or more settings are wrong; the message has a line for each."""


class Settings(BaseSettings):
    """Durations are in seconds and sizes in bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="SLUICE_",
        env_file=".env",
        dotenv_filtering="match_prefix",  # the file may be another program's too
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    # The stack
    data_dir: Path = Field(Path(".sluice"), description="Folder of everything that `sluice up` keeps on disk")
    cache_dir: Path | None = Field(None, description="Folder of Kafka's jars; by default the user's cache folder")
    workers: int = Field(1, ge=0, le=64, description="Workers that `sluice up` starts; 0 before a replay")
    least_disk: int = Field(1024**3, ge=0, description="`sluice up` starts only with so much free disk")
    kafka: str | None = Field(None, description="Bootstrap servers of an outside Kafka, host:port[,host:port]")
    kafka_port: int = Field(9092, ge=1, le=65535, description="Port of the embedded Kafka")
    kafka_heap: int = Field(384 * 1024 * 1024, ge=128 * 1024 * 1024, description="Java heap of the embedded Kafka")
    clickhouse: str | None = Field(None, description="URL of an outside ClickHouse, http://host:port")
    clickhouse_port: int = Field(8123, ge=1, le=65535, description="Port of the embedded ClickHouse")
    clickhouse_user: str = Field("default", description="Account that writes and migrates")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="Its password")
    clickhouse_database: str = Field("sluice", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Database")
    clickhouse_cluster: str | None = Field(
        None, min_length=1, description="Cluster of an outside ClickHouse: ON CLUSTER, and replicated tables"
    )
    clickhouse_body: int = Field(256 * 1024 * 1024, ge=1024, description="Largest body that the embedded one takes")
    analyst_user: str = Field("analyst", description="Account of the embedded ClickHouse that only reads")
    analyst_password: SecretStr = Field(SecretStr(""), description="Its password")
    analyst_memory: int = Field(1024**3, ge=1024 * 1024, description="Memory that one of its queries may take")
    analyst_seconds: int = Field(60, ge=1, description="Time that one of its queries may take")

    # Topics
    partitions: int = Field(8, ge=1, le=1024, description="Partitions of each topic; fixed once the topics exist")
    replication: int = Field(1, ge=1, le=9, description="Replicas of each partition")
    min_insync_replicas: int = Field(1, ge=1, le=9, description="Replicas that must have a record before it counts")

    # Semantics
    dedup_window: float = Field(
        7 * DAY, gt=0, le=LONGEST, description="How long a dedup key is remembered, by stream time"
    )
    session_gap: float = Field(30 * 60, gt=0, le=LONGEST, description="A longer pause than this begins a new session")
    lateness: float = Field(
        DAY, gt=0, le=LONGEST, description="An event received later than this after it happened is late"
    )
    attribution_window: float = Field(
        7 * DAY, gt=0, le=LONGEST, description="A touch is credited for conversions up to this long after it"
    )

    # Gateway
    gateway_host: str = Field("127.0.0.1", description="Address on which the gateway listens")
    gateway_port: int = Field(8080, ge=1, le=65535, description="Port on which the gateway listens")
    gateway_connections: int = Field(4096, ge=1, description="Connections served at once; more wait to be accepted")
    gateway_header_timeout: float = Field(10, gt=0, description="A request's head must be complete within this time")
    gateway_header_bytes: int = Field(64 * 1024, ge=8192, description="Size of a request's head, above which it is 431")
    gateway_idle_timeout: float = Field(
        75, gt=0, description="A connection without a request is closed after this time"
    )
    gateway_body_timeout: float = Field(15, gt=0, description="A request's body must be complete within this time")
    gateway_body_bytes: int = Field(1024 * 1024, ge=1024, description="Largest body, as sent and unpacked")
    gateway_drain_bytes: int = Field(
        16 * 1024 * 1024, ge=0, description="How much of a refused body is read, so that its client sees the answer"
    )
    gateway_memory: int = Field(
        256 * 1024 * 1024, ge=8 * 1024 * 1024, description="Bodies and unacknowledged records held at once"
    )
    gateway_ack_timeout: float = Field(10, gt=0, description="A request waits this long for Kafka's acknowledgement")
    gateway_retry_after: int = Field(
        2, ge=1, description="Retry-After of an answer that Kafka's absence caused, seconds"
    )
    gateway_drain_timeout: float = Field(20, gt=0, description="At SIGTERM what was begun is finished within this time")
    gateway_rejections_bytes: int = Field(
        16 * 1024 * 1024, ge=1024 * 1024, description="Rejections that wait for Kafka; more are dropped and counted"
    )
    redis: SecretStr | None = Field(
        None,
        description="Redis or Valkey that gateways share for limits and idempotency, redis://[:password@]host:port/n",
    )
    redis_timeout: float = Field(0.5, gt=0, description="Longest wait for Redis; then the gateway goes on alone")

    # Worker and sink
    session_timeout: float = Field(15, ge=1, description="A worker that is silent for so long loses its partitions")
    produce_timeout: float = Field(
        30, gt=0, description="A send that is not acknowledged within this time is made anew"
    )
    state_cache: int = Field(128 * 1024 * 1024, ge=1024 * 1024, description="Memory for blocks of state read from disk")
    dead_letters_in_a_row: int = Field(
        100, ge=1, description="After so many records failing in a row it is not them: the worker stops"
    )
    letter_attempts: int = Field(
        3, ge=1, description="`sluice dlq replay` refuses a letter that has failed again after so many replays"
    )
    rebuild: str | None = Field(
        None, description="Agent whose changelog is gone and whose state shall be computed again from the log"
    )
    plain: str = Field(
        "",
        pattern="^([a-z0-9_]+(,[a-z0-9_]+)*)?$",
        description="Plain Faust agents that a worker runs beside the exact ones: names, with commas",
    )
    accept_loss: Annotated[tuple[int, int] | None, NoDecode] = Field(
        None, description="Offsets FROM-TO of an input deleted before it was read, which a person accepts to lose"
    )
    worker_host: str = Field("127.0.0.1", description="Address on which worker and sink serve /metrics")
    worker_port: int = Field(0, ge=0, le=65535, description="Port of the worker's /health, /ready, /metrics; 0: any")
    sink_buffer: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Records of one topic that the sink holds before it fetches no more",
    )
    sink_port: int = Field(0, ge=0, le=65535, description="Port of the sink's /health, /ready, /metrics; 0: any")
    slot: int = Field(0, ge=0, description="Number of this worker or sink on its machine: names its folder")

    # Logs
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level that is logged")
    log_format: str = Field("text", pattern="^(text|json)$", description="text for people, json for machines")

    def kafka_address(self) -> str:
        """Bootstrap servers, embedded or outside."""
        return self.kafka or f"127.0.0.1:{self.kafka_port}"

    def clickhouse_url(self) -> str:
        """URL of ClickHouse's HTTP interface, embedded or outside."""
        return self.clickhouse or f"http://127.0.0.1:{self.clickhouse_port}"

    @field_validator("accept_loss", mode="before")
    @classmethod
    def _range(cls, value: Any) -> Any:
        if isinstance(value, str):
            start, dash, end = value.partition("-")
            if not (dash and start.isdigit() and end.isdigit()):
                raise ValueError("write it as FROM-TO, two offsets")
            if int(start) >= int(end):
                raise ValueError("FROM is the first offset that is lost, TO the one behind the last")
            return int(start), int(end)
        return value

    @field_validator("kafka")
    @classmethod
    def _brokers(cls, value: str | None) -> str | None:
        if value is None:
            return None
        addresses = [address.strip() for address in value.split(",")]
        for address in addresses:
            found = BROKER.fullmatch(address)
            if found is None or not 1 <= int(found["port"] or 1) <= 65535:
                raise ValueError("write it as host:port[,host:port]")
        return ",".join(addresses)

    @field_validator("clickhouse")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None:
            _require_url(value, ("http", "https"))
            if "@" in urlsplit(value).netloc:
                raise ValueError("account and password are the settings clickhouse_user and clickhouse_password")
        return value

    @field_validator("redis")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _require_url(value.get_secret_value(), ("redis", "rediss"))
        return value

    @field_validator("min_insync_replicas")
    @classmethod
    def _in_sync(cls, value: int, known: ValidationInfo) -> int:
        if value > known.data.get("replication", value):
            raise ValueError("more than the setting replication: no record could ever be written")
        return value


def load(**flags: Any) -> Settings:
    """The settings, with ``flags`` that are not None before everything else. Raises SettingsError."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = [_line(fault) for fault in error.errors(include_url=False, include_context=False)]
        raise SettingsError("\n".join(lines)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file .env in the current folder cannot be read: {error}") from None


def environment(settings: Settings) -> dict[str, str]:
    """The SLUICE_* variables from which another process loads the same settings, secrets included."""
    found = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple):
            value = "-".join(map(str, value))
        if value is not None:
            found[f"SLUICE_{name.upper()}"] = str(value)
    return found


def _require_url(text: str, schemes: tuple[str, ...]) -> None:
    """Raises ValueError where it is no URL of one of the schemes with a host and, if at all, a port that can be."""
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    url = urlsplit(text)
    if not url.hostname or url.port == 0:  # asking for the port raises where it is none
        raise ValueError("must name a host and, behind a colon, its port")


def _line(fault: Any) -> str:
    name = ".".join(map(str, fault["loc"])) or "settings"
    flag = name.replace("_", "-")
    field = Settings.model_fields.get(name)
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    # A password may also stand in an address, or be given under a name that there is not.
    secret = SecretStr in kinds or "password" in name or "secret" in name or "@" in str(fault["input"])
    given = "" if secret else f" (given: {fault['input']!r})"
    return f"{flag} / SLUICE_{name.upper()}: {fault['msg']}{given}"
