"""What surrounds every dialect: who is let in, in which order faults are told, what else an answer carries."""

import gzip
import json
import time
import uuid
from collections.abc import Callable
from statistics import median
from typing import Any

import httpx
import pytest

from gateway.keys import create
from schemas.registry import EVENT
from tests.gateways import JSON, Gateway, adwize, await_that, events_of, known, make_key, rejections_of, write_keys
from tests.kafka import read_all

UNAUTHORIZED = {"detail": "Invalid or missing API key"}
FREE = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy", "ratelimit"}
ROUTES = [
    ("POST", "/events", "absinthe"),
    ("GET", "/events", "absinthe"),
    ("POST", "/events/abc/data", "absinthe"),
    ("POST", "/events/data", "absinthe"),
    ("POST", "/api/v1/event", "gamerebellion"),
    ("POST", "/api/v1/events", "adwize"),
    ("POST", "/api/v1/sessions/start", "gamerebellion"),
    ("POST", "/api/v1/sessions/stop", "gamerebellion"),
    ("POST", "/api/v1/sessions/end", "gamerebellion"),
    ("POST", "/v1/events", "scrip"),
    ("POST", "/v2/s2s/event", "revosurge"),
    ("POST", "/v2/s2s/batch", "revosurge"),
]
FORBIDDEN = {"absinthe": 403, "gamerebellion": 403, "scrip": 401, "revosurge": 401, "adwize": 401}


