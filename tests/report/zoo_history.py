"""A made-up history of a zoo; no number in it was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bias_audit.config.schema import Criterion
from bias_audit.groups import Group
from bias_audit.results.audit import (
    AnalysisResult,
    AttributeRecord,
    AuditResult,
    BackboneRecord,
    CellCount,
    DataRecord,
    LayerRecord,
    Provenance,
    StageCost,
    SubjectResult,
)
from bias_audit.results.history.recording import EntryState, record_audit, record_diff, record_run
from bias_audit.results.judge import judge
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.layer_curve import ControlPoint, Curve, CurvePoint, LayerCurve
from bias_audit.statistics.estimate import Estimate
from tests.report.synthetic import estimate

TARGETS = ("age", "race", "gender")
LAYERS = tuple(f"block{i}.conv" for i in range(17))
QUANTITIES = {
    "macro_auc": ("macro one-vs-rest AUC", 0.5),
    "balanced_accuracy": ("balanced accuracy", 0.2),
    "bits": ("information in bits", 0.0),
}
START = datetime(2026, 1, 4, 3, 0, tzinfo=UTC)


def criteria() -> tuple[Criterion, ...]:
    common: dict[str, Any] = {"rationale": "Chosen to show each verdict; no use is meant."}
    return tuple(
        Criterion.model_validate(common | each)
        for each in (
            {
                "name": "age is readable",
                "quantity": "macro_auc",
                "target": "age",
                "at_least": 0.5,
                "layer": "last",
            },
            {
                "name": "race stays low",
                "quantity": "macro_auc",
                "target": "race",
                "at_most": 0.74,
                "layer": "best",
            },
            {
                "name": "gender adds little",
                "quantity": "macro_auc",
                "of": "lift",
                "target": "gender",
                "at_most": 0.08,
                "layer": "last",
            },
        )
    )


def _curves(
    quantity: str, strength: float, layers: Sequence[str], rng: np.random.Generator
) -> LayerCurve:
    metric, chance = QUANTITIES[quantity]
    curves = []
    for index, target in enumerate(TARGETS):
        depth = np.linspace(0, 1, len(layers))
        rise = chance + (0.12 + 0.2 * strength) * (1 - 0.2 * index) * (
            0.55 + depth - 0.45 * depth**3
        )
        values = rise + rng.normal(0, 0.006, len(layers))
        points = []
        for layer, value in zip(layers, values, strict=True):
            control = estimate(chance + 0.08, 0.015, 1500)
            lift = estimate(value - control.value, 0.02, 1500)
            points.append(
                CurvePoint.model_construct(
                    layer=layer,
                    estimate=estimate(value, 0.014, 1500),
                    controls=(
                        ControlPoint.model_construct(name="pixels", estimate=control, lift=lift),
                    ),
                    lift=lift,
                    strongest="pixels",
                    p_value=0.0004,
                    adjusted_p=0.002,
                )
            )
        curves.append(
            Curve.model_construct(target=target, points=tuple(points), not_measured=None)
        )
    return LayerCurve.model_construct(
        block="layer_curve",
        detail=None,
        title=metric,
        quantity=quantity,
        metric=metric,
        chance=dict.fromkeys(TARGETS, chance),
        curves=tuple(curves),
    )


def _recall(rng: np.random.Generator, layer: str) -> GroupTable:
    rows = tuple(
        GroupRow(
            group=Group((("gender", level),)),
            n=700,
            estimate=estimate(float(rng.uniform(0.5, 0.8)), 0.03, 700),
        )
        for level in ("Male", "Female")
    )
    return GroupTable(
        title="Recall",
        quantity="recall",
        metric="recall",
        layer=layer,
        target="gender",
        chance=0.5,
        rows=rows,
    )


def make_zoo_audit(
    entry: str,
    *,
    dataset: str = "faces",
    strength: float = 0.5,
    started: datetime = START,
    weights: str = "",
    version: str = "0.1.0",
    manifest: str = "m" * 64,
    layers: Sequence[str] = LAYERS,
    failed: bool = False,
    backbones: Sequence[str] = (),
    seed: int = 0,
) -> AuditResult:
    """One audit with three curves over the layers, one table of groups, verdicts and costs."""
    rng = np.random.default_rng(seed)
    subjects = []
    for name in backbones or (entry,):
        blocks = tuple(_curves(q, strength, layers, rng) for q in QUANTITIES)
        analyses = [
            AnalysisResult.model_construct(
                kind="linear_probe",
                title="Linear decodability",
                params={},
                status="done",
                error=None,
                blocks=(*blocks, _recall(rng, layers[-2])),
                arrays="",
                findings=(),
                method=(),
                limits=(),
                seconds=41.0,
            )
        ]
        if failed:
            analyses.append(
                AnalysisResult(
                    kind="topomap",
                    title="Topographic maps",
                    params={},
                    status="failed",
                    error="layer 'x': expected one of 17 layers",
                    seconds=0.1,
                )
            )
        subjects.append(
            SubjectResult.model_construct(
                backbone=BackboneRecord(
                    name=name,
                    kind="timm",
                    architecture="resnet",
                    weights=f"{name}.in1k",
                    weights_sha256=(weights or hashlib.sha256(name.encode()).hexdigest()),
                    licence="Apache-2.0",
                    preprocessing={"height": 224},
                    layers=tuple(LayerRecord(name=each, n_units=64) for each in layers),
                    overrides={},
                    key_problems=(),
                    n_parameters=25_000_000,
                ),
                analyses=tuple(analyses),
                extraction={"images": 1508, "seconds": 60.0},
                controls=(),
                head=None,
                without_head=None,
                costs=(
                    StageCost(
                        stage="forward pass",
                        seconds=float(rng.uniform(40, 90)),
                        images=1508,
                        bytes=180_000_000,
                    ),
                    StageCost(stage="linear_probe", seconds=float(rng.uniform(30, 60))),
                ),
            )
        )
    return AuditResult.model_construct(
        schema_version=3,
        name=f"{dataset}_{entry}",
        description="",
        config={"name": "x"},
        data=DataRecord(
            name=dataset,
            kind="parametric",
            attributes=(AttributeRecord(name="gender", levels=("Male", "Female")),),
            cells=tuple(
                CellCount(group=Group((("gender", g),)), found=900, used=754)
                for g in ("Male", "Female")
            ),
            n_images=1508,
            n_identities=None,
            n_clusters=1500,
            label_origin="made up",
            licence="CC BY 4.0",
            cautions=(),
            notices=(),
            exclusions=(),
            manifest_sha256=manifest,
        ),
        subjects=tuple(subjects),
        verdicts=judge(criteria(), subjects),
        provenance=Provenance(
            started=started.isoformat(timespec="seconds"),
            seconds=131.5,
            command="bias-audit zoo run zoo.yaml",
            versions={"bias-audit": version, "torch": "2.9.0"},
            hardware={"device": "cpu"},
            seed=0,
            config_sha256="9f2c4be1a07744e0b3f4a2bd70c9d1f0",
            fingerprints={"weights": weights or entry, "labels": manifest[:8], "code": version},
            costs=(StageCost(stage="opening images", seconds=4.2, images=1508),),
        ),
        selftest=None,
    )


def keep(
    database: Path, result: AuditResult, *, dataset: str, entry: str, zoo: str = "demo"
) -> int:
    """Record it; its digest is that of what tells it from the others."""
    record = result.provenance
    own = f"{zoo}{dataset}{entry}{record.started}{result.subjects[0].backbone.weights_sha256}"
    day = record.started[:10]
    return record_audit(
        database,
        result,
        zoo=zoo,
        dataset=dataset,
        entry=entry,
        folder=f"{dataset}/{entry}/{day}",
        audit_sha256=hashlib.sha256(own.encode()).hexdigest(),
    )


def difference(outcome: str, value: float, half: float = 0.01, **other: Any) -> dict[str, Any]:
    """A change as a diff has it in JSON."""

    def told(v: float, h: float) -> dict[str, Any]:
        made: Estimate = estimate(v, h, 1500)
        return dict(vars(made))

    return {
        "backbone": "net",
        "quantity": "macro_auc",
        "target": "gender",
        "layer": LAYERS[-1],
        "group": None,
        "of": "estimate",
        "before": told(0.8, 0.014),
        "after": told(0.8 + value, 0.014),
        "difference": told(value, half),
        "noise": 0.003,
        "p_value": 0.001,
        "adjusted_p": 0.01,
        "margin": 0.02,
        "better": "lower",
        "outcome": outcome,
        "paired": True,
    } | other


def compared(
    kind: str, detail: str, backbone: str, changes: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What of a diff in JSON a history keeps."""
    cause = {"kind": kind, "part": None, "detail": detail, "backbone": backbone, "is_minor": False}
    text = f"Likely cause: {kind}, the only difference that numbers depend on."
    concluded = {"backbone": backbone, "causes": [kind], "text": text}
    return {"causes": [cause], "conclusions": [concluded], "changes": list(changes)}


