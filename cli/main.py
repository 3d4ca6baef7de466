"""The command `sluice`. Each command is a module of this package with ``run(settings, **options) -> exit code``, and
where it has options or flags of its own, ``add_arguments(parser)`` and ``FLAGS``, the names of settings that become
flags. A module is imported only when its command is used, so that `sluice --help` is quick.

Exit codes: 0 done; 1 something is wrong, as the command says; 2 wrong usage, wrong settings, or it cannot start.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from runtime.settings import Settings, SettingsError, load

COMMANDS = {
    "up": "Kafka, ClickHouse, gateway, worker and sink, all together",
    "status": "each role: pid, state, restarts, lag",
    "down": "stops in order what `up` started",
    "gateway": "one gateway",
    "worker": "one worker: the stream agents",
    "sink": "one sink: from Kafka into ClickHouse",
    "topics": "creates topics, checks those that exist",
    "migrate": "creates and changes ClickHouse's tables and views",
    "keys": "API keys: create, list, revoke",
    "send": "posts recorded requests to the gateway",
    "demo": "makes realistic traffic of all five dialects",
    "audit": "whether everything that was accepted is where it belongs",
    "trace": "where an event is, and why it went no further",
    "dlq": "dead letters: list, show, replay, discard",
    "forget": "takes a person out of everything that is stored",
    "replay": "computes an agent's state and rows again",
    "new": "scaffolds an agent, its table and its test",
}
COMMON = ("data_dir", "kafka", "clickhouse", "log_level", "log_format")
"""Settings that are flags of every command."""
NOISY = ("aiokafka", "clickhouse_connect", "urllib3")
"""Libraries that log what they also raise. A role sets its logs up; any other command says what failed itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process with its exit code; 130 after a Ctrl-C that the command does not handle."""
    try:
        _main(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `sluice ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _main(arguments: Sequence[str] | None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(_version())
        sys.exit(0)
    parser = _overview()
    if not given or given[0].startswith("-"):
        parser.parse_args(given)
        parser.print_help(sys.stderr)
        sys.exit(2)
    name = given[0]
    if name not in COMMANDS:
        parser.error(f"there is no command {name!r}: sluice --help shows them all")
    sys.exit(_run(name, given[1:]))


def _overview() -> argparse.ArgumentParser:
    commands = "".join(f"  {name:<10} {what}\n" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="sluice",
        usage="sluice [--help] [--version] COMMAND ...",
        description="An exact event-stream processor: five vendor dialects in, Kafka within, ClickHouse out.",
        epilog=f"commands (each with --help):\n{commands}\n"
        "Settings come from flags, then SLUICE_* variables, then a .env file, then what runs on the data folder.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    return parser


def _version() -> str:
    try:
        return version("sluice")
    except PackageNotFoundError:  # run from its folder, as in the container image
        return "0 (not installed as a package)"


def _run(name: str, given: list[str]) -> int:
    with _ended_by_ctrl_c():
        module: Any = import_module(f"cli.{name}")
    flags = (*COMMON, *getattr(module, "FLAGS", ()))
    of_settings = _flags(name, flags)
    found, rest = of_settings.parse_known_args(given)  # they may stand anywhere, behind a subcommand too
    parser = argparse.ArgumentParser(
        prog=f"sluice {name}",
        description=module.__doc__,
        parents=[of_settings],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
    options = {option: value for option, value in vars(parser.parse_args(rest)).items() if option not in flags}
    for library in NOISY:
        logging.getLogger(library).addHandler(logging.NullHandler())
    try:
        settings = load(**vars(found))
        if not getattr(module, "ALONE", False):
            from cli.stack import found_by

            settings = found_by(settings)
        return int(module.run(settings, **options))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends the process at once: what imports run would catch a KeyboardInterrupt now and then, and go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _flags(command: str, names: Sequence[str]) -> argparse.ArgumentParser:
    """Settings as flags; their texts are checked with the other settings, so that every fault is shown at once."""
    parser = argparse.ArgumentParser(prog=f"sluice {command}", add_help=False, allow_abbrev=False)
    group = parser.add_argument_group("settings")
    for name in names:
        field = Settings.model_fields[name]
        default = "" if field.default is None or field.default == "" else f" (default: {field.default})"
        text = f"{field.description}{default}".replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar=name.split("_")[-1].upper(), help=text)
    return parser


if __name__ == "__main__":
    main()
