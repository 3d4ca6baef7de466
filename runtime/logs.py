"""Structured logs: one line per record, as text for people or JSON for machines, on standard error.

What a record is about goes into ``extra`` (``log.info("refused", extra={"request_id": ...})``), never into the message,
so that both formats carry it. Control characters are escaped, so that no input can forge a line. Each logger is held to
a rate per level, errors apart, so that noise neither fills the disk nor hides what matters.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

RATE = 200
"""Lines per second, logger and level, below errors."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(level: str, form: str) -> None:
    """Sends the whole process's logs to standard error. ``form`` is ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(Throttle())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)  # its infos tell what it does, not what happened


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _instant(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the record's fields, and the error's text."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _instant(record), "level": record.levelname.lower(), "logger": record.name}
        line |= {"message": record.getMessage()} | _fields(record)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """``time LEVEL logger: message name=value ...``; an error's text follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_escaped(str(value))}" for name, value in _fields(record).items())
        line = f"{_instant(record)} {record.levelname:7} {record.name}: {_escaped(record.getMessage())}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


class Throttle(logging.Filter):
    """Passes at most ``rate`` records per logger, level and second, and says how many it kept back. Errors all pass."""

    def __init__(self, rate: int = RATE, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._rate, self._clock = rate, clock
        self._seen: dict[tuple[str, int], tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            return True
        source = record.name, record.levelno
        second, count = self._seen.get(source, (0, 0))
        now = int(self._clock())
        if now != second:
            if count > self._rate:
                record.kept_back = count - self._rate
            second, count = now, 0
        self._seen[source] = (second, count + 1)
        return count < self._rate
