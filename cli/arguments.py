"""Types of arguments that several commands share, for argparse: what is refused ends with exit code 2."""

import argparse


def some(given: str) -> str:
    """A text that is not empty: an unset shell variable must not turn a command on everything there is."""
    if not given:
        raise argparse.ArgumentTypeError("it has at least one character (is a shell variable unset?)")
    return text(given)


def text(given: str) -> str:
    """Any text. Bytes of a shell that are none can be neither stored nor looked for."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{given!r} is not UTF-8") from None
    return given


def printable(given: str) -> str:
    """A text that can stand in a request's header."""
    if not given.isprintable():
        raise argparse.ArgumentTypeError(f"{given!r} is not printable")
    return some(given)


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def seconds(text: str) -> float:
    """A time to wait: 0 or more, and not for ever."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, 0 or more")
    return found
