"""What tables of groups have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from bias_audit.groups import Group
from bias_audit.report.numbers import count, counted
from bias_audit.statistics.estimate import Estimate

T = TypeVar("T")
_EACH_END = 5


def group_heading(groups: Sequence[Group]) -> str:
    """Names of the attributes as labels join them, such as "age / race / gender"."""
    names = {tuple(name for name, _ in group.levels) for group in groups}
    return " / ".join(next(iter(names))) if len(names) == 1 else "group"


def unmeasured(reasons: Iterable[str | None], total: int) -> tuple[str, ...]:
    """A sentence on the groups without an estimate; none where all have one."""
    counts = Counter(reason or "no reason given" for reason in reasons)
    if not counts:
        return ()
    listed = "; ".join(f"{reason} ({count(n)})" for reason, n in counts.most_common(5))
    rest = "" if len(counts) <= 5 else f"; and {len(counts) - 5} more reasons"  # noqa: PLR2004
    return (f"{count(counts.total())} of {counted(total, 'group')} not measured: {listed}{rest}.",)


def extremes(rows: Sequence[tuple[T, Estimate | None]]) -> list[T]:
    """The rows with the lowest and the highest estimates, ascending."""
    measured = [(row, estimate) for row, estimate in rows if estimate is not None]
    measured.sort(key=lambda entry: entry[1].value)
    if len(measured) <= 2 * _EACH_END:
        return [row for row, _ in measured]
    return [row for row, _ in (*measured[:_EACH_END], *measured[-_EACH_END:])]


EXTREMES_NOTE = (
    f"The {_EACH_END} lowest and the {_EACH_END} highest values. Extremes among many small groups "
    "are partly chance: read the intervals."
)
"""Which rows of a long table paper shows."""
