"""Every dialect and every route that several of them share.

A new dialect is a file that exports a ``Dialect`` or a function that makes one, a line in each of the tuples here, and
a folder of recordings in tests/contract (docs/dialects.md).
"""

from gateway.dialects import absinthe, adwize, cloudevents, gamerebellion, revosurge, scrip, shared
from gateway.dialects.base import Dialect, Registry, Shared

SHARED: tuple[Shared, ...] = (shared.EVENTS,)
"""Routes that more than one dialect declares."""


def load(registry: Registry) -> tuple[Dialect, ...]:
    """Every dialect; absinthe's registered events are kept in ``registry``."""
    return (
        absinthe.dialect(registry),
        gamerebellion.DIALECT,
        scrip.DIALECT,
        revosurge.DIALECT,
        adwize.DIALECT,
        cloudevents.DIALECT,
    )


NAMES = (
    absinthe.NAME,
    gamerebellion.NAME,
    scrip.NAME,
    revosurge.NAME,
    adwize.NAME,
    cloudevents.NAME,
)
