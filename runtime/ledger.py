"""What may be committed and what may be fetched, where several agents read one topic.

The commit is the least of what the topic's agents have applied; a partition is fetched while none of them is behind.
"""

from typing import Any

from faust.types import TP


class Ledger:
    """One Faust app's bookkeeping between its consumer and the lanes of its agents."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._readers: dict[str, set[str]] = {}
        self._applied: dict[TP, dict[str, int]] = {}
        self._holding: dict[TP, set[str]] = {}

    def register(self, agent: str, topic: str) -> None:
        """``agent`` reads ``topic``; nothing is committed there without it."""
        self._readers.setdefault(topic, set()).add(agent)

    def settle(self, agent: str, tp: TP, offset: int) -> None:
        """Every record before ``offset`` is durable in the agent's outputs and changelog."""
        applied = self._applied.setdefault(tp, {})
        applied[agent] = offset
        if len(applied) == len(self._readers[tp.topic]):
            self._app.consumer.settle(tp, min(applied.values()))

    def hold(self, agent: str, tp: TP) -> None:
        """The agent has enough of this partition for now."""
        self._holding.setdefault(tp, set()).add(agent)
        self._app.consumer.hold(tp)

    def release(self, agent: str, tp: TP) -> None:
        """The agent wants more of it; fetched again once nobody holds it."""
        holding = self._holding.get(tp)
        if holding is None:
            return
        holding.discard(agent)
        if not holding:
            del self._holding[tp]
            self._app.consumer.release(tp)

    def clear(self, tp: TP) -> None:
        """The partition is another's now."""
        self._applied.pop(tp, None)
        self._holding.pop(tp, None)

    async def seek(self, tp: TP, offset: int) -> None:
        """Fetches from ``offset`` on; agents that are further drop what they know."""
        await self._app.consumer.seek_wait({tp: offset})

    async def position(self, tp: TP) -> int | None:
        """Offset of the next record to be fetched; None while it is not known."""
        found = await self._app.consumer.position(tp)
        return None if found is None else int(found)

    def fetched(self, tp: TP) -> int:
        """Offset of the last record that was fetched; -1: none."""
        found: int = self._app.consumer.fetched.get(tp, -1)
        return found

    def end(self, tp: TP) -> int | None:
        """Where the log ended when it was fetched from last; None while that is not known."""
        try:
            found = self._app.consumer.highwater(tp)
        except AssertionError:  # aiokafka's own: the partition is no longer ours
            return None
        return None if found is None else int(found)
