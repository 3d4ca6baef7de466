"""Progress: a line that renews itself on a terminal, two plain lines elsewhere."""

import io

from runtime.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_it_says_that_it_begins_and_how_it_ended() -> None:
    stream = io.StringIO()
    with Progress("Fetching", 3, stream) as progress:
        for _ in range(3):
            progress.advance()
    assert stream.getvalue() == "Fetching …\nFetching: 3 of 3\n"


def test_on_a_terminal_it_renews_one_line() -> None:
    stream = Terminal()
    with Progress("Fetching", 4, stream) as progress:
        progress.advance(2)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("2 of 4\x1b[K\n")
    assert "Fetching ████████████············ 2 of 4" in text
