"""The documents: made from the code where they can be, and what they point at is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import COMMANDS
from docs import reference
from runtime.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
PRODUCT = ("cli", "embedded", "gateway", "runtime", "schemas", "sinks", "streams")
NAMED = re.compile(r"`((?:bench|cli|docs|embedded|gateway|runtime|schemas|sinks|streams|tests)/[\w/.-]+)`")


@pytest.mark.parametrize("name", reference.pages())
def test_a_made_page_is_current(name: str) -> None:
    assert (reference.FOLDER / name).read_text() == reference.pages()[name], "run `make docs`"


def test_every_setting_is_described() -> None:
    page = reference.settings()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_points_at_is_there(page: Path) -> None:
    text = page.read_text()
    for target in LINK.findall(text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), target
            assert not anchor or anchor in _anchors(file), target
    for name in NAMED.findall(text):
        assert "NAME" in name or (ROOT / name).exists(), name


def _anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readme_has_every_command() -> None:
    table = re.findall(r"^\| `sluice ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(COMMANDS)


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text())}
    assert [page for page in PAGES[1:] if page != index and not {page, page.parent} & linked] == []


def test_every_sentence_that_operations_explains_is_said() -> None:
    said = " ".join(text for name in PRODUCT for path in (ROOT / name).rglob("*.py") for text in _texts(path))
    page = (ROOT / "docs" / "operations.md").read_text()
    sentences = re.findall(r"^\| (`+)(.+?)\1 \|", page[page.index("## When a process ends") :], re.MULTILINE)
    assert len(sentences) > 15
    for _, sentence in sentences:
        pieces = [piece.strip(" :;,-") for piece in re.split(r"\.\.\.|\b[A-Z]+(?![a-z])", sentence)]
        assert [piece for piece in pieces if len(piece) > 4 and piece not in said] == [], sentence


def _texts(path: Path) -> Iterator[str]:
    """The pieces of text between what is filled in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
