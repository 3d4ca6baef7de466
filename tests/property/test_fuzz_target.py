"""A bounded run of the coverage-guided fuzzer, in a process of its own."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 150_000


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
def test_coverage_guided_fuzzing_finds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    target = [sys.executable, "-m", "tests.property.fuzz_target"]
    subprocess.run([*target, "--seeds", str(corpus)], check=True, capture_output=True, timeout=60)
    seeds = len(list(corpus.iterdir()))
    limits = [f"-runs={RUNS}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-max_total_time=120"]
    # What takes a process over counts the peak of its memory too, which was this process's own: so a child's child.
    apart = ["sh", "-c", '"$@"; exit $?', "sh"]
    found = subprocess.run(
        [*apart, *target, *limits, f"-artifact_prefix={tmp_path}/", str(corpus)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stderr[-4000:]
    done = re.search(r"Done (\d+) runs", found.stderr)
    assert done, found.stderr[-2000:]
    covered = re.findall(r"cov: (\d+)", found.stderr)
    with capsys.disabled():
        print(f"\natheris: {int(done[1]):,} inputs from {seeds} seeds, {covered[0]} to {covered[-1]} edges covered")
    assert int(done[1]) > seeds
