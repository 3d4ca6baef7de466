"""Starts a program that ends with its parent: a supervisor killed by SIGKILL leaves no orphan.

``leashed(command)`` gives the command line to start instead: this file, as a script, asks Linux for SIGKILL when the
parent dies and then becomes the program, under the same pid. Everything started so must survive SIGKILL, as everything
of Sluice does. Linux counts the *thread* that started the child as the parent: start children from one that lasts.
Elsewhere than on Linux the program just starts; the supervisor's state file still names it for `sluice down`.
"""

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def leashed(command: list[str]) -> list[str]:
    """The command line that starts ``command`` as a child of this process which cannot outlive it."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _become(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != parent:  # it died before it could be asked for
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
