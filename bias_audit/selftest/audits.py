"""Simulated audits by the audit's own code."""

from __future__ import annotations

import numpy as np

from bias_audit.analyses.probing.decodability import Decodability, decodability, probe_targets
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.probing.separability import AUC
from bias_audit.analyses.targets import targets_of
from bias_audit.config.schema import Criterion
from bias_audit.results.audit import AnalysisResult, BackboneRecord, LayerRecord, SubjectResult
from bias_audit.results.blocks import LayerCurve
from bias_audit.results.judge import judge
from bias_audit.results.verdict import Outcome
from bias_audit.selftest.subjects import Sample, subject_of

LEVEL = 0.95
"""Of the intervals, and of criteria."""
ALPHA = 0.05
"""Error rate that claims are made at by default."""


def audited(sample: Sample, rng: np.random.Generator) -> tuple[Decodability, ...]:
    """Every attribute of a sample at every layer, by macro AUC."""
    subject = subject_of(sample, rng)
    names = [attribute.name for attribute in sample.attributes]
    targets = targets_of(subject.faces.table, names)
    probed = probe_targets(subject, targets, ProbeSettings())
    return decodability(subject, probed, AUC, level=LEVEL)


def is_claimed(results: tuple[Decodability, ...]) -> bool:
    """Whether any target is called linearly decodable at any layer."""
    return any(result.is_claimed for result in results)


def outcome(results: tuple[Decodability, ...], criterion: Criterion) -> Outcome:
    """The criterion's verdict on these results."""
    layers = tuple(LayerRecord(name=p.layer, n_units=1) for p in results[0].probed.probes)
    block = LayerCurve(
        title="simulated",
        quantity=AUC.quantity,
        metric=AUC.name,
        chance={result.probed.target.name: 0.5 for result in results},
        curves=tuple(result.curve for result in results),
    )
    analysis = AnalysisResult(
        kind="linear_probe",
        title="simulated",
        params={},
        status="done",
        blocks=(block,),
        seconds=0,
    )
    backbone = BackboneRecord(
        name="simulated",
        kind="simulated",
        architecture="none",
        weights="none",
        weights_sha256="",
        licence="none",
        preprocessing={},
        layers=layers,
        overrides={},
        key_problems=(),
        n_parameters=0,
    )
    subject = SubjectResult(backbone=backbone, analyses=(analysis,), extraction={})
    (verdict,) = judge((criterion,), (subject,))
    return verdict.outcome
