"""A slot: what one worker or sink has for itself among those that share a data folder.

Two in one slot would bear one name in Kafka's consumer group, and throw each other out of it without end.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.place import Claim, PlaceError

HANDOVER = 10.0
"""Seconds that a new process waits for the one before it in its slot."""


@contextmanager
def alone_in(folder: Path, role: str) -> Iterator[None]:
    """Holds the slot's folder for the length of a ``with``. Raises SystemExit, code 1, where another process has it."""
    try:
        claim = Claim(folder, HANDOVER)
    except PlaceError as error:
        print(f"sluice {role}: {error} Give each {role} a slot of its own.", file=sys.stderr)
        raise SystemExit(1) from None
    try:
        yield
    finally:
        claim.release()
