"""Apache Kafka's jars: pinned by name and SHA-256 in ``pins/``, fetched by jgo, kept in the user's cache folder.

`python -m embedded.jars` writes the lock file anew after a change of ``pins/jgo.toml``.

Errors: FetchError.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.progress import Progress

PINS = Path(__file__).parent / "pins"
SPEC, LOCK = PINS / "jgo.toml", PINS / "jgo.lock.toml"
ATTEMPTS = 4
CONNECTIONS = 6
TIMEOUT = 30
SCRATCH, ABANDONED = ".fetch-", 3600.0


class FetchError(RuntimeError):
    """A jar cannot be had, or is not the pinned one."""


@dataclass(frozen=True)
class Jar:
    """One pinned file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    def is_in(self, folder: Path) -> bool:
        """Whether ``folder`` holds exactly this file."""
        try:
            with open(folder / self.name, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False


def user_cache() -> Path:
    """Where this user's caches of Sluice lie unless SLUICE_CACHE_DIR says otherwise."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sluice"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"


def pinned() -> list[Jar]:
    """Every jar of the lock file."""
    found = tomllib.loads(LOCK.read_text())["dependencies"]
    return [Jar(jar["groupId"], jar["artifactId"], jar["version"], jar["sha256"]) for jar in found]


def fetch(cache: Path | None = None) -> Path:
    """The folder of all jars and nothing else, after downloading what is missing or broken. Raises FetchError."""
    jars = pinned()
    digest = hashlib.sha256("".join(sorted(jar.sha256 for jar in jars)).encode()).hexdigest()[:12]
    folder = (cache or user_cache()) / f"kafka-{digest}"
    missing = [jar for jar in jars if not jar.is_in(folder)]
    if not missing:
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        with (
            tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder.parent) as scratch,
            Progress("Fetching Apache Kafka's jars", len(missing)) as progress,
            _threads() as threads,
        ):
            for _ in threads.map(lambda jar: _fetch(jar, Path(scratch), folder), missing):
                progress.advance()
    except OSError as error:
        raise FetchError(f"Kafka's jars cannot be kept in {folder}: {error.strerror or error}.") from error
    return folder


def _sweep(cache: Path) -> None:
    """Removes what downloads that were killed have left."""
    for scratch in cache.glob(f"{SCRATCH}*"):
        if time.time() - scratch.stat().st_mtime > ABANDONED:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    threads = ThreadPoolExecutor(CONNECTIONS)
    try:
        yield threads
    finally:  # what has not begun when one fails, or at Ctrl-C, is not begun any more
        threads.shutdown(cancel_futures=True)


def _fetch(jar: Jar, scratch: Path, folder: Path) -> None:
    """Downloads into ``scratch``, so that a half one is never taken for a jar. Two processes may do it at once."""
    got = _download(jar, scratch)
    if not jar.is_in(got.parent):
        raise FetchError(f"{jar.name} is not the pinned file: its SHA-256 differs from {jar.sha256}. It was not kept.")
    os.replace(got, folder / jar.name)


def _download(jar: Jar, scratch: Path) -> Path:
    import requests  # with jgo, a third of a second to import: only where something is missing
    from jgo.maven import MavenContext

    reason = ""
    for attempt in range(ATTEMPTS):
        time.sleep(attempt)
        attempt_folder = scratch / f"{jar.artifact}-{attempt}"  # jgo refuses to write over what a failure left
        context = MavenContext(repo_cache=attempt_folder, timeout=TIMEOUT)
        try:
            return Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())
        except (requests.RequestException, RuntimeError) as error:
            reason = type(error).__name__ if isinstance(error, requests.RequestException) else "it was not found"
            shutil.rmtree(attempt_folder, ignore_errors=True)
    raise FetchError(f"{jar.name} could not be fetched ({reason}). Is this machine on the network?")


def lock() -> None:
    """Resolves ``pins/jgo.toml`` and writes the lock file."""
    from jgo.env import EnvironmentSpec, LockFile
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory() as scratch:
        context: Any = MavenContext(repo_cache=Path(scratch), timeout=TIMEOUT)
        wanted = [context.create_dependency(name) for name in EnvironmentSpec.load(SPEC).coordinates]
        inputs, others = context.resolver.resolve(wanted)
        found = [*inputs, *(jar for jar in others if jar.scope in ("compile", "runtime"))]
        found.sort(key=lambda jar: (jar.groupId, jar.artifactId))
        LockFile.from_resolved_dependencies(found, environment_name="kafka").save(LOCK)


if __name__ == "__main__":
    lock()
