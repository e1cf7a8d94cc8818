"""Whether what the head receives encodes an attribute, can do without it, and uses it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Head, Outcome, Subject, Workload
from bias_audit.analyses.erasing.erasure import ErasureSettings, Measures, erase, measures_of
from bias_audit.analyses.erasing.leace import split_by_intersection, split_for
from bias_audit.analyses.erasing.sentences import (
    QUANTITIES,
    blocks_of,
    findings_of,
    limits_of,
    method_of,
)
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.targets import (
    INTERSECTION,
    Measurable,
    Target,
    measurable,
    targets_of,
    unknown_targets,
)
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Attribute


class Params(ErasureSettings):
    """Which targets are erased, and at which coverage intervals are given."""

    targets: tuple[str, ...] | None = Field(
        default=None, description='Attributes, or "intersection"; default: every attribute.'
    )
    level: Coverage = 0.95


def erasure(subject: Subject, params: Params) -> Outcome:
    """Erase every target from the inputs of the head, and see what changes.

    Raises:
        AnalysisError: A target is unknown, or what the head receives is not finite.
    """
    if subject.head is None:
        return Outcome(
            blocks=(),
            limits=(
                "Whether annotated attributes are used by the backbone's own decisions was not "
                f"measured, because {subject.without_head}.",
            ),
        )
    targets = targets_of(subject.faces.table, _names(params, subject.faces.table))
    parts = [measurable(target, subject.faces.clusters, params.folds) for target in targets]
    todo = [(t, part) for t, part in zip(targets, parts, strict=True) if not part.not_measured]
    measures = _measures(subject, subject.head, params, todo)
    return Outcome(
        blocks=blocks_of(measures, subject.head.name, subject.faces.clusters),
        findings=findings_of(measures, subject.head.name, alpha=subject.multiplicity.alpha),
        method=method_of(params, subject.head) if measures else (),
        limits=(
            *limits_of(measures, list(zip(targets, parts, strict=True))),
            *likeness_limits(subject),
        ),
    )


def _measures(
    subject: Subject, head: Head, params: Params, todo: list[tuple[Target, Measurable]]
) -> tuple[Measures, ...]:
    if not todo:
        return ()
    shared = split_by_intersection(subject, head, params.folds)
    result = []
    title, total = f"Erasure on {subject.name}", params.folds * len(todo)
    with subject.progress.step(title, total=total, unit="fold") as step:
        for target, part in todo:
            split = split_for(subject, head, target, part, shared)
            erased = erase(subject, head, target, part, split=split, settings=params, step=step)
            result.append(measures_of(erased, subject.faces.clusters, level=params.level))
    return tuple(result)


def _names(params: Params, faces: FaceTable) -> tuple[str, ...]:
    if params.targets is not None:
        return params.targets
    return tuple(attribute.name for attribute in faces.attributes)


def _problems(
    params: Params,
    faces: FaceTable,
    layers: tuple[str, ...] | None,  # noqa: ARG001
) -> tuple[str, ...]:
    return unknown_targets(faces, params.targets or ())


_SLOWER = 120.0
"""Time of a probe here with its share of the erasers, relative to a unit of `probe_work`;
measured with 256 and 1280 units, and three targets that share their split."""


def _fits(params: Params, workload: Workload) -> float:
    """Probes before and after erasure, and those within held-out folds, at the last layer."""
    sizes = {attribute.name: len(attribute.levels) for attribute in workload.attributes}
    sizes[INTERSECTION] = int(np.prod(list(sizes.values())))
    names = params.targets or [attribute.name for attribute in workload.attributes]
    n_units = list(workload.n_units.values())[-1]
    levels = sum(sizes[name] for name in names)
    return _SLOWER * 4 * params.folds * workload.n_images * n_units * levels


_QUESTIONS = 4
"""Of each target: encoded, left after erasure, used, used on reference images."""


def _families(params: Params, attributes: Sequence[Attribute]) -> int:
    """Every question about every target, each by itself."""
    return _QUESTIONS * len(params.targets or attributes)


PLUGIN = Analysis(
    title="Encoded, removable, used?",
    params_type=Params,
    run=erasure,
    problems=_problems,
    families=_families,
    fits=_fits,
    quantities=QUANTITIES,
    needs_head=True,
)
