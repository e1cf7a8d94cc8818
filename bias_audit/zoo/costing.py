"""What the next run of a zoo would cost, from what its audits took before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bias_audit.audit.estimate import estimate
from bias_audit.audit.plan import Plan
from bias_audit.config.zoo import ZooConfig
from bias_audit.durations import duration
from bias_audit.errors import AuditError
from bias_audit.progress import Progress
from bias_audit.results.history.opening import reading_from
from bias_audit.zoo.entries import DATABASE, Entry, EntryStatus, statuses

_PASSES = ("forward pass", "classification layer")
"""Stages in which images pass through a backbone."""
_DRAWS = ("random weights",)
_OVERHEAD = ("loading", "faces", "self-test", "image controls")


@dataclass(frozen=True)
class Part:
    """One stage of an audit to come."""

    stage: str
    seconds: float
    basis: str
    """What the prediction rests on."""


@dataclass(frozen=True)
class Prediction:
    """What one entry would cost."""

    status: EntryStatus
    parts: tuple[Part, ...]
    bytes: int
    """That activations will take on disk."""
    problem: str | None = None
    """Why nothing can be predicted."""

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(part.seconds for part in self.parts)


class _Measured(NamedTuple):
    """A stage of an earlier audit that really worked."""

    dataset: str
    entry: str
    stage: str
    seconds: float
    images: int
    """Of the audit."""
    bytes: int
    started: str
    is_from_scratch: bool
    """Whether images passed in that audit, so that nothing was fitted before it."""


def predictions(
    zoo: ZooConfig, chosen: Sequence[Entry], *, progress: Progress
) -> tuple[Prediction, ...]:
    """Predict every entry; those that hold cost next to nothing.

    What the same backbone took before, on this data set or another, is scaled by the number of
    images. For a backbone without a past a few steps are timed now, without its weights.
    """
    known = _measured(zoo.folder / DATABASE, zoo.name)
    found = []
    for status in statuses(zoo, chosen, progress=progress):
        plan, faces, entry = status.plan, status.faces, status.entry
        if status.state == "fresh" or plan is None or faces is None:
            problem = "; ".join(status.reasons) if status.state == "blocked" else None
            found.append(Prediction(status, (), 0, problem))
            continue
        past = [measured for measured in known if measured.entry == entry.label]
        past.sort(key=lambda measured: measured.dataset != entry.dataset)  # its own first
        if any(measured.stage == "forward pass" for measured in past):
            found.append(_from_past(status, plan, faces.table.n_images, past))
            continue
        try:
            costs = estimate(plan, faces)
        except AuditError as error:
            found.append(Prediction(status, (), 0, str(error)))
            continue
        basis = "timed now, without the weights"
        parts = [Part("forward passes", sum(cost.forward_seconds for cost in costs), basis)]
        for cost in costs:
            parts += [Part(kind, seconds, basis) for kind, seconds in cost.analysis_seconds]
        size = sum(cost.disk_bytes for cost in costs)
        found.append(Prediction(status, tuple(parts), size))
    return tuple(found)


def plan_lines(found: Sequence[Prediction]) -> Iterator[str]:
    """As a terminal prints them."""
    for each in found:
        entry = each.status.entry
        yield f"{entry.label} on {entry.dataset}: {each.status.state}" + (
            f", about {duration(each.seconds)}" if each.parts else ""
        )
        yield from (f"  because {reason}" for reason in each.status.reasons)
        if each.problem:
            yield f"  nothing can be predicted: {each.problem}"
        yield from (f"  {p.stage}: {duration(p.seconds)} ({p.basis})" for p in each.parts)
    todo = [each for each in found if each.parts]
    yield (
        f"{len(todo)} of {len(found)} audits to make, one after the other about "
        f"{duration(sum(each.seconds for each in todo))}; new activations "
        f"{sum(each.bytes for each in todo) / 1e6:.0f} MB"
    )
    yield "Predictions are rough; they come from earlier measurements on this machine."


def _from_past(
    status: EntryStatus, plan: Plan, n_images: int, past: Sequence[_Measured]
) -> Prediction:
    """Scale what was measured; stages that nothing touches are read from the store."""
    kinds = {reason.partition(":")[0] for reason in status.reasons}
    passes = status.latest is None or bool(kinds & {"weights", "data", "packages"})
    # Draws of random weights do not depend on the trained ones.
    redrawn = status.latest is None or bool(kinds & {"data", "packages"})
    analyses = passes or bool(kinds - {"age", "damage"})
    stages = [
        *_OVERHEAD,
        *(_PASSES if passes else ()),
        *(_DRAWS if redrawn else ()),
        *((planned.kind for planned in plan.analyses) if analyses else ()),
    ]
    parts, size = [], 0
    for stage in stages:
        found = [each for each in past if each.stage == stage]  # the newest first
        if not found:
            continue
        # An analysis that finds its probes in the store takes a fraction of the time.
        measured = min(found, key=lambda each: passes and not each.is_from_scratch)
        factor = 1.0 if stage in _OVERHEAD else n_images / max(1, measured.images)
        basis = f"measured {measured.started[:10]} on {measured.dataset}"
        if factor != 1.0:
            basis += f", times {factor:.2f} for {n_images} images"
        if passes and not measured.is_from_scratch and stage not in _OVERHEAD:
            basis += "; fits were reused from cache, so this is too low"
        parts.append(Part(stage, measured.seconds * factor, basis))
        if stage == "forward pass":
            size = round(measured.bytes * factor)
    return Prediction(status, tuple(parts), size)


def _measured(database: Path, zoo: str) -> list[_Measured]:
    """Stages of all audits that worked instead of reading what was stored, the newest first."""
    if not database.exists():
        return []
    query = (
        "SELECT dataset, entry, stage, SUM(costs.seconds), n_images, COALESCE(SUM(bytes), 0), "
        "started, MAX(stage = 'forward pass') OVER (PARTITION BY audit_id) "
        "FROM costs JOIN audits ON audits.id = costs.audit_id "
        "WHERE zoo = ? AND is_reused = 0 AND (images IS NULL OR images > 0) "
        "GROUP BY audit_id, stage ORDER BY started DESC"
    )
    with reading_from(database) as connection:
        return [_Measured(*row) for row in connection.execute(query, (zoo,))]
