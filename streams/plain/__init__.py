"""Plain Faust agents, for what may happen twice: alerts, caches, pictures of the moment.

Each module of this folder is one, with ``AGENT``; a worker runs those that the setting ``plain`` names. For what must
be exact there is ``streams/agents``; docs/agents.md says what is the difference.
"""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from runtime.settings import Settings, SettingsError

if TYPE_CHECKING:
    from runtime.plain import PlainAgent  # brings Faust, which commands that run no agent need not load


def plain_agents(settings: Settings) -> "list[PlainAgent]":
    """The plain agents that the setting names. Raises SettingsError where there is none of a name."""
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    wanted = [name for name in dict.fromkeys(settings.plain.split(",")) if name]  # named twice, it is one all the same
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sentence = f"there is no plain agent {unknown[0]!r}; there are {', '.join(known)}"
        raise SettingsError(f"plain / SLUICE_PLAIN: {sentence}")
    agents: list[PlainAgent] = [import_module(f"{__name__}.{name}").AGENT for name in wanted]
    return agents
