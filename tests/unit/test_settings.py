"""Settings: whence they come, and that every fault is told at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.settings import SettingsError, load


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes a .env file into the current folder, an empty one."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> None:
        (tmp_path / ".env").write_text(text)

    return write


def test_a_flag_comes_before_the_environment_and_that_before_the_file(
    dotenv: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv("SLUICE_WORKERS=2\nSLUICE_PARTITIONS=2\nSLUICE_REPLICATION=2\n")
    monkeypatch.setenv("SLUICE_WORKERS", "3")
    monkeypatch.setenv("SLUICE_PARTITIONS", "3")
    found = load(workers=4)
    assert (found.workers, found.partitions, found.replication) == (4, 3, 2)


def test_every_fault_is_told_at_once(dotenv: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("SLUICE_PARTITIONS=many\nSLUICE_WORKER=3\n")
    monkeypatch.setenv("SLUICE_SESSION_GAP", "0")
    with pytest.raises(SettingsError) as error:
        load(gateway_port="70000")
    lines = str(error.value).splitlines()
    names = ["SLUICE_GATEWAY_PORT", "SLUICE_PARTITIONS", "SLUICE_SESSION_GAP", "SLUICE_WORKER"]
    assert sorted(line.split(" / ")[1].split(":")[0] for line in lines) == names


def test_a_file_that_serves_other_programs_too_is_no_fault(dotenv: Callable[[str], None]) -> None:
    dotenv("POSTGRES_PASSWORD=secret\nWORKERS=9\nSLUICE_WORKERS=2\n")
    assert load().workers == 2


def test_a_file_that_cannot_be_read_is_said(dotenv: Callable[[str], None]) -> None:
    dotenv("")
    Path(".env").write_bytes(b"SLUICE_CLICKHOUSE_PASSWORD=s\xfc\xdf\n")
    with pytest.raises(SettingsError, match=r"^the file \.env in the current folder cannot be read: .* can't decode "):
        load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lateness", "inf"),
        ("lateness", "1e300"),
        ("session_gap", "nan"),
        ("gateway_ack_timeout", "inf"),
        ("kafka", "kafka..example:9092"),
        ("kafka", f"{'a' * 64}:9092"),
        ("kafka", "localhost:abc"),
        ("kafka", "localhost:99999"),
        ("kafka", "kafka://localhost:9092"),
        ("kafka", "one:9092,,two:9092"),
        ("kafka", ""),
        ("clickhouse", "localhost:8123"),
        ("clickhouse", "http://localhost:abc"),
        ("clickhouse", "http://localhost:99999"),
        ("clickhouse", "http://"),
        ("clickhouse", "http://me:hush@localhost:8123"),
        ("redis", "localhost:6379"),
        ("redis", "redis://:hush@localhost:abc/0"),
        ("accept_loss", "9-3"),
        ("accept_loss", "3"),
        ("min_insync_replicas", "2"),
    ],
)
def test_what_can_not_be_is_refused_before_it_is_used(dotenv: Callable[[str], None], name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(**{name: value})
    assert f"SLUICE_{name.upper()}: " in str(error.value)
    assert "hush" not in str(error.value)


def test_addresses_that_can_be(dotenv: Callable[[str], None]) -> None:
    found = load(
        kafka="one, [::1]:9092,two.example.:19092", clickhouse="https://house", redis="rediss://:x@cache:6380/1",
        replication=3, min_insync_replicas=2, accept_loss="0-7",
    )  # fmt: skip
    assert found.kafka_address() == "one,[::1]:9092,two.example.:19092"
    assert (found.clickhouse_url(), found.accept_loss) == ("https://house", (0, 7))
