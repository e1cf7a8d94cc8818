"""What a command says while it works: on a terminal, as plain lines, or as JSON for a log."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from bias_audit.durations import duration
from bias_audit.progress import AuditLeft, PacedStep, Step

_PLAIN_SECONDS: Final = 30.0
_JSON_SECONDS: Final = 10.0
_BAR_SECONDS: Final = 10.0
"""Between two lines about one step, or two estimates of the whole."""
_COLOURS: Final = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}


def print_brief(console: Console, lines: Sequence[str]) -> None:
    """Print the lines of a summary, outcomes in colour; on a terminal each keeps to one row.

    The last one, which names the report, is printed whole.
    """
    for place, line in enumerate(lines):
        text = Text(line)
        for outcome, colour in _COLOURS.items():
            text.highlight_words([f" {outcome} "], style=colour)
        text.highlight_words(["Attention:"], style="red")
        if place < len(lines) - 1 and console.is_terminal:
            console.print(text, no_wrap=True, overflow="ellipsis")
        else:
            console.print(text, soft_wrap=True)


def print_selftest(
    console: Console, labels: Sequence[str], rows: Sequence[Sequence[str]], counts: str
) -> None:
    """Print the table of a self-test, a string for each column, and its outcomes, counted."""
    table = Table(title="Self-test", title_justify="left", show_lines=True, expand=False)
    table.add_column("check, and what was simulated", ratio=1)
    table.add_column("found, and expected", ratio=1)
    table.add_column("outcome", no_wrap=True)
    for row in rows:
        cells = {label: escape(cell) for label, cell in zip(labels, row, strict=True)}
        outcome = cells["outcome"]
        colour = {"OK": "green", "NOT OK": "red"}.get(outcome.partition(" ")[2], "yellow")
        table.add_row(
            f"{cells['check']}\n[dim]{cells['simulated']} ({cells['trials']} trials)[/dim]",
            f"{cells['found']}\n[dim]expected: {cells['expected']}[/dim]",
            f"[{colour}]{outcome}[/{colour}]",
        )
    console.print(table)
    console.print(counts, markup=False, highlight=False)


class ConsoleProgress:
    """Bars with an estimate of the time left; on a pipe or in a log, a line now and then."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self.console = console
        self.audit_left: AuditLeft | None = None

    def say(self, message: str) -> None:
        """Print one line that stays; the text is never read as markup."""
        self.console.print(message, markup=False, highlight=False)

    @contextmanager
    def step(self, title: str, *, total: int, unit: str) -> Iterator[Step]:
        """Show one counted piece of work."""
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(f"{unit}s"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console) as bars:
                task = bars.add_task(title, total=total)

                def show(_done: int, left: float) -> None:
                    bars.update(task, description=f"{title}{self._of_audit(left)}")

                yield _Bar(bars, task, PacedStep(total, _BAR_SECONDS, show))
            return

        def speak(done: int, left: float) -> None:
            of_audit = self._of_audit(left)
            self.say(f"{title}: {done} of {total}, about {left:.0f} s left{of_audit}")

        self.say(f"{title}: {total} {unit}s")
        step = PacedStep(total, _PLAIN_SECONDS, speak)
        yield step
        self.say(f"{title}: {step.done} {unit}s done in {step.seconds:.0f} s")

    def _of_audit(self, left: float) -> str:
        whole = None if self.audit_left is None else self.audit_left(left)
        return "" if whole is None else f"; of the audit about {duration(whole)}"


class _Bar:
    def __init__(self, bars: Progress, task: TaskID, paced: PacedStep) -> None:
        self._bars, self._task, self._paced = bars, task, paced

    def advance(self, count: int = 1) -> None:
        self._bars.advance(self._task, count)
        self._paced.advance(count)

    def resume(self, count: int) -> None:
        self._bars.reset(self._task, completed=count)
        self._paced.resume(count)


class JsonLog:
    """Progress and results for a log collector; every line has time, level and event."""

    def __init__(self, stream: IO[str]) -> None:
        """Write to `stream`, line by line."""
        self._stream = stream
        self.audit_left: AuditLeft | None = None
        # a stream in memory has no encoding, and takes all of Unicode
        encoding = getattr(stream, "encoding", None) or "utf-8"
        self._is_utf8 = codecs.lookup(encoding).name == "utf-8"

    def event(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Write one line: "message", "step_begins", "step", "step_ends", "result" or "error"."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": level, "event": event, **fields}
        text = json.dumps(line, ensure_ascii=False, default=str)
        text = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        self._stream.write((text if self._is_utf8 else json.dumps(json.loads(text))) + "\n")
        self._stream.flush()

    def say(self, message: str) -> None:
        """Write one message."""
        self.event("message", message=message)

    @contextmanager
    def step(self, title: str, *, total: int, unit: str) -> Iterator[Step]:
        """Write when one counted piece of work begins and ends, and now and then how far it is."""

        def speak(done: int, left: float) -> None:
            whole = None if self.audit_left is None else self.audit_left(left)
            self.event(
                "step",
                title=title,
                done=done,
                total=total,
                unit=unit,
                seconds_left=round(left, 1),
                audit_seconds_left=None if whole is None else round(whole, 1),
            )

        self.event("step_begins", title=title, total=total, unit=unit)
        step = PacedStep(total, _JSON_SECONDS, speak)
        yield step
        seconds = round(step.seconds, 2)
        self.event(
            "step_ends", title=title, done=step.done, total=total, unit=unit, seconds=seconds
        )
