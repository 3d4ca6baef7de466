"""Numbers in sentences for people."""


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``: a number with its noun, which is given in the singular and takes an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
