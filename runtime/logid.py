"""The number of a topic's incarnation, from Kafka's topic id: a topic that is made anew reuses offsets, never this.

aiokafka asks for metadata in versions that do not carry topic ids; this is the one request it lacks (Metadata v10).
"""

from io import BytesIO
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields


class _Uuid:
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


_NAME = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)


class _MetadataResponse(Response):
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", _NAME), ("port", Int32), ("rack", _NAME), _TAGS)),
        ("cluster_id", _NAME),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _NAME),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )


class _MetadataStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _NAME), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _MetadataRequest(Request[_MetadataStruct]):
    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        topics: list[Any] = [(bytes(16), name, {}) for name in self._names]
        return request_struct_class(topics, False, False, False, {})


def number(topic_id: bytes) -> int:
    """A number from 1 to 2**31 - 1 out of a topic id, which is random: short to write, and no two topics share it."""
    return int.from_bytes(topic_id[:8], "big") % (2**31 - 1) + 1


async def log_ids(client: AIOKafkaClient, names: list[str]) -> dict[str, int]:
    """The log number of each topic. Raises KafkaError: a topic that does not exist, a broker that does not answer."""
    response: Any = await client.send(client.get_random_node(), _MetadataRequest(names))
    found = {}
    for code, name, topic_id, *_ in response.topics:
        if code:
            raise for_code(code)(f"topic {name}")
        found[name] = number(topic_id)
    missing = set(names) - set(found)
    if missing:
        raise KafkaError(f"no metadata for {sorted(missing)}")
    return found
