"""What of a later row is removed where its person was erased, and who is known again."""

import json
from typing import Any

import pytest

from runtime.agent import Record
from runtime.forgotten import Forgotten
from runtime.letters import dead_letter
from schemas.registry import DEAD_LETTER, EVENT
from sinks.erasure import is_about, names, replaced, scrubber, session_of
from tests.events import event

PLAYER = 'zoë "z" 1815'


@pytest.fixture
def forgotten() -> Forgotten:
    found = Forgotten("nowhere:1")
    for tenant in (b"acme", b""):
        found.add(found.name(tenant, PLAYER.encode()))
    return found


def test_a_person_has_one_pseudonym_which_the_id_does_not_tell(forgotten: Forgotten) -> None:
    person = forgotten.name(b"acme", PLAYER.encode())
    assert person == forgotten.find(b"acme", PLAYER.encode())
    assert forgotten.find(b"beta", PLAYER.encode()) is None
    assert forgotten.find(b"acm", b"e" + PLAYER.encode()) is None
    other = Forgotten("nowhere:1")
    assert not other
    assert other.name(b"acme", PLAYER.encode()).pseudonym != person.pseudonym


def test_two_that_were_first_at_once_are_both_known(forgotten: Forgotten) -> None:
    late = Forgotten("nowhere:1").name(b"acme", b"other")
    forgotten.add(late)
    assert forgotten.find(b"acme", b"other") == late
    assert forgotten.find(b"acme", PLAYER.encode()) is not None


@pytest.mark.parametrize("text", [bytes, str])
def test_a_row_keeps_money_and_loses_who_it_was(forgotten: Forgotten, text: type) -> None:
    def of(value: str) -> Any:
        return value.encode() if text is bytes else value

    columns: dict[str, Any] = {
        "tenant": (of("acme"), of("acme"), of("beta"), of("acme")),
        "player_id": (of(PLAYER), of("p1"), of(PLAYER), None),
        "device_id": (of("d"), of("d"), of("d"), of("d")),
        "dedup_key": (of("k"), of("k"), of("k"), None),
        "payload": (b"x", b"x", b"x", b"x"),
        "amount": (b"1", b"2", b"3", b"4"),
    }
    scrub = scrubber("events", columns)
    assert scrub is not None
    before = {name: list(column) for name, column in columns.items()}
    scrub(columns, forgotten)
    after = {name: list(column) for name, column in columns.items()}
    person = forgotten.find(b"acme", PLAYER.encode())
    assert person is not None
    first = {name: column[0] for name, column in after.items()}
    assert first == {
        "tenant": of("acme"), "player_id": of(person.pseudonym), "device_id": None, "dedup_key": of(""), "payload": b"",
        "amount": b"1",
    }  # fmt: skip
    assert {name: column[1:] for name, column in after.items()} == {name: column[1:] for name, column in before.items()}


def test_a_session_has_another_id_always_the_same(forgotten: Forgotten) -> None:
    person = forgotten.name(b"acme", PLAYER.encode())
    moved = replaced("session_id", b"s" * 16, person)
    assert moved == session_of(person, b"s" * 16)
    assert (len(moved), moved == b"s" * 16) == (16, False)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"a": [{"player": PLAYER}]}), True),
        (json.dumps({"a": PLAYER}, ensure_ascii=False), True),
        (json.dumps({"a": PLAYER})[:-1], True),
        (json.dumps({"a": PLAYER + "x"}), False),
        ('{"a": "broken \\ud800"}', False),
        ("", False),
    ],
)
def test_a_text_that_names_the_person_is_known(forgotten: Forgotten, text: str, found: bool) -> None:
    assert names(forgotten, "acme", text) is found
    assert names(forgotten, b"acme", text.encode()) is found
    assert not names(forgotten, "beta", text)


def test_words_and_numbers_are_known_too(forgotten: Forgotten) -> None:
    forgotten.add(forgotten.name(b"acme", b"4711"))
    for text in ("player=4711&x=1", '{"player_id":4711}', "no player 4711"):
        assert names(forgotten, "acme", text)
    assert not names(forgotten, "acme", '{"player_id":47110}')


def _letter(record: bytes | None, error: str = "x", topic: str = "events") -> dict[str, Any]:
    _, value = dead_letter("sessions", Record(topic, 0, 1, 1, b"k", record), 7, ValueError(error))
    return DEAD_LETTER.decode(value)


def _is_about(forgotten: Forgotten, letter: dict[str, Any]) -> bool:
    return is_about(forgotten, **{name: letter[name] for name in ("topic", "tenant", "error", "key", "payload")})


def test_a_letter_is_the_persons_by_its_record_or_its_text(forgotten: Forgotten) -> None:
    mine, other = (EVENT.encode(event(player_id=player)) for player in (PLAYER, "p1"))
    assert _is_about(forgotten, _letter(mine))
    assert not _is_about(forgotten, _letter(other, f'about "{PLAYER}"'.replace('"z"', "")))
    assert not _is_about(forgotten, _letter(None))
    unreadable = b"??" + json.dumps({"player": PLAYER}).encode()
    assert _is_about(forgotten, _letter(unreadable))
    nested = DEAD_LETTER.encode(_letter(mine))
    assert _is_about(forgotten, _letter(nested, topic="dead-letters"))
