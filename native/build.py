"""Makes the library: `python native/build.py`. With ziglang's compiler, so that a machine needs nothing but Python."""

import subprocess
import sys
import sysconfig
from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "_native.abi3.so"
"""Good for every CPython from 3.11 on."""
FLAGS = ["-std=c11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-shared"]
LIMIT = 600
"""Seconds; the first time the compiler makes its own parts as well."""


def command(library: Path, flags: list[str]) -> list[str]:
    """The compiler's command line."""
    sources = sorted(map(str, FOLDER.glob("*.c")))
    # What Python's own program has is found when the library is loaded.
    late = ["-Wl,-undefined,dynamic_lookup"] if sys.platform == "darwin" else []
    return [sys.executable, "-m", "ziglang", "cc", *flags, *late, *sources, "-o", str(library)]


def main() -> int:
    """Exit code."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("Sluice needs CPython with its global lock: its part in C is made for that one", file=sys.stderr)
        return 1
    return subprocess.run(command(LIBRARY, FLAGS), timeout=LIMIT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
