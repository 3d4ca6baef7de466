"""The agents. ``exact_agents`` names each; a module that does not import is an error, never a missing agent."""

from runtime.agent import Agent
from runtime.settings import Settings
from streams.agents import dedup, pairing, sessions


def exact_agents(settings: Settings) -> list[Agent]:
    """Every exact agent, with its settings."""
    gap, lateness = round(settings.session_gap * 1000), round(settings.lateness * 1000)
    return [
        dedup.make(round(settings.dedup_window * 1000)),
        pairing.make(),
        sessions.make(gap, lateness, settings.partitions),
    ]