def ask(one: Gateway, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:
    headers = JSON | more.pop("headers", {}) | ({} if key is None else {"X-API-Key": key})
    return httpx.request(method, one.url + path, headers=headers, timeout=30, **more)


@pytest.mark.parametrize(("method", "path", "dialect"), ROUTES)
def test_without_a_known_key_it_is_401_whatever_else(served: Gateway, method: str, path: str, dialect: str) -> None:
    for key in (None, "", "unknown", "x" * 5000):
        reply = ask(served, method, path, key, headers={"content-type": "text/plain"})
        assert (reply.status_code, reply.json()) == (401, UNAUTHORIZED)
        assert not FREE & set(reply.headers)


@pytest.mark.parametrize(("method", "path", "dialect"), ROUTES)
def test_a_revoked_key_and_one_for_other_dialects(
    broker: str, served: Gateway, method: str, path: str, dialect: str
) -> None:
    secret = make_key(broker, [served], dialects=["cloudevents"], limit=None)
    body = b"[]" if method == "POST" else None
    reply = ask(served, method, path, secret, content=body)
    assert reply.status_code == FORBIDDEN[dialect]
    assert set(reply.headers) >= FREE, "every response to a known key"
    if reply.status_code == 401:
        assert reply.json() == UNAUTHORIZED
    assert int(reply.headers["x-ratelimit-remaining"]) == int(reply.headers["x-ratelimit-limit"]), "not counted"


def test_created_and_revoked_within_two_seconds(broker: str, served: Gateway) -> None:
    """In the median of five: a machine may be busy with something else for a while."""
    created, revoked = [], []
    for _ in range(5):
        secret, record = create("t", limit=0)
        assert not known(served, secret)
        write_keys(broker, [record])
        created.append(took(lambda: known(served, secret)))  # noqa: B023 - awaited in this round
        write_keys(broker, [record | {"revoked": True}])
        revoked.append(took(lambda: ask(served, "GET", "/events", secret).status_code == 403))  # noqa: B023
        assert ask(served, "POST", "/v1/events", secret, content=b"{").status_code == 401
    assert median(created) < 2
    assert median(revoked) < 2


def took(condition: Callable[[], bool]) -> float:
    """Seconds until the condition holds."""
    began = time.monotonic()
    await_that(condition, 60)
    return time.monotonic() - began


def test_unknown_routes_and_methods(broker: str, served: Gateway) -> None:
    secret = make_key(broker, [served])
    assert ask(served, "POST", "/nowhere", secret).status_code == 404
    assert ask(served, "POST", "/v1/events/", secret).status_code == 404
    for path, allowed in (("/v1/events", "POST"), ("/events", "GET, POST"), ("/health", "GET, HEAD")):
        reply = ask(served, "DELETE", path, secret)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
    assert ask(served, "HEAD", "/health").status_code == 200


def test_what_leads_nowhere_tells_a_known_key_its_limit(broker: str, served: Gateway) -> None:
    secret, unlimited = make_key(broker, [served], limit=None), make_key(broker, [served])
    nowhere = [
        ("POST", "/v2/s2s/nothing", 404, "60"),
        ("GET", "/v2/s2s/batch", 405, "60"),
        ("PUT", "/events/abc/data", 405, "1000"),
        ("GET", "/api/v1/sessions/start", 405, "100"),
        ("GET", "/api/v1/events", 405, "1000"),
    ]
    for method, path, status, limit in nowhere:
        reply, again = ask(served, method, path, secret), ask(served, method, path, secret)
        assert (reply.status_code, set(reply.headers) >= FREE) == (status, True), path
        assert reply.headers["x-ratelimit-limit"] == limit
        assert reply.headers["x-ratelimit-remaining"] == again.headers["x-ratelimit-remaining"], "not counted"
        for other in ("unknown", unlimited):
            assert not FREE & set(ask(served, method, path, other).headers)
    assert not FREE & set(ask(served, "POST", "/nowhere", secret).headers), "no dialect, no limit"


def test_enterprise_is_limited_by_a_limit_of_its_own_alone(broker: str, served: Gateway) -> None:
    body = b'{"event_type": "x", "payload": {}}'
    secret = make_key(broker, [served], tier="enterprise", limit=None)
    reply = ask(served, "POST", "/api/v1/event", secret, content=body)
    assert (reply.status_code, FREE & set(reply.headers)) == (200, set())
    assert ask(served, "GET", "/events", secret).headers["x-ratelimit-limit"] == "1000", "other dialects have no tiers"
    secret = make_key(broker, [served], tier="enterprise", limit=5000)
    assert ask(served, "POST", "/api/v1/event", secret, content=body).headers["x-ratelimit-limit"] == "5000"


def test_faults_are_told_in_the_documented_order(broker: str, served: Gateway) -> None:
    """Each request has every fault of the ones before it taken away."""
    big, xml = b"[" + b" " * 1024 * 1024 + b"]", {"content-type": "application/xml"}
    secret = make_key(broker, [served], limit=2)
    reply = ask(served, "POST", "/v1/events", secret, content=big, headers=xml)
    assert reply.status_code == 413
    assert reply.headers["x-ratelimit-remaining"] == "1"
    assert ask(served, "POST", "/v1/events", secret, content=b"{", headers=xml).status_code == 415
    reply = ask(served, "POST", "/v1/events", secret, content=big, headers=xml)
    assert reply.status_code == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert reply.headers["x-ratelimit-remaining"] == "0"
    assert f"t={reply.headers['retry-after']}" in reply.headers["ratelimit"]
    secret = make_key(broker, [served])
    bomb = gzip.compress(bytes(2 * 1024 * 1024))
    packed = {"content-encoding": "gzip"}
    assert ask(served, "POST", "/v1/events", secret, content=bomb, headers=xml | packed).status_code == 413
    assert ask(served, "POST", "/v1/events", secret, content=b"no gzip", headers=xml | packed).status_code == 415
    assert ask(served, "POST", "/v1/events", secret, content=b"no gzip", headers=packed).status_code == 400
    assert (
        ask(served, "POST", "/v1/events", secret, content=b"{}", headers={"content-encoding": "br"}).status_code == 415
    )
    assert ask(served, "POST", "/events/none/data", secret, content=b"{").status_code == 400
    assert ask(served, "POST", "/events/none/data", secret, content=b'{"identity":"u","amount":1}').status_code == 404


def test_the_shared_route_judges_key_and_limit_once_it_knows_the_dialect(broker: str, served: Gateway) -> None:
    path = "/api/v1/events"
    secret = make_key(broker, [served], dialects=["gamerebellion"], limit=3)
    xml = {"content-type": "text/xml"}
    big = b"[" + b" " * 1024 * 1024 + b"]"
    assert ask(served, "POST", path, secret, content=big).status_code == 413, "before the permission"
    reply = ask(served, "POST", path, secret, content=b"[]", headers=xml)
    assert (reply.status_code, reply.headers["x-ratelimit-remaining"]) == (415, "3")
    assert ask(served, "POST", path, secret, content=b"[]").status_code == 401, "adwize names no 403"
    assert ask(served, "POST", path, secret, content=b"{").status_code == 401, "malformed is adwize's"
    event = {"event_type": "x", "payload": {}}
    for left in ("2", "1", "0"):
        reply = ask(served, "POST", path, secret, content=json.dumps({"events": [event]}))
        assert (reply.status_code, reply.headers["x-ratelimit-remaining"]) == (200, left)
    assert ask(served, "POST", path, secret, content=b'{"events": []}').status_code == 429
    other = make_key(broker, [served], dialects=["adwize"], limit=None)
    reply = ask(served, "POST", path, other, content=json.dumps({"events": [event]}))
    assert (reply.status_code, reply.headers["x-ratelimit-limit"]) == (403, "100")
    reply = ask(served, "POST", path, other, content=b"{")
    assert (reply.status_code, reply.headers["x-ratelimit-remaining"]) == (400, "999")


def test_an_unlimited_key_gets_no_limit_headers(broker: str, served: Gateway) -> None:
    reply = ask(served, "POST", "/api/v1/events", make_key(broker, [served]), content=adwize("a"))
    assert reply.status_code == 201
    assert not FREE & set(reply.headers)


def test_a_limit_on_events(broker: str, served: Gateway) -> None:
    secret = make_key(broker, [served], events_limit=5)
    assert ask(served, "POST", "/api/v1/events", secret, content=adwize(*"abc")).status_code == 201
    reply = ask(served, "POST", "/api/v1/events", secret, content=adwize(*"defg"))
    assert reply.status_code == 429
    assert "retry-after" in reply.headers
    reply = ask(served, "POST", "/api/v1/events", secret, content=adwize(*"hi"))
    assert reply.status_code == 201
    assert '"events";r=0' in reply.headers["ratelimit"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/vnd.x+json", None])
def test_media_types_and_gzip_that_pass(broker: str, served: Gateway, kind: str | None) -> None:
    secret = make_key(broker, [served])
    headers = {"x-api-key": secret, "content-encoding": "gzip"} | ({} if kind is None else {"content-type": kind})
    body = gzip.compress(adwize("a"))
    reply = httpx.post(served.url + "/api/v1/events", content=body, headers=headers, timeout=30)
    assert (reply.status_code, reply.json()) == (201, {"ingested": 1})


def test_a_body_in_chunks(broker: str, served: Gateway) -> None:
    secret = make_key(broker, [served])
    body = adwize("a")
    parts = (body[i : i + 7] for i in range(0, len(body), 7))
    assert ask(served, "POST", "/api/v1/events", secret, content=parts).status_code == 201
    parts = (b" " * 65536 for _ in range(40))
    assert ask(served, "POST", "/api/v1/events", secret, content=parts).status_code == 413


def test_request_ids(served: Gateway) -> None:
    assert ask(served, "GET", "/health", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = {ask(served, "GET", "/health", headers={"X-Request-Id": bad}).headers["x-request-id"] for bad in ("a b", "")}
    assert len(made) == 2
    assert "a b" not in made


def test_rejections_are_recorded_with_reason_and_body(broker: str, served: Gateway) -> None:
    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(broker, [served], tenant=tenant)
    long = b'{"event_type": "' + b"x" * 20_000
    ask(served, "POST", "/v1/events", secret, content=b'{"program_id": 5}', headers={"X-Request-Id": "r-1"})
    ask(served, "POST", "/api/v1/event", secret, content=long)
    ask(served, "POST", "/v2/s2s/event", secret, content=b"{}", headers={"content-type": "text/plain"})
    ask(served, "POST", "/events/none/data", secret, content=b'{"identity":"u","amount":1}')
    ask(served, "POST", "/api/v1/events", secret, content=b"[" + b" " * 1024 * 1024 + b"]")
    refused = make_key(broker, [served], tenant=tenant, dialects=["scrip"])
    ask(served, "POST", "/api/v1/event", refused, content=b'{"event_type":"x","payload":{}}')
    ask(served, "POST", "/v2/s2s/event", refused, content=b"{}")
    await_that(lambda: len(rejections_of(broker, tenant)) >= 6, 60)
    found = {(r["dialect"], r["status"]): r for r in rejections_of(broker, tenant)}
    del found["absinthe", 403]  # make_key asks there whether the key is known
    assert set(found) == {
        ("scrip", 400),
        ("gamerebellion", 400),
        ("revosurge", 415),
        ("absinthe", 404),
        ("adwize", 413),
        ("gamerebellion", 403),
    }, "a 401 is none"
    first = found["scrip", 400]
    assert (first["route"], first["body"], first["request_id"]) == ("POST /v1/events", b'{"program_id": 5}', "r-1")
    assert any(error["field"] == "program_id" for error in json.loads(first["errors"]))
    assert found["gamerebellion", 400]["body"] == long[:16384]
    assert len(found["adwize", 413]["body"]) == 16384
    assert found["gamerebellion", 403]["body"] == b'{"event_type":"x","payload":{}}'
    assert served.metric("sluice_gateway_rejections_total", outcome="written") >= 6


def test_nothing_of_a_faulty_batch_is_stored(broker: str, served: Gateway) -> None:
    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(broker, [served], tenant=tenant)
    body = json.loads(adwize("a", "b", "c"))
    body[1]["source"] = ""
    body[2].pop("data")
    reply = ask(served, "POST", "/api/v1/events", secret, content=json.dumps(body))
    assert reply.status_code == 400
    assert {(error["index"], error["field"]) for error in reply.json()["errors"]} == {(1, "source"), (2, "data")}
    assert events_of(broker, tenant) == []


def test_every_released_schema_is_published_before_the_first_record(broker: str, served: Gateway) -> None:
    published = {record.key.decode() for record in read_all(broker, "control.schemas")}
    assert EVENT.latest.header[2:].hex() in published


def test_pages(served: Gateway) -> None:
    assert ask(served, "GET", "/ready").json() == {"status": "ready"}
    document = ask(served, "GET", "/openapi.json").json()
    assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} >= {
        (method, path.replace("abc", "{event_id}")) for method, path, _ in ROUTES
    }
    page = ask(served, "GET", "/docs").text
    assert "/v2/s2s/batch" in page
    assert "http://" not in page.replace(served.url, "")
    assert "src=" not in page
    text = ask(served, "GET", "/metrics").text
    assert "sluice_gateway_requests_total" in text


def test_logs_hold_no_secret_and_no_body(broker: str, served: Gateway) -> None:
    secret = make_key(broker, [served])
    ask(served, "POST", "/v1/events", secret, content=b'{"confidential": 1}', headers={"X-Request-Id": "logged-1"})
    await_that(lambda: "logged-1" in served.log.read_text(), 60)
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    (line,) = [line for line in lines if line.get("request_id") == "logged-1"]
    assert (line["status"], line["route"], line["dialect"]) == (400, "POST /v1/events", "scrip")
    assert secret not in served.log.read_text()
    assert "confidential" not in served.log.read_text()
