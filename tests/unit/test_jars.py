"""Kafka's jars: exactly the pinned files, or none. No network: the download is replaced."""

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded import jars
from embedded.jars import FetchError, Jar, fetch, pinned

CONTENT = {f"part-{n}": b"jar %d" % n for n in range(3)}
Download = Callable[[Jar, Path], Path]


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three small pins, and what was downloaded of them."""
    made: list[str] = []

    def download(jar: Jar, scratch: Path) -> Path:
        made.append(jar.artifact)
        (scratch / jar.artifact).mkdir()
        path = scratch / jar.artifact / jar.name
        path.write_bytes(CONTENT[jar.artifact])
        return path

    pins = [Jar("group", name, "1.0", hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()]
    monkeypatch.setattr(jars, "pinned", lambda: pins)
    monkeypatch.setattr(jars, "_download", download)
    return made


def test_the_lock_names_every_jar_with_its_sum_and_no_address() -> None:
    found = pinned()
    assert len(found) == len({jar.name for jar in found}) == 46
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in found)
    assert {jar.version for jar in found if jar.group == "org.apache.kafka"} == {"4.3.0"}
    for path in (jars.SPEC, jars.LOCK):
        assert "://" not in path.read_text()


def test_fetches_what_is_missing_and_nothing_twice(tmp_path: Path, downloads: list[str]) -> None:
    folder = fetch(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        f"{name}-1.0.jar": content for name, content in CONTENT.items()
    }
    assert fetch(tmp_path) == folder
    assert sorted(downloads) == sorted(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_broken_jar_is_fetched_again(tmp_path: Path, downloads: list[str]) -> None:
    folder = fetch(tmp_path)
    (folder / "part-1-1.0.jar").write_bytes(b"half")
    downloads.clear()
    fetch(tmp_path)
    assert downloads == ["part-1"]
    assert (folder / "part-1-1.0.jar").read_bytes() == CONTENT["part-1"]


def test_another_file_than_the_pinned_one_is_not_kept(
    tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONTENT, "part-2", b"something else")
    with pytest.raises(FetchError, match=r"part-2-1\.0\.jar is not the pinned file"):
        fetch(tmp_path)
    assert not list(tmp_path.rglob("part-2*"))


def test_what_a_killed_download_left_is_swept(tmp_path: Path, downloads: list[str]) -> None:
    old, young = tmp_path / ".fetch-old", tmp_path / ".fetch-young"
    for scratch in (old, young):
        scratch.mkdir()
    os.utime(old, (time.time() - 2 * jars.ABANDONED,) * 2)
    fetch(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, downloads: list[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"^Kafka's jars cannot be kept in .*: .*\.$"):
        fetch(tmp_path / "file")
