"""Starts children in order, keeps them alive, stops them in order; leaves no process behind, however it ends.

One thread does it all by looking around a few times a second. A signal only sets a number: the first asks for an
orderly stop, wherever the supervisor is; the second kills what is left at once, which everything of Sluice survives.
What may last (downloads, topics, migrations) runs on a thread beside, so that a signal never has to wait for it.

Errors: Interrupted, StartFailed.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cli.child import Child
from cli.stack import Stack
from embedded.server import tail

TICK = 0.1
Result = TypeVar("Result")


class Interrupted(Exception):  # noqa: N818 - somebody wants to stop, nothing is wrong
    """A signal asked for the end."""


class StartFailed(Exception):  # noqa: N818
    """A child did not become ready; ``code`` is the exit code that follows from it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Supervisor:
    """Of the children in ``stack``, whose state it keeps in the file of ``folder``."""

    def __init__(self, stack: Stack, folder: Path, say: Callable[[str], None]) -> None:
        self.stack, self._folder, self._say = stack, folder, say
        self.children: list[Child] = []
        self.signals = 0
        self.left_behind = False
        """A thread was still at work when it was interrupted: leave by os._exit, which does not wait for it."""
        self._written = ""

    def listen(self) -> None:
        """From now on signals ask for an orderly end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._signalled)

    def _signalled(self, *_: Any) -> None:
        self.signals += 1

    def wait_for(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns or raises. Raises Interrupted, at once."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(TICK)
            if self.signals:
                self.left_behind = thread.is_alive()
                raise Interrupted
            self._look()
        if errors:
            raise errors[0]
        return results[0]

    def start(self, children: Sequence[Child], limit: float) -> None:
        """Starts children together and returns when all are ready. Raises PlaceError, StartFailed, Interrupted."""
        self.launch(children)
        self.await_ready(children, limit)

    def launch(self, children: Sequence[Child]) -> None:
        """Starts children and does not wait. Raises PlaceError."""
        for child in children:
            self._check_signals()
            self.children.append(child)
            self.stack.roles.append(child.role)
            child.start()
        self._write()

    def await_ready(self, children: Sequence[Child], limit: float) -> None:
        """Returns when all are ready. A child that ends before it was ever ready would only do so again."""
        deadline = time.monotonic() + limit
        while any(child.role.state != "up" for child in children):
            self._check_signals()
            self._look()
            for child in children:
                if child.role.restarts:
                    raise StartFailed(f"{child.role.role} did not start. {_last_words(child)}", _code(child))
                if time.monotonic() > deadline and child.role.state != "up":
                    raise StartFailed(f"{child.role.role} was not ready within {limit:g} s. {_last_words(child)}", 1)
            time.sleep(TICK)

    def watch(self) -> None:
        """Keeps the children alive until a signal comes."""
        while not self.signals:
            self._look()
            time.sleep(TICK)

    def stop(self, order: Sequence[Sequence[str]]) -> None:
        """Stops the roles group by group, each within its limit. A second signal kills whatever is left at once."""
        self.stack.phase = "stopping"
        asked = self.signals
        for group in order:
            children = [child for child in self.children if child.role.role in group]
            for child in children:
                child.terminate()
            self._write()
            self._join(children, lambda: self.signals > min(asked, 1))
        for child in self.children:
            child.log.close()

    def _join(self, children: Sequence[Child], hurried: Callable[[], bool]) -> None:
        began = time.monotonic()
        left = list(children)
        while left := [child for child in left if not child.gone()]:
            for child in left:
                if hurried() or time.monotonic() - began > child.stop_limit:
                    child.kill()
            time.sleep(TICK / 2)
        self._write()

    def _look(self) -> None:
        for child in self.children:
            sentence = child.tick()
            if sentence is not None:
                self._say(sentence)
        self._write()

    def _check_signals(self) -> None:
        if self.signals:
            raise Interrupted

    def _write(self) -> None:
        now = repr(self.stack)
        if now == self._written:
            return
        self._written = now
        try:
            self.stack.write(self._folder)
        except OSError as error:  # a full disk must not stop what runs; the next change is written again
            self._say(f"What runs cannot be noted in {self._folder}: {error.strerror}.")


def _code(child: Child) -> int:
    """2 where the child itself says that it cannot start."""
    return 2 if child.exit_code == 2 else 1


def _last_words(child: Child) -> str:
    return f"Its log {child.log.path} ends:\n{tail(child.log.path)}"
