"""Audits made of numbers, one after the other: what a comparison is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Analysis, Control, Outcome, Subject
from bias_audit.analyses.methods import intersections, linear_probe
from bias_audit.audit.analysing import keep_contributions
from bias_audit.config.schema import Criterion
from bias_audit.data.faces import data_record
from bias_audit.files import digest
from bias_audit.groups import Attribute
from bias_audit.results.audit import (
    AnalysisResult,
    AuditResult,
    BackboneRecord,
    LayerRecord,
    Provenance,
    SubjectResult,
)
from bias_audit.results.contributions import read_contributions
from bias_audit.results.differing.comparables import Audited
from bias_audit.results.judge import judge
from tests.analyses.planted import AGE, GENDER, FakeCache, make_subject

Changed = Callable[[AuditResult], AuditResult]
CHEAP: dict[str, Any] = {"folds": 3, "shrinkage": 0.3}


def face(number: int) -> str:
    """The digest of a made-up image."""
    return (digest("face", str(number)) * 2)[:64]


def seen(
    codes: npt.NDArray[np.int64],
    layers: dict[str, npt.NDArray[np.float64]],
    *,
    images: Sequence[int] | None = None,
    seed: int = 0,
    refits: int = 2,
    controls: tuple[Control, ...] = (),
    attributes: tuple[Attribute, ...] = (AGE, GENDER),
    clusters: npt.NDArray[np.int64] | None = None,
) -> Subject:
    """A subject whose images have digests of their own."""
    subject = make_subject(
        codes, layers, attributes, cache=FakeCache(), seed=seed, clusters=clusters
    )
    numbers = range(len(codes)) if images is None else images
    faces = replace(subject.faces, sha256=tuple(face(number) for number in numbers))
    return replace(subject, faces=faces, refits=refits, controls=controls)


def audited(
    subject: Subject,
    cache: Path,
    *,
    name: str = "backbone",
    weights: str = "aa",
    criteria: tuple[Criterion, ...] = (),
    change: Changed = lambda result: result,
    groups: bool = False,
    keep: bool = True,
    params: dict[str, Any] = CHEAP,
) -> Audited:
    """A finished audit of a subject by linear probes, with what its cache holds."""
    plugins: list[tuple[str, Analysis[Any]]] = [("linear_probe", linear_probe.PLUGIN)]
    if groups:
        plugins.append(("intersections", intersections.PLUGIN))
    analyses = []
    for kind, plugin in plugins:
        outcome = plugin.run(subject, plugin.params_type.model_validate(params))
        analyses.append(_result(kind, plugin.title, outcome, subject, cache))
    layers = tuple(LayerRecord(name=each, n_units=1) for each in subject.activations.layers)
    subjects = (
        SubjectResult(
            backbone=_backbone(name, weights * 32, layers),
            analyses=tuple(analyses),
            extraction={"images": len(subject.faces)},
        ),
    )
    result = change(
        AuditResult(
            name="reaudit",
            description="",
            config={"name": "reaudit", "seed": subject.seed},
            data=data_record(subject.faces, "simulated"),
            subjects=subjects,
            verdicts=judge(criteria, subjects),
            provenance=Provenance(
                started="2026-11-21T06:06:43+00:00",
                seconds=1.0,
                command="none",
                versions={"python": "3.11.9", "torch": "2.9.0", "matplotlib": "3.9"},
                hardware={"system": "Linux", "processor": "one", "device": "cpu"},
                seed=subject.seed,
                config_sha256=digest(str(subject.seed)),
            ),
        )
    )
    names = [a.contributions for s in result.subjects for a in s.analyses if a.contributions]
    kept = {each: entry for each in names if (entry := read_contributions(cache, each))}
    return Audited(result, "runs/reaudit", digest(result.model_dump_json()), kept if keep else {})


def _result(
    kind: str, title: str, outcome: Outcome, subject: Subject, cache: Path
) -> AnalysisResult:
    return AnalysisResult(
        kind=kind,
        title=title,
        params={},
        status="done",
        blocks=outcome.blocks,
        findings=outcome.findings,
        seconds=0.0,
        contributions=keep_contributions(outcome, subject, cache),
    )


def _backbone(name: str, sha256: str, layers: tuple[LayerRecord, ...]) -> BackboneRecord:
    return BackboneRecord(
        name=name,
        kind="simulated",
        architecture="numbers",
        weights="drawn at random",
        weights_sha256=sha256,
        licence="none",
        preprocessing={"height": 1},
        layers=layers,
        overrides={},
        key_problems=(),
        n_parameters=0,
    )


def labels(n: int) -> npt.NDArray[np.int64]:
    """Age and gender of n images, all combinations alike often."""
    return np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1).astype(np.int64)


def activations(
    codes: npt.NDArray[np.int64], strengths: dict[str, float], seed: int = 0, n_units: int = 12
) -> dict[str, npt.NDArray[np.float64]]:
    """Layers in which age moves a unit by so much."""
    rng = np.random.default_rng(seed)
    made = {}
    for layer, strength in strengths.items():
        values = rng.standard_normal((len(codes), n_units))
        values[np.arange(len(codes)), codes[:, 0]] += strength
        made[layer] = values
    return made