def make_history(
    database: Path,
    *,
    entries: Sequence[str],
    datasets: Sequence[str] = ("faces", "portraits"),
    dates: int = 4,
    seed: int = 7,
) -> None:
    """Entries x datasets x dates; one entry's weights change in the middle, one analysis fails."""
    rng = np.random.default_rng(seed)
    strengths = rng.uniform(0.1, 1.0, len(entries))
    strengths[1 % len(entries)] = strengths[0]  # two that cannot be told apart
    states = []
    for dataset in datasets:
        for place, entry in enumerate(entries):
            ids = []
            for date in range(dates):
                is_new = place == 2 and date >= dates // 2
                made = make_zoo_audit(
                    entry,
                    dataset=dataset,
                    strength=float(strengths[place]) + 0.25 * is_new,
                    started=START + timedelta(days=7 * date, minutes=3 * place),
                    weights="e" * 64 if is_new else "",
                    version="0.1.0" if date < dates - 1 else "0.2.0",
                    failed=place == 3 and date == dates - 1,
                    seed=int(rng.integers(1 << 30)),
                )
                ids.append(keep(database, made, dataset=dataset, entry=entry))
            if len(ids) > 1:
                worse = place == 2
                changes = [
                    difference("worse", 0.06, backbone=entry)
                    if worse
                    else difference("equivalent", 0.002, backbone=entry),
                    difference("undecided", 0.015, 0.02, backbone=entry, target="age"),
                ]
                kind, detail = (
                    ("weights", "ab… -> ee…")
                    if worse
                    else ("software", "bias-audit 0.1.0 -> 0.2.0")
                )
                record_diff(database, ids[-2], ids[-1], compared(kind, detail, entry, changes))
            states.append(EntryState(dataset, entry, "audited", "code changed", ids[-1]))
    if len(entries) > 4:
        gone = states.pop()
        states.append(
            EntryState(gone.dataset, gone.entry, "stale", "labels changed", gone.audit_id)
        )
        states.append(EntryState(datasets[0], "new_net", "failed", "weights not found", None))
        states.append(EntryState(datasets[-1], "new_net", "stale", "", None))
    last = START + timedelta(days=7 * (dates - 1))
    record_run(
        database,
        zoo="demo",
        started=last.isoformat(timespec="seconds"),
        seconds=5170.0,
        command="bias-audit zoo run zoo.yaml",
        states=states,
    )
