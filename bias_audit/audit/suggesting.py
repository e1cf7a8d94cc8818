"""Criteria to start from: what the images of a config can decide, never what is acceptable."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from bias_audit.analyses.targets import Target, targets_of
from bias_audit.arrays import IntArray
from bias_audit.audit.plan import Plan, find_faces, make_plan
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.progress import Progress
from bias_audit.results.judge import POWER
from bias_audit.shapes.printed import counted
from bias_audit.statistics.estimate import quantile
from bias_audit.statistics.inference import widening

_LIMITS = (0.6, 0.75, 0.9)
"""Values at which the smallest decidable distance is stated."""
_LEVEL = 0.95


def suggested_lines(config: AuditConfig, progress: Progress) -> Iterator[str]:
    """A block `criteria` in YAML, to be completed by whoever answers for the use.

    Distances are planning values: those of one-vs-rest AUCs by Hanley & McNeil (1982, Radiology
    143:29-36), and of shares by the binomial variance, for intervals of 95 % widened as for
    cross-fitted probes, and a power of 80 %. A cluster of images counts once.
    """
    plan = make_plan(config)
    faces = find_faces(plan, progress=progress)
    offered = {name for planned in plan.analyses for name in planned.analysis.quantities}
    folds = max([2, *(getattr(planned.params, "folds", 0) for planned in plan.analyses)])
    n_images = counted(faces.table.n_images, "image")
    yield f"# Criteria to start from, for the {n_images} of {faces.table.name}."
    yield "# Only you can say what is acceptable: write your limit and its reason into each, and"
    yield "# delete what does not matter for your use. Decide before you look at results."
    yield from _small(plan, faces)
    yield "criteria:"
    for target in targets_of(faces.table, None):
        sizes = _sizes(target, faces.clusters)
        if min(sizes, default=0) < folds:
            yield f"  # {target.name}: too few images of a level; no criterion about it can pass."
            continue
        if "macro_auc" in offered:
            yield from _reading(target.name, sizes, folds)
        if "recall" in offered:
            yield from _recall(target.name, sizes, folds)


def _sizes(target: Target, clusters: IntArray) -> list[int]:
    """Clusters of images of every level."""
    levels = range(len(target.groups))
    return [len(np.unique(clusters[target.codes == level])) for level in levels]


def _small(plan: Plan, faces: Faces) -> Iterator[str]:
    fewest = plan.config.small_groups.minimum
    counts = np.bincount(faces.table.cells, minlength=faces.table.n_cells)
    if few := int((counts < fewest).sum()):
        yield (
            f"# {few} of {faces.table.n_cells} intersections have fewer than {fewest} images: "
            "a criterion over intersections stays INCONCLUSIVE until they have more."
        )


def _reading(name: str, sizes: list[int], folds: int) -> Iterator[str]:
    reaches = {limit: _reach(auc_error(limit, sizes), folds, min(sizes)) for limit in _LIMITS}
    distances = [f"{k:g} at {reach:.2f}" for k, reach in reaches.items() if k + reach < 1]
    if distances:
        yield f"  # Limits that these images decide from this distance on: {', '.join(distances)}."
    yield from _entry(f"{name} is hard to read", "macro_auc", name, "last", "at_most")


def _recall(name: str, sizes: list[int], folds: int) -> Iterator[str]:
    error = 0.5 / math.sqrt(min(sizes))
    yield (
        f"  # Smallest group: {counted(min(sizes), 'independent image')}; a limit near 0.5 is "
        f"decided for all {len(sizes)} groups from a distance of "
        f"{_reach(error, folds, min(sizes), len(sizes)):.2f} on."
    )
    yield from _entry(f"every group by {name} is recalled", "recall", name, "best", "at_least")


def _entry(title: str, quantity: str, target: str, layer: str, side: str) -> Iterator[str]:
    yield f'  - name: "{title}"'
    yield f"    quantity: {quantity}"
    yield f"    target: {target}"
    yield f"    layer: {layer}"
    yield f"    {side}:      # your limit"
    yield "    rationale:     # why this limit, for this use"


def _reach(error: float, folds: int, smallest: int, n: int = 1) -> float:
    """Distance from a limit at which n numbers are all decided with a probability of `POWER`."""
    freedom = float(max(smallest - 1, 1))
    level, power = 1 - (1 - _LEVEL) / n, POWER ** (1 / n)
    reach = quantile(level, freedom) + quantile(2 * power - 1)
    return reach * widening(folds, 1.0) * error


def auc_error(value: float, sizes: list[int]) -> float:
    """Standard error of a macro one-vs-rest AUC, as the mean of those of its levels.

    Args:
        value: The AUC, in (0, 1).
        sizes: Independent images of every level.
    """
    total = sum(sizes)
    both, each = value / (2 - value), 2 * value**2 / (1 + value)
    variances = (
        (value * (1 - value) + (n - 1) * (both - value**2) + (total - n - 1) * (each - value**2))
        / (n * (total - n))
        for n in sizes
    )
    return sum(map(math.sqrt, variances)) / len(sizes)
