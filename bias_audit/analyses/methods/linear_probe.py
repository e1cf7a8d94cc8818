"""Which annotated attributes can be read off a layer linearly, and how much above a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject
from bias_audit.analyses.probing.decodability import (
    curve_measures,
    decodability,
    probe_targets,
    rechecks,
)
from bias_audit.analyses.probing.probes import ProbeSettings, controlled_work
from bias_audit.analyses.probing.recalls import recall_table
from bias_audit.analyses.probing.sentences import findings_of, limits_of, method_of
from bias_audit.analyses.probing.separability import AUC, BALANCED_ACCURACY, BITS, setting_problems
from bias_audit.analyses.targets import target_names, targets_of
from bias_audit.groups import INTERSECTION, Attribute
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.shapes.printed import sentence

METRICS = (AUC, BALANCED_ACCURACY, BITS)


class Params(ProbeSettings):
    """Which targets are probed, and how intervals are made."""

    targets: tuple[str, ...] | None = Field(
        default=None,
        description='Attributes, or "intersection"; default: every attribute and "intersection".',
    )
    level: Coverage = 0.95


def linear_probe(subject: Subject, params: Params) -> Outcome:
    """Probe every target at every layer, against its controls."""
    targets = targets_of(subject.faces.table, params.targets)
    probed = probe_targets(subject, targets, params.probes)
    found = decodability(subject, probed, *METRICS, level=params.level)
    results = dict(zip(METRICS, found, strict=True))
    measures = {k: v for each in results.items() for k, v in curve_measures(*each).items()}
    tables: list[GroupTable] = []
    ledgers: list[GroupLedger] = []
    for result in results[AUC]:
        if result.best is None:
            continue
        probe = result.probed.at(result.best.layer)
        table, ledger, recalls = recall_table(
            subject, result.probed, probe, params.level, choice=result.choice
        )
        tables.append(table)
        measures |= recalls
        ledgers += [ledger] if ledger.entries else []
    checked = rechecks(subject, results[AUC], params.probes)
    conditional = {name for name, recheck in checked.items() if not recheck.stands}
    return Outcome(
        blocks=(
            *(
                LayerCurve(
                    detail=metric is not AUC,
                    title=f"At which layers can each attribute be read? {sentence(metric.name)}",
                    quantity=metric.quantity,
                    metric=metric.name,
                    chance={
                        each.target.name: metric.chance(each.part)
                        for each in probed
                        if len(each.part.levels)
                    },
                    curves=tuple(
                        result.curve.model_copy(update={"is_conditional": True})
                        if result.probed.target.name in conditional
                        else result.curve
                        for result in found
                    ),
                )
                for metric, found in results.items()
            ),
            *tables,
            *ledgers,
        ),
        findings=findings_of(results[AUC], checked, alpha=subject.multiplicity.alpha),
        method=method_of(subject, params),
        limits=limits_of(subject, probed),
        measures=measures,
    )


def _families(params: Params, attributes: Sequence[Attribute]) -> int:
    """Lifts over all layers and targets, each target above guessing, and the order of attributes.

    Claims about balanced accuracy and bits are not made.
    """
    names = target_names(attributes, params.targets)
    n_attributes = sum(name != INTERSECTION for name in names)
    return 1 + len(names) + (n_attributes > 1)


PLUGIN = Analysis(
    title="Linear decodability",
    params_type=Params,
    question="encoded",
    run=linear_probe,
    problems=lambda params, faces, _layers: setting_problems(
        params, faces, targets=params.targets
    ),
    families=_families,
    fits=lambda params, work: controlled_work(params.probes, work, params.targets),
    quantities=("macro_auc", "balanced_accuracy", "bits", "recall"),
    needs_controls=True,
)
