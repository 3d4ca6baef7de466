"""schemathesis on /openapi.json: whatever it makes of the schemas, the answers are as the document says, never 5xx.

Half of the cases keep to the schema and half break it. How many were sent is printed.
"""

from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.gateways import Gateway, make_key

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
CASES = 40
"""For each operation, and mode."""
SERVICE = ("/health", "/ready", "/metrics", "/openapi.json", "/docs")


@pytest.fixture(scope="module")
def document(served: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(served.url + "/openapi.json", timeout=30).json()
    return found


@pytest.mark.slow
def test_every_operation_answers_as_the_document_says(
    broker: str, served: Gateway, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    load_all_checks()
    secret = make_key(broker, [served])
    schema = schemathesis.openapi.from_dict(document)
    sent = 0
    statuses: dict[int, int] = {}
    with requests.Session() as session:
        session.headers["X-API-Key"] = secret
        for result in schema.get_all_operations():
            operation = result.ok()  # type: ignore[union-attr]
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode is GenerationMode.NEGATIVE and (operation.path in SERVICE or not _can_be_broken(operation)):
                    continue

                @given(operation.as_strategy(generation_mode=mode))
                @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
                def check(case: schemathesis.Case[Any]) -> None:
                    nonlocal sent
                    sent += 1
                    response = case.call(served.url, session=session, headers={"X-API-Key": secret}, timeout=20)
                    statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
                    case.validate_response(response, checks=CHECKS)

                check()
    with capsys.disabled():
        print(f"\nschemathesis: {sent} cases passed over {len(document['paths'])} paths; answers {statuses}")
    assert {200, 201, 202, 400} <= set(statuses)


def _can_be_broken(operation: Any) -> bool:
    return bool(operation.body)


def test_every_example_is_accepted(broker: str, served: Gateway, document: dict[str, Any]) -> None:
    secret = make_key(broker, [served])
    key = {"X-API-Key": secret}
    event_id = httpx.post(served.url + "/events", json={"name": "n"}, headers=key, timeout=30).json()["event_id"]
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for kind, media in operation.get("requestBody", {}).get("content", {}).items():
                for example in media["examples"].values():
                    url = served.url + path.replace("{event_id}", event_id)
                    reply = httpx.request(
                        method, url, json=example["value"], headers=key | {"Content-Type": kind}, timeout=30
                    )
                    assert reply.status_code in (200, 201, 202), (path, reply.text)
                    assert str(reply.status_code) in operation["responses"]
                    tried += 1
    assert tried >= 12
