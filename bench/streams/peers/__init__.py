"""The same job on other stream processors, each in an environment of its own, made at the first run."""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MADE = Path(tempfile.gettempdir()) / "sluice-bench-peers"
LIMIT = 900
"""Seconds for making one."""


@dataclass(frozen=True)
class Peer:
    """How a peer is started: with BROKER TOPIC EVENTS GUARANTEE behind ``command``."""

    name: str
    command: tuple[str, ...]
    guarantee: str


def peers() -> list[Peer]:
    """Those that can be made on this machine; says which are left out."""
    return [*_quix(), *_kafka_streams()]


def _quix() -> list[Peer]:
    folder = MADE / "quix"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        _do([sys.executable, "-m", "venv", str(folder)])
        packages = HERE / "requirements.txt"
        _do([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(packages)])
        (folder / "ready").touch()
    return [Peer("quix", (str(python), str(HERE / "quix_dedup.py")), "at-least-once")]


def _kafka_streams() -> list[Peer]:
    if shutil.which("mvn") is None or shutil.which("java") is None:
        print("no Maven or no JDK: Kafka Streams is left out")
        return []
    folder = MADE / "kafka_streams"
    if not (folder / "target" / "dependency").exists():
        shutil.copytree(HERE / "kafka_streams", folder, dirs_exist_ok=True)
        _do(["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "package", "dependency:copy-dependencies"])
    classes = f"{folder / 'target' / 'classes'}:{folder / 'target' / 'dependency'}/*"
    command = ("java", "-cp", classes, "Dedup")
    return [
        Peer("kafka streams, exactly once", command, "exactly_once_v2"),
        Peer("kafka streams, at least once", command, "at_least_once"),
    ]


def _do(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
