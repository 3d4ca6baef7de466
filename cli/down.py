"""Stops what `sluice up` started on the data folder, in order: the gateway drains, worker and sink commit, then the
servers. Returns once no process is left.
"""

import time
from contextlib import suppress

import psutil

from cli.stack import Stack, read
from runtime.settings import Settings

LIMIT = 120.0
"""Seconds; the limits of the groups that are stopped one after the other, and a margin."""
POLL = 0.1


def run(settings: Settings) -> int:
    """Exit code: 0 where nothing is left, 1 where something would not end."""
    stack = read(settings.data_dir)
    if stack is None or not (stack.runs() or _children(stack)):
        print(f"Nothing runs on {settings.data_dir}.")
        return 0
    supervisor = stack.supervisor.find()
    if supervisor is None:
        return _end_orphans(stack)
    print("Stopping: the gateway first, the servers last.", flush=True)
    with suppress(psutil.NoSuchProcess):  # it may be about to end by itself
        supervisor.terminate()
    deadline = time.monotonic() + LIMIT
    while stack.runs():
        if time.monotonic() > deadline:
            print(f"The supervisor (pid {supervisor.pid}) has not ended within {LIMIT:.0f} s.")
            return 1
        time.sleep(POLL)
    print("Stopped.")
    return 0


def _end_orphans(stack: Stack) -> int:
    """Where children outlive a killed supervisor, which Linux does not let happen."""
    left = _children(stack)
    for process in left:
        process.terminate()
    _, left = psutil.wait_procs(left, LIMIT / 4)
    for process in left:
        process.kill()
    print("The supervisor was gone; what it had started is stopped.")
    return 0


def _children(stack: Stack) -> list[psutil.Process]:
    found = (role.process.find() for role in stack.roles if role.process is not None)
    return [process for process in found if process is not None]
