"""Writes settings.md and metrics.md beside this file, from the code that they describe: `make docs`.

A test compares the pages with what this would write, so that they cannot fall behind.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from cli.main import COMMANDS, COMMON
from runtime import metrics
from runtime.settings import DAY, HOUR, Settings

FOLDER = Path(__file__).parent
MADE = "<!-- Made by `make docs`. -->"
KIB, MIB, GIB = 1024, 1024**2, 1024**3
ROLES = {"gateway": "Gateway", "agent": "Worker", "sink": "Sink"}
"""Sections of metrics.md, by the second word of a metric's name."""


def main() -> None:
    """Writes every page."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


def pages() -> dict[str, str]:
    """Each page's text by file name."""
    return {"settings.md": settings(), "metrics.md": measured()}


def settings() -> str:
    """Every setting, by the sections of runtime/settings.py."""
    lines = [
        MADE,
        "# Settings",
        "",
        "A value comes from a flag, else from the environment, else from a `.env` file in the current folder, else",
        "from the `sluice up` that is running on the same data folder, else it is the default. The variable of a",
        "setting is `SLUICE_` and its name in capitals (`SLUICE_GATEWAY_PORT`), its flag `--` and its name with dashes",
        "(`--gateway-port`). A wrong value stops the start, with every fault at once. Durations are in seconds, sizes",
        "in bytes.",
        "",
        f"Flags of every command: {_code(COMMON)}.",
    ]
    section, flags = "", _flags()
    for title, name in _sections():
        if title != section:
            section = title
            lines += ["", f"## {title}", "", "| setting | default | what | flag of |", "|---|---|---|---|"]
        field = Settings.model_fields[name]
        lines.append(f"| `{name}` | {_default(field)} | {field.description} | {_code(flags.get(name, ()))} |")
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, str]]:
    """(section, setting), in the order of the source; a section begins with a comment of its own."""
    title = ""
    for line in inspect.getsource(Settings).splitlines():
        if found := re.fullmatch(r"    # (.+)", line):
            title = found[1]
        elif (found := re.match(r"    (\w+): ", line)) and found[1] in Settings.model_fields:
            yield title, found[1]


def _flags() -> dict[str, list[str]]:
    """Commands that have a setting as a flag of their own, by setting."""
    found: dict[str, list[str]] = {}
    for command in COMMANDS:
        for name in getattr(import_module(f"cli.{command}"), "FLAGS", ()):
            found.setdefault(name, []).append(command)
    return found


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return ""
    if field.annotation is float:
        return f"{value:g}" + _rounded(value, (("d", DAY), ("h", HOUR), ("min", 60)))
    if isinstance(value, int):
        return f"{value}" + (_rounded(value, (("GiB", GIB), ("MiB", MIB), ("KiB", KIB))) if value >= 64 * KIB else "")
    return f"`{value}`"


def _rounded(value: float, units: tuple[tuple[str, float], ...]) -> str:
    unit = next(((name, size) for name, size in units if value >= size and value % size == 0), None)
    return "" if unit is None else f" ({value / unit[1]:g} {unit[0]})"


def measured() -> str:
    """Every metric, by role."""
    lines = [
        MADE,
        "# Metrics",
        "",
        "Prometheus text at `/metrics` of every gateway, worker and sink, beside `/health` (the process lives) and",
        "`/ready` (503 while it can do no work). `sluice status` shows the addresses. prometheus_client adds",
        "`process_*` and `python_*`. Durations are seconds, sizes bytes. No label comes from a request's content.",
    ]
    rows: dict[str, list[str]] = {role: [] for role in ROLES}
    for name, kind, labels, what in sorted(_metrics()):
        rows[name.split("_")[1]].append(f"| `{name}` | {kind} | {_code(labels)} | {what} |")
    for role, title in ROLES.items():
        lines += ["", f"## {title}", "", "| metric | type | labels | what |", "|---|---|---|---|", *rows[role]]
    return "\n".join(lines) + "\n"


def _metrics() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """(name, type, labels, sentence) of everything in runtime/metrics.py."""
    for value in vars(metrics).values():
        if isinstance(value, Counter | Gauge | Histogram):
            (family,) = value.describe()
            yield _row(family, value)
        elif Collector in type(value).__mro__ and value is not REGISTRY:
            for family in value.collect():
                yield _row(family, family)


def _row(family: Metric, labelled: Any) -> tuple[str, str, tuple[str, ...], str]:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return name, family.type, tuple(labelled._labelnames), family.documentation


def _code(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    main()
