"""What a command tells while it works, as one JSON object a line."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

from bias_audit.progress import Step

_SECONDS = 10.0
"""Between two lines of one step."""


class JsonLog:
    """Progress and results for a log collector; every line has time, level and event."""

    def __init__(self, stream: IO[str]) -> None:
        """Write to `stream`, line by line."""
        self._stream = stream

    def event(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Write one line.

        Args:
            event: "message", "step_begins", "step", "step_ends", "result" or "error".
            level: "info", "warning" or "error".
            fields: What there is to say, as JSON can hold it.
        """
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "event": event,
            **fields,
        }
        text = json.dumps(line, ensure_ascii=False, default=str).encode("utf-8", "replace")
        if _is_utf8(self._stream):
            self._stream.write(text.decode("utf-8") + "\n")
        else:
            self._stream.write(json.dumps(json.loads(text)) + "\n")
        self._stream.flush()

    def say(self, message: str) -> None:
        """Write one message."""
        self.event("message", message=message)

    @contextmanager
    def step(self, title: str, *, total: int, unit: str) -> Iterator[Step]:
        """Write when one counted piece of work begins and ends, and now and then how far it is."""
        self.event("step_begins", title=title, total=total, unit=unit)
        step = _JsonStep(self, title, total, unit)
        yield step
        self.event(
            "step_ends", title=title, done=step.done, total=total, unit=unit, seconds=step.seconds
        )


def _is_utf8(stream: IO[str]) -> bool:
    """Whether a stream takes all of Unicode; one in memory does."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name == "utf-8"


class _JsonStep:
    def __init__(self, log: JsonLog, title: str, total: int, unit: str) -> None:
        self._log, self._title, self._total, self._unit = log, title, total, unit
        self.done = 0
        self._began = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 2)

    def advance(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if now - self._told < _SECONDS or not self.done:
            return
        self._told = now
        left = (now - self._began) / self.done * (self._total - self.done)
        self._log.event(
            "step",
            title=self._title,
            done=self.done,
            total=self._total,
            unit=self._unit,
            seconds_left=round(left, 1),
        )
