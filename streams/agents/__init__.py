"""The agents: each module of this folder is one, with ``agent(settings)``, and nothing else need know of it.

A module that does not import is an error, never a missing agent.
"""

import pkgutil
from importlib import import_module

from runtime.agent import Agent
from runtime.settings import Settings


def exact_agents(settings: Settings) -> list[Agent]:
    """Every exact agent, with its settings, by module name."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return [module.agent(settings) for module in modules]
