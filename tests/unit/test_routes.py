"""Which handler answers a method and path."""

import pytest

from gateway.dialects.registry import SHARED, load
from gateway.routes import Routes
from tests.contract.players import MemoryRegistry

ROUTES = Routes(load(MemoryRegistry()), SHARED)


@pytest.mark.parametrize(
    ("method", "path", "name", "params"),
    [
        ("POST", "/events", "POST /events", {}),
        ("GET", "/events", "GET /events", {}),
        ("POST", "/events/data", "POST /events/data", {}),
        ("POST", "/events/abc/data", "POST /events/{event_id}/data", {"event_id": "abc"}),
        ("POST", "/events/../../etc/data", "POST /events/{event_id}/data", {"event_id": "../../etc"}),
        ("POST", "/api/v1/events", "POST /api/v1/events", {}),
    ],
)
def test_found(method: str, path: str, name: str, params: dict[str, str]) -> None:
    found = ROUTES.find(method, path)
    assert not isinstance(found, list)
    assert (found[0].name, found[1]) == (name, params)


def test_the_shared_route_belongs_to_adwize_until_its_body_is_known() -> None:
    found = ROUTES.find("POST", "/api/v1/events")
    assert not isinstance(found, list)
    assert found[0].dialect.name == "adwize"
    assert found[0].shared is SHARED[0]


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/events/abc/data", "absinthe"),
        ("/events/abc", "absinthe"),
        ("/v1/events/", "scrip"),
        ("/v2/s2s/nothing", "revosurge"),
        ("/v2", "revosurge"),
        ("/api/v1/sessions/pause", "gamerebellion"),
        ("/api/v1/event", "gamerebellion"),
        ("/api/v1/events", "adwize"),
        ("/api/v1/nothing", "adwize"),
        ("/eventsdata", None),
        ("/", None),
        ("", None),
        ("/" * 10_000, None),
    ],
)
def test_whose_a_path_is_that_leads_nowhere(path: str, dialect: str | None) -> None:
    owner = ROUTES.owner(path)
    assert (None if owner is None else owner.name) == dialect


def test_what_is_not_there() -> None:
    assert ROUTES.find("PUT", "/events") == ["GET", "POST"]
    assert ROUTES.find("GET", "/events/a/data") == ["POST"]
    for path in ("/", "", "/events/", "/event", "/events//data", "//events"):
        assert ROUTES.find("POST", path) == []
