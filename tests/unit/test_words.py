"""Counts in what commands print and logs say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.drive import Counts
from cli.demo.report import Report
from cli.send import Outcome
from runtime.words import counted
from tests.unit.test_house import SOURCES, here

SPEAKERS = {"cli", "embedded", "runtime", "sinks", "streams"}
"""What a gateway refuses is worded as its vendors' documents do."""
PLURAL = re.compile(
    r" ([a-z]+ )?(events|letters|messages|partitions|records|replays|replicas|requests|rows)\b(?!/| in a row)"
)
"""Two at least are in a row."""


def _plurals(source: str) -> Iterator[str]:
    """F-strings with a plural right behind a number that may be one; those of a table's columns may stay."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for value, behind in zip(node.values, node.values[1:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(behind, ast.Constant):
                    is_column = value.format_spec is not None and ">" in ast.unparse(value.format_spec)
                    if not is_column and PLURAL.match(str(behind.value)):
                        yield ast.unparse(node)


@pytest.mark.parametrize(("number", "said"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows")])
def test_one_is_singular(number: int, said: str) -> None:
    assert counted(number, "row") == said


@pytest.mark.parametrize("path", [path for path in SOURCES if here(path).partition("/")[0] in SPEAKERS], ids=here)
def test_no_number_stands_before_a_plural_of_its_own(path: Path) -> None:
    assert not list(_plurals(path.read_text())), "see runtime/words.py"


def test_a_plural_behind_a_number_is_found() -> None:
    assert list(_plurals('f"{n} rows"; f"{n:,} dead letters"; f"{n:>9} rows"; f"{n} new events/s"; f"in {n} s"')) == [
        "f'{n} rows'",
        "f'{n:,} dead letters'",
    ]


def test_one_request_is_no_requests(capsys: pytest.CaptureFixture[str]) -> None:
    Outcome(sent=1, accepted=1).show()
    assert capsys.readouterr().out.startswith("1 of 1 request accepted")
    said = Report("seed", 1, 1, {}, Counts(requests=1, doubtful=1, unexpected=1)).text()
    for sentence in ("1 request in 0.0 s", "1 event sent again in doubt", "1 request NOT answered as expected"):
        assert sentence in said
