"""Logs: one line a record, nothing forged, no flood."""

import json
import logging
from typing import Any

from runtime.logs import JsonLines, TextLines, Throttle


def record(
    message: str = "refused", level: int = logging.INFO, name: str = "sluice", **fields: Any
) -> logging.LogRecord:
    return logging.makeLogRecord({"name": name, "levelno": level, "levelname": "INFO", "msg": message} | fields)


def test_both_formats_carry_the_fields() -> None:
    made = record(request_id="r-1", status=400)
    assert TextLines().format(made).endswith("INFO    sluice: refused request_id=r-1 status=400")
    assert json.loads(JsonLines().format(made))["status"] == 400


def test_no_input_can_forge_a_line() -> None:
    made = record("a\nb", reason="x\r\n2026-01-01 ERROR forged\x1b[31m")
    for form in (TextLines(), JsonLines()):
        line = form.format(made)
        assert line.isprintable()
        assert "\n" not in line


def test_errors_come_with_their_text() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        made = record(exc_info=(ValueError, error, error.__traceback__))
    assert "ValueError: why" in TextLines().format(made)
    assert "ValueError: why" in json.loads(JsonLines().format(made))["error"]


def test_a_flood_is_held_back_and_counted_but_errors_pass() -> None:
    now = 0.0
    throttle = Throttle(3, lambda: now)
    assert [throttle.filter(record()) for _ in range(5)] == [True, True, True, False, False]
    assert throttle.filter(record(level=logging.WARNING))
    assert all(throttle.filter(record(level=logging.ERROR)) for _ in range(10))
    assert throttle.filter(record(name="another"))
    now = 1.0
    first = record()
    assert throttle.filter(first)
    assert first.__dict__["kept_back"] == 2
