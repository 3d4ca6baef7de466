"""`sluice up --detach`: a supervisor in a session of its own, shown until everything is up."""

import os
import subprocess
import sys
import time
from pathlib import Path

from cli.stack import read
from runtime.settings import Settings, SettingsError, environment

POLL = 0.1


def detach(settings: Settings) -> int:
    """Returns once everything is up (0) or could not be started (the supervisor's exit code). Raises SettingsError."""
    log = settings.data_dir / "logs" / "supervisor.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    except OSError as error:
        sentence = f"{settings.data_dir} cannot be used: {error.strerror}"
        raise SettingsError(f"data_dir / SLUICE_DATA_DIR: {sentence}") from error
    with output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--quiet"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment(settings)},
            start_new_session=True,
        )
    with open(log, "rb") as said:
        while process.poll() is None:
            _show(said.read())
            if _is_up(settings.data_dir, process.pid):
                _show(said.read())
                return 0
            time.sleep(POLL)
        _show(said.read())
    return process.returncode


def _is_up(folder: Path, pid: int) -> bool:
    stack = read(folder)
    return stack is not None and stack.supervisor.pid == pid and stack.phase == "up"


def _show(text: bytes) -> None:
    sys.stdout.write(text.decode(errors="backslashreplace"))
    sys.stdout.flush()
