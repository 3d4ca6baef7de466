"""What `sluice up` leaves in the data folder about what runs there, and how the other commands find it.

``stack.json``: the supervisor, its phase, the settings it was started with (no secrets), and each role.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from runtime.settings import Settings, load

FILE = "stack.json"


@dataclass
class Process:
    """A process of the stack; ``created`` tells it from a later one with the same pid."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, if it still runs."""
        try:
            found = psutil.Process(self.pid)
            alive = found.create_time() == self.created and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if alive else None


@dataclass
class Role:
    """One child of the supervisor, or an outside server that replaces one."""

    role: str
    state: str = "starting"
    """starting, up, restarting or down; an outside server is ``outside``."""
    restarts: int = 0
    address: str | None = None
    process: Process | None = None


@dataclass
class Stack:
    """All of it."""

    supervisor: Process
    phase: str
    """starting, up or stopping."""
    settings: dict[str, Any] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Replaces the file at once, so that no reader sees half of it."""
        scratch = folder / f".{FILE}"
        scratch.touch(0o600)
        scratch.write_text(json.dumps(asdict(self), indent=1))
        os.replace(scratch, folder / FILE)

    def runs(self) -> bool:
        """Whether the supervisor lives."""
        return self.supervisor.find() is not None


def read(folder: Path) -> Stack | None:
    """What was left in the data folder last; None where nothing ever was."""
    try:
        found = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    roles = [Role(**role | {"process": _process(role["process"])}) for role in found["roles"]]
    return Stack(Process(**found["supervisor"]), found["phase"], found["settings"], roles)


def _process(found: dict[str, Any] | None) -> Process | None:
    return Process(**found) if found is not None else None


def shareable(settings: Settings) -> dict[str, Any]:
    """The settings that were given, without secrets, as JSON can hold them."""
    open_ones = {name for name in settings.model_fields_set if not isinstance(getattr(settings, name), SecretStr)}
    return settings.model_dump(mode="json", include=open_ones)


def found_by(settings: Settings) -> Settings:
    """The settings, with those of the stack that runs on the data folder where nothing else was given."""
    stack = read(settings.data_dir)
    if stack is None or not stack.runs():
        return settings
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return load(**{**stack.settings, **given})
