"""How much memory requests may hold at once, so that a slow Kafka or a crowd of clients cannot exhaust it."""

from runtime.metrics import HELD_BYTES


class Budget:
    """Bytes of bodies in progress and of records that Kafka has not acknowledged."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0
        HELD_BYTES.set_function(lambda: self.held)

    def take(self, size: int) -> bool:
        """Reserves ``size`` bytes; False where they are not to be had."""
        if self.held + size > self._limit:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Returns what was taken."""
        self.held -= size
