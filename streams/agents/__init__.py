"""The agents: each module of this folder is one, with ``agent(settings)``, and nothing else need know of it.

A module that does not import is an error, never a missing agent.
"""

import pkgutil
from importlib import import_module

from runtime.agent import Agent
from runtime.settings import Settings, SettingsError


def exact_agents(settings: Settings) -> list[Agent]:
    """Every exact agent, with its settings, by module name.

    Raises SettingsError where one is not called as its module: of two agents of one name only one would run, on the
    other's state.
    """
    agents: list[Agent] = []
    for module in pkgutil.iter_modules(__path__):
        agent: Agent = import_module(f"{__name__}.{module.name}").agent(settings)
        if agent.name != module.name:
            sentence = f"makes an agent called {agent.name!r}; an agent has the name of its file, {module.name!r}"
            raise SettingsError(f"streams/agents/{module.name}.py {sentence}")
        agents.append(agent)
    return agents
