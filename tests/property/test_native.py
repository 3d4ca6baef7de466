"""The part in C once more, in a library that ends the process at the first undefined behaviour."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from native import build

ROOT = build.FOLDER.parent
TRAPS = ["-fsanitize=undefined", "-fsanitize-trap=undefined", "-fno-omit-frame-pointer"]
CASES = ["tests/unit/test_codec.py", "tests/unit/test_batches.py", "tests/unit/test_entry.py"]


def test_nothing_is_undefined(tmp_path: Path) -> None:
    package = shutil.copytree(build.FOLDER, tmp_path / "native", ignore=shutil.ignore_patterns("*.so"))
    command = build.command(package / build.LIBRARY.name, [*build.FLAGS, *TRAPS])
    subprocess.run(command, check=True, timeout=build.LIMIT)
    said = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *CASES],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, check=False, timeout=build.LIMIT,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr


def test_what_is_undefined_ends_the_process(tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int main(int n, char **given) { (void)given; return 2147483647 + n < 0; }")
    program = tmp_path / "wrong"
    compiler = [sys.executable, "-m", "ziglang", "cc"]
    subprocess.run([*compiler, "-O2", *TRAPS, str(source), "-o", str(program)], check=True, timeout=build.LIMIT)
    assert subprocess.run([str(program)], check=False, timeout=10).returncode < 0
