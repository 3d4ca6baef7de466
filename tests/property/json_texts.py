"""JSON values as jsontext reads them, texts that spell them in every allowed way, and damaged ones."""

import string
from random import Random
from typing import Any

from hypothesis import strategies as st

from gateway.values import Number

RANDOM = st.randoms(use_true_random=True)
CHARS = st.one_of(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    st.sampled_from('\x01\x1f\x7f\x80\u2028\ud7ff\ue000\uffff\U00010000\U0010ffff"\\/\b\f\n\r\t'),
)
TEXTS = st.text(CHARS, max_size=8)
DIGITS = st.text(string.digits, min_size=1, max_size=25)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,12})?", fullmatch=True)
"""Numbers by the grammar."""

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS.map(str.encode) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=5)


def spell(value: Any, random: Random) -> str:
    """A text that stands for the value, with white space and escapes as chance has it."""
    match value:
        case None:
            core = "null"
        case True:
            core = "true"
        case False:
            core = "false"
        case Number():
            core = value.decode()
        case str():
            core = _quoted(value, random)
        case list():
            core = "[" + ",".join(spell(item, random) for item in value) + _space(random) + "]"
        case dict():
            members = [
                f"{_space(random)}{_quoted(key, random)}{_space(random)}:{spell(item, random)}"
                for key, item in value.items()
            ]
            core = "{" + ",".join(members) + _space(random) + "}"
        case _:
            raise TypeError(type(value))
    return _space(random) + core + _space(random)


def _space(random: Random) -> str:
    return "".join(random.choices(" \t\n\r", k=random.choice((0, 0, 0, 1, 2))))


def _quoted(text: str, random: Random) -> str:
    escape = random.random() < 0.3
    return '"' + "".join(_char(char, escape) for char in text) + '"'


def _char(char: str, escape: bool) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char < " " or escape:
        encoded = char.encode("utf-16-be").hex()
        return "".join(f"\\u{encoded[i : i + 4]}" for i in range(0, len(encoded), 4))
    return char


PIECES = (
    b'"', b"\\", b"\\u", b"\\u0000", b"\\ud800", b"\\udc00", b"{", b"}", b"[", b"]", b",", b":", b"NaN", b"-Infinity",
    b"-", b"0", b"1e", b".5", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"true", b'"a":1,"a":2', b" ", b"\x0b",
)  # fmt: skip


def damage(body: bytes, random: Random) -> bytes:
    """The body with a few pieces put in, doubled or taken out."""
    found = bytearray(body)
    for _ in range(random.randint(1, 3)):
        at, size = random.randint(0, len(found)), random.randint(0, 6)
        what = random.choice(("put", "take", "double"))
        if what == "put":
            found[at:at] = random.choice(PIECES)
        elif what == "take":
            del found[at : at + size]
        else:
            found[at:at] = found[at : at + size]
    return bytes(found)


def damaged(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Damaged spellings."""
    return st.builds(lambda value, random: damage(spell(value, random).encode(), random), values, RANDOM)
