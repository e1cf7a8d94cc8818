"""Progress on a terminal, and as plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

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
from bias_audit.progress import Step

_PLAIN_SECONDS = 30.0
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


class SelfTestTable(Protocol):
    """Rows of a self-test as strings."""

    @property
    def columns(self) -> Sequence[Labelled]:
        """Its headings."""

    @property
    def rows(self) -> Sequence[tuple[str, ...]]:
        """One string per column; the last is the outcome."""


class Labelled(Protocol):
    """A heading."""

    @property
    def label(self) -> str:
        """Its text."""


class SelfTestRows(Protocol):
    """What a terminal prints of a self-test."""

    @property
    def counts(self) -> str:
        """Outcomes, counted."""

    @property
    def table(self) -> SelfTestTable:
        """One row per check."""


def print_selftest(console: Console, shown: SelfTestRows) -> None:
    """Print the table of a self-test, and how many of its checks are OK."""
    table = Table(title="Self-test", title_justify="left", show_lines=True, expand=False)
    table.add_column("check, and what was simulated", ratio=1)
    table.add_column("found, and expected", ratio=1)
    table.add_column("outcome", no_wrap=True)
    labels = [column.label for column in shown.table.columns]
    for row in shown.table.rows:
        cells = {label: escape(cell) for label, cell in zip(labels, row, strict=True)}
        outcome = cells["outcome"]
        colour = {"OK": "green", "NOT OK": "red"}.get(outcome.partition(" ")[2], "yellow")
        table.add_row(
            f"{cells['check']}\n[dim]{cells['simulated']} ({cells['trials']} trials)[/dim]",
            f"{cells['found']}\n[dim]expected: {cells['expected']}[/dim]",
            f"[{colour}]{outcome}[/{colour}]",
        )
    console.print(table)
    console.print(shown.counts, markup=False, highlight=False)


class ConsoleProgress:
    """Bars with an estimate of the time left; on a pipe or in a log, a line now and then."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self.console = console

    def say(self, message: str) -> None:
        """Print one line that stays; the text is never read as markup."""
        self.console.print(message, markup=False, highlight=False)

    @contextmanager
    def step(self, title: str, *, total: int, unit: str) -> Iterator[Step]:
        """Show one counted piece of work."""
        if not self.console.is_terminal:
            plain = _PlainStep(self, title, total, unit)
            yield plain
            plain.close()
            return
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
            yield _Bar(bars, bars.add_task(title, total=total))


class _Bar:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: int = 1) -> None:
        self._bars.advance(self._task, count)


class _PlainStep:
    def __init__(self, progress: ConsoleProgress, title: str, total: int, unit: str) -> None:
        self._progress, self._title, self._total, self._unit = progress, title, total, unit
        self._done = 0
        self._began = self._told = time.monotonic()
        progress.say(f"{title}: {total} {unit}s")

    def advance(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._told > _PLAIN_SECONDS and self._done:
            self._told = now
            left = (now - self._began) / self._done * (self._total - self._done)
            self._progress.say(
                f"{self._title}: {self._done} of {self._total}, about {duration(left)} left"
            )

    def close(self) -> None:
        seconds = time.monotonic() - self._began
        taken = duration(seconds)
        self._progress.say(f"{self._title}: {self._done} {self._unit}s done in {taken}")
