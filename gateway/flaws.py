"""What is wrong in a JSON value that a scanner let pass, each flaw by its path: keys twice, constants, texts, depth."""

import re
from collections import Counter
from typing import Any

from gateway.dialects.base import Fault

DEPTH = 64
"""Most containers within one another, the body's own included."""
FLAWS = 100
"""Most flaws that are named in one event; a body of nothing but flaws would make an answer many times its size."""
PATH = 200
"""Longest path in a fault, in characters."""
TOO_DEEP = f"is nested deeper than {DEPTH}"
TWICE = "stands twice in one object"


class Repeated(dict[str, Any]):
    """An object in which keys stand more than once."""

    __slots__ = ("keys_twice",)
    keys_twice: list[str]


class Constant:
    """NaN, Infinity or -Infinity."""

    def __init__(self, name: str) -> None:
        self.name = name


def marked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object, marked where a key stands more than once."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = Repeated(found)
    marked.keys_twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    return marked


def cleaned(value: Any, room: int) -> Any:
    """A copy that the models can read, to find what else is wrong: texts are valid, and nothing is too deep."""
    if isinstance(value, str):
        return _bad.sub("\ufffd", value)
    if isinstance(value, dict):
        return {cleaned(key, 0): cleaned(item, room - 1) for key, item in value.items()} if room else None
    if isinstance(value, list):
        return [cleaned(item, room - 1) for item in value] if room else None
    return value


class Flaws:
    """What is wrong in a value that the scanner let pass."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.faults: list[Fault] = []
        self.malformed = False

    def look(self, value: Any) -> None:
        """Walks the value without recursion."""
        rest: list[tuple[str, Any, int]] = [("", value, 1)]
        while rest and len(self.faults) < FLAWS:
            path, value, depth = rest.pop()
            if isinstance(value, str):
                self._text(path, value)
            elif isinstance(value, Constant):
                self.malformed = True
                self.faults.append(Fault(path, f"{value.name} is no JSON: send a number, or null"))
            elif isinstance(value, dict | list) and depth > self.room:
                self.faults.append(Fault(path, TOO_DEEP))
                return
            elif isinstance(value, dict):
                self._keys(path, value)
                rest += [(under(path, key), item, depth + 1) for key, item in value.items() if _notable(item)][::-1]
            elif isinstance(value, list):
                inner = enumerate(value)
                rest += [(_cut(f"{path}[{i}]"), item, depth + 1) for i, item in inner if _notable(item)][::-1]

    def _keys(self, path: str, value: dict[str, Any]) -> None:
        for key in value:
            self._text(under(path, key), key)
        if isinstance(value, Repeated):
            self.faults += [Fault(under(path, key), TWICE) for key in value.keys_twice]

    def _text(self, path: str, text: str) -> None:
        bad = _bad.search(text)
        if bad:
            what = "U+0000" if bad[0] == "\0" else "half of a surrogate pair"
            self.faults.append(Fault(path, f"has {what} (\\u{ord(bad[0]):04x}), which no text may have"))


def _notable(value: Any) -> bool:
    """Whether a flaw may be in it: the paths of plain numbers need not be made."""
    return _bad.search(value) is not None if isinstance(value, str) else isinstance(value, dict | list | Constant)


_bad = re.compile("[\0\ud800-\udfff]")


def under(path: str, inner: str) -> str:
    """The path of a member or of a place within it; a key that is no text is named by its escapes."""
    if _bad.search(inner):
        inner = ascii(inner)[1:-1]
    dot = "." if path and inner and not inner.startswith("[") else ""
    return _cut(f"{path}{dot}{inner}")


def _cut(path: str) -> str:
    return path if len(path) <= PATH else path[: PATH - 1] + "…"
