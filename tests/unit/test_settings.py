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
