"""`sluice gateway`: one gateway, in the foreground, until SIGTERM or SIGINT; then it drains and exits with 0."""

import sys

import uvloop

from gateway.server import AddressTaken, serve
from runtime import logs, memory
from runtime.settings import Settings, SettingsError, load

FLAGS = ("gateway_host", "gateway_port", "redis")


def run(settings: Settings) -> int:
    """Exit code: 0 after an orderly end, 2 where it cannot start."""
    logs.configure(settings.log_level, settings.log_format)
    memory.settle()
    try:
        uvloop.run(serve(settings))
    except (AddressTaken, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run(load()))
