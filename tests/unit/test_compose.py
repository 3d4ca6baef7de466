"""docker-compose.yml and Dockerfile, as far as they can be checked without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import COMMANDS
from runtime.settings import Settings, load
from tests.servers import CLICKHOUSE_IMAGE, KAFKA_IMAGE

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {"name", "services", "volumes"}
SERVICE = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "ports", "restart", "stop_grace_period",
    "ulimits", "volumes",
}  # fmt: skip
HEALTHCHECK = {"test", "interval", "timeout", "retries"}
CONDITIONS = {"service_healthy", "service_completed_successfully"}
DURATION = re.compile(r"\d+s")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(found, dict)
    return found


def test_has_nothing_that_compose_does_not_know(compose: dict[str, Any]) -> None:
    assert {name for name in compose if not name.startswith("x-")} == TOP_LEVEL
    for service in compose["services"].values():
        assert set(service) <= SERVICE
        assert "image" in service
        check = service.get("healthcheck")
        if check is not None:
            assert set(check) == HEALTHCHECK
            assert check["test"][0] == "CMD"
            assert DURATION.fullmatch(check["interval"])
        assert all(isinstance(value, str) for value in service.get("environment", {}).values())


def test_every_reference_leads_somewhere(compose: dict[str, Any]) -> None:
    services, volumes = compose["services"], set(compose["volumes"])
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS
            assert (how["condition"] == "service_healthy") == ("healthcheck" in services[name])
        for volume in service.get("volumes", ()):
            assert volume.split(":")[0] in volumes
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_the_servers_are_the_official_images_that_the_tests_use(compose: dict[str, Any]) -> None:
    images = {service["image"] for service in compose["services"].values()}
    assert images == {KAFKA_IMAGE, CLICKHOUSE_IMAGE, "sluice"}


def test_every_setting_exists_and_is_valid(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        given = {
            name.removeprefix("SLUICE_").lower(): value
            for name, value in service.get("environment", {}).items()
            if name.startswith("SLUICE_")
        }
        assert set(given) <= set(Settings.model_fields)
        load(**given)


def test_ours_run_commands_that_exist(compose: dict[str, Any]) -> None:
    ours = {name: service for name, service in compose["services"].items() if service["image"] == "sluice"}
    assert {service["command"][0] for service in ours.values()} <= set(COMMANDS)
    assert {"gateway", "worker", "sink"} <= set(ours)


def test_the_dockerfile_copies_every_package_that_the_roles_import() -> None:
    lines = [line.split() for line in (ROOT / "Dockerfile").read_text().splitlines() if line and line[0] not in "# "]
    copied = {words[-2].removeprefix("/app/") for words in lines if words[0] == "COPY"}
    packages = {"native", "schemas", "runtime", "gateway", "streams", "sinks", "embedded", "cli"}
    assert copied == {"requirements.txt", "requirements-native.txt", *packages}
    assert all((ROOT / name).exists() for name in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == copied
    known = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "VOLUME", "ENTRYPOINT", "CMD"}
    assert {words[0] for words in lines} == known
    for words in lines:
        if words[0] == "ENV":
            names = {pair.split("=")[0] for pair in words[1:]}
            settings = {name.removeprefix("SLUICE_").lower() for name in names if name.startswith("SLUICE_")}
            assert settings <= set(Settings.model_fields)
