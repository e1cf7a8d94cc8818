"""Whether what the head receives encodes an attribute, can do without it, and uses it."""

from __future__ import annotations

from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject, Workload
from bias_audit.analyses.erasing import sentences
from bias_audit.analyses.erasing.erasure import ErasedTarget, ErasureSettings, erase, measures_of
from bias_audit.analyses.erasing.leace import split_by_intersection, split_for
from bias_audit.analyses.probing.probes import ProbeSettings, probe_work
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.targets import (
    attribute_targets,
    level_counts,
    measurable,
    unknown_targets,
)


class Params(ErasureSettings):
    """Which targets are erased, and at which coverage intervals are given."""

    targets: tuple[str, ...] | None = Field(
        default=None, description='Attributes, or "intersection"; default: every attribute.'
    )
    level: Coverage = 0.95


def erasure(subject: Subject, params: Params) -> Outcome:
    """Erase every target from the inputs of the head, and see what changes."""
    if subject.head is None:
        return Outcome(
            blocks=(),
            limits=(
                "Whether the backbone's own decisions use the attributes was not measured, "
                f"because {subject.without_head}.",
            ),
        )
    faces, head = subject.faces, subject.head
    parts = [
        (target, measurable(target, faces.clusters, params.folds))
        for target in attribute_targets(faces.table, params.targets)
    ]
    todo = [(target, part) for target, part in parts if not part.not_measured]
    measures = []
    if todo:
        shared = split_by_intersection(subject, head, params.folds)
        title, total = f"Erasure on {subject.name}", params.folds * len(todo)
        with subject.progress.step(title, total=total, unit="fold") as step:
            splits = [split_for(subject, head, *each, shared) for each in todo]
            found: dict[str, ErasedTarget] = {}
            for split in dict.fromkeys(splits):
                alike = [each for each, own in zip(todo, splits, strict=True) if own is split]
                erased = erase(subject, head, alike, split=split, settings=params, step=step)
                found |= {each.target.name: each for each in erased}
        measures = [
            measures_of(found[target.name], faces.clusters, level=params.level)
            for target, _ in todo
        ]
    return Outcome(
        blocks=sentences.blocks_of(measures, head.name, faces.clusters),
        findings=tuple(
            sentences.findings_of(measures, head.name, alpha=subject.multiplicity.alpha)
        ),
        method=sentences.method_of(params, head) if measures else (),
        limits=(*sentences.limits_of(measures, parts), *likeness_limits(subject)),
    )


_DECIDING = 3000.0
"""Products that a decision costs beyond its own: the most probable of all classes; measured."""


def _fits(params: Params, workload: Workload) -> float:
    """Probes before and after erasure, and those within held-out folds, at the last layer."""
    sizes = level_counts(workload.attributes)
    names = params.targets or [attribute.name for attribute in workload.attributes]
    n_images, n_units = workload.n_images, list(workload.n_units.values())[-1]
    n_levels = sum(sizes[name] for name in names)

    def probes(n: int) -> float:
        """Before and after erasure, of all targets: they share sums and factors."""
        return probe_work(
            ProbeSettings(),
            n_images=n,
            n_units=n_units,
            n_levels=2 * n_levels,
            labellings=2 * len(names),
        )

    whitening = 2 * (n_images * n_units**2 + params.folds * 20 * n_units**3)
    random = params.folds * params.draws * n_levels * 4 * n_units**2
    deciding = len(names) * n_images * (1 + params.draws) * _DECIDING
    inside = params.folds * probes(n_images // params.folds)
    return whitening + random + deciding + probes(n_images) + inside


PLUGIN = Analysis(
    title="Erasure test",
    params_type=Params,
    question="used",
    run=erasure,
    problems=lambda params, faces, _layers: unknown_targets(faces, params.targets or ()),
    # Of each target, each by itself: encoded, left after erasure, used, used on reference images.
    families=lambda params, attributes: 4 * len(params.targets or attributes),
    fits=_fits,
    quantities=sentences.QUANTITIES,
    needs_head=True,
)
