"""The agents: each module of this folder is one, with ``agent(settings)``, and nothing else need know of it.

A module that does not import is an error, never a missing agent.
"""

import pkgutil
from importlib import import_module

from runtime.agent import Agent
from runtime.settings import Settings, SettingsError
from schemas.topics import ROWS


def exact_agents(settings: Settings) -> list[Agent]:
    """Every exact agent, with its settings, by module name. Raises SettingsError.

    Refused is one that is not called as its module, since of two of one name only one would run, on the other's state;
    and one that reads rows: a batch writes only the last of each, and a rebuild all of them again.
    """
    agents: list[Agent] = []
    for module in pkgutil.iter_modules(__path__):
        agent: Agent = import_module(f"{__name__}.{module.name}").agent(settings)
        file = f"streams/agents/{module.name}.py"
        if agent.name != module.name:
            sentence = f"makes an agent called {agent.name!r}; an agent has the name of its file, {module.name!r}"
            raise SettingsError(f"{file} {sentence}")
        if agent.source.name in ROWS:
            sentence = f"reads {agent.source.name}, a topic of rows: let their agent emit.record to another topic"
            raise SettingsError(f"{file} {sentence}")
        agents.append(agent)
    return agents
