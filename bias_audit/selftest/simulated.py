"""Simulated activations, audits and backbones with known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.probing.decodability import Decodability, decodability, probe_targets
from bias_audit.analyses.probing.discriminant import FoldSums, Labelling, Standardised, cross_fit
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.probing.separability import AUC
from bias_audit.analyses.targets import accepted, targets_of
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.cache import Cache
from bias_audit.config.schema import Criterion
from bias_audit.data.faces import Faces, FaceTable, ImageReference
from bias_audit.data.sampling import stratified_folds
from bias_audit.files import digest
from bias_audit.groups import Attribute
from bias_audit.progress import Silent
from bias_audit.results.audit import AnalysisResult, BackboneRecord, LayerRecord, SubjectResult
from bias_audit.results.judge import judge
from bias_audit.results.verdict import Outcome
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.statistics.influence import balanced_accuracy, macro_auc


@dataclass(frozen=True)
class Sample:
    """Simulated images: labels, who is shown, and the units of every layer."""

    attributes: tuple[Attribute, ...]
    codes: IntArray
    """Level index, shape (n_rows, n_attributes)."""
    clusters: IntArray
    """Shape (n_rows,)."""
    by_layer: Mapping[str, Float32Array]
    """Shape (n_rows, n_units) each."""
    baselines: tuple[SimulatedBaseline, ...] = ()
    pictures: IntArray | None = None
    """Image of each row, shape (n_rows,), where some have two answers."""


@dataclass(frozen=True)
class SimulatedBaseline:
    """A control made of numbers, as random weights (by layer) or pixels are."""

    kind: str
    name: str
    by_layer: bool
    values: Mapping[str, Float32Array]
    """Shape (n_images, n_units) by layer; under "" where it does not depend on the layer."""

    @property
    def fingerprint(self) -> str:
        """Of all numbers."""
        return digest(self.name, *(each.tobytes() for each in self.values.values()))

    def units(self, layer: str) -> Float32Array:
        """Shape (n_images, n_units)."""
        return self.values[layer if self.by_layer else ""]


@dataclass(frozen=True)
class InMemoryActivations:
    """Simulated activations."""

    by_layer: Mapping[str, Float32Array]
    cells: IntArray
    n_cells: int
    maps: Mapping[str, Float32Array] = field(default_factory=dict)
    """Positions by layer, shape (n_images, n_units, n_positions), where any are simulated."""
    reduced: str = "as simulated"

    @property
    def fingerprint(self) -> str:
        """Of all numbers."""
        return digest(*(values.tobytes() for values in self.by_layer.values()))

    @property
    def layers(self) -> tuple[str, ...]:
        """In the order given."""
        return tuple(self.by_layer)

    def units(self, layer: str) -> Float32Array:
        """Shape (n_images, n_units)."""
        return self.by_layer[layer]

    def positions(self, layer: str) -> Float32Array:
        """Shape (n_images, n_units, n_positions).

        Raises:
            KeyError: The layer has none.
        """
        return self.maps[layer]

    def moments(self, layer: str, *, positions: bool = False) -> Moments:
        """Moments of the units, or of positions, per intersection."""
        values = self.maps[layer] if positions else self.by_layer[layer]
        moments = Moments.empty(self.n_cells, values.shape[1:])
        moments.update(values, self.cells)
        return moments


def subject_of(sample: Sample, seed: int, cache: Cache | None = None) -> Subject:
    """A simulated audit's subject, with the settings that real audits have by default."""
    n = len(sample.codes)
    table = FaceTable(
        name="simulated",
        attributes=sample.attributes,
        references=tuple(ImageReference(Path(f"{image}.png")) for image in range(n)),
        codes=sample.codes,
        identities=None,
        splits=None,
        label_origin="drawn at random",
        licence="none",
        pictures=sample.pictures,
    )
    found = np.bincount(table.cells, minlength=table.n_cells).astype(np.int64)
    faces = Faces(table, found, sample.clusters, tuple(str(image) for image in range(n)))
    activations = InMemoryActivations(sample.by_layer, table.cells, table.n_cells)
    kept, controls = cache or Cache(), sample.baselines
    return Subject("simulated", faces, activations, kept, seed, Silent(), controls=controls)


LIKENESS = 0.9
"""Correlation of the units of two images of one cluster."""
COMMON = 0.5
"""Correlation of the noise of one image in two layers."""


@dataclass(frozen=True)
class Design:
    """One attribute in some layers."""

    per_level: int
    """Images."""
    separations: Mapping[str, float]
    """By layer: by how many standard deviations a level moves its unit."""
    n_levels: int = 3
    n_units: int = 24
    cluster_size: int = 1
    """Images per cluster; divides `per_level`."""
    several: float = 0.0
    """Share of clusters whose images have the next level as a second answer."""

    @property
    def attribute(self) -> Attribute:
        """What is planted."""
        return Attribute("planted", tuple(f"level {k}" for k in range(self.n_levels)))


def draw(design: Design, rng: np.random.Generator) -> Sample:
    """Simulated images of a design."""
    first = np.repeat(np.arange(design.n_levels, dtype=np.int64), design.per_level)
    clusters = np.arange(len(first), dtype=np.int64) // design.cluster_size
    place = np.arange(len(first)) % design.per_level // design.cluster_size
    n_two = round(design.several * (design.per_level // design.cluster_size))
    second = np.where(place < n_two, (first + 1) % design.n_levels, -1)
    pictures = np.repeat(np.arange(len(first), dtype=np.int64), 1 + (second >= 0))
    is_second = np.diff(pictures, prepend=-1) == 0
    codes = np.where(is_second, second[pictures], first[pictures])
    common = noise(clusters, design.n_units, rng)
    by_layer = {}
    for layer, separation in design.separations.items():
        own = noise(clusters, design.n_units, rng)
        units = np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * own
        units[pictures, codes] += separation
        by_layer[layer] = units.astype(np.float32)[pictures]
    return Sample(
        (design.attribute,),
        codes[:, None],
        clusters[pictures],
        by_layer,
        pictures=pictures if design.several else None,
    )


def noise(clusters: IntArray, n_units: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Units without any effect, alike within clusters, shape (n_images, n_units)."""
    own = rng.standard_normal((len(clusters), n_units))
    sizes = np.bincount(clusters)
    if sizes.max() == 1:
        return own
    shared = rng.standard_normal((len(sizes), n_units))[clusters]
    return np.asarray(np.sqrt(LIKENESS) * shared + np.sqrt(1 - LIKENESS) * own)


@dataclass(frozen=True)
class Population:
    """Of one layer: the mean over training sets, with what it depends on."""

    auc: float
    """Macro one-vs-rest."""
    recall: float
    """Of each level, which are all alike."""


def one_training_set(
    design: Design, layer: str, n_fresh: int, rng: np.random.Generator
) -> Population:
    """The probe of one training set at a layer, on `n_fresh` single images of each level.

    The training set is as large as that of a fold's probe, with clusters as the design has them;
    the probe is fitted by the audit's own code, for which the fresh images are one more fold.
    """
    settings = ProbeSettings()
    separations = {layer: design.separations[layer]}
    n_train = design.per_level * (settings.folds - 1) // settings.folds
    only = replace(design, per_level=n_train, separations=separations)
    alone = replace(only, per_level=n_fresh, cluster_size=1)
    train, fresh = draw(only, rng), draw(alone, rng)
    codes = np.concatenate([train.codes[:, 0], fresh.codes[:, 0]])
    inner = stratified_folds(train.codes[:, 0], train.clusters, settings.folds - 1, rng)
    folds = np.concatenate([inner + 1, np.zeros(len(fresh.codes), dtype=np.int64)])
    units = Standardised(np.concatenate([train.by_layer[layer], fresh.by_layer[layer]]))
    sums, labelling = FoldSums.of(units, folds), Labelling(codes, design.n_levels)
    (((probe,),),) = (cross_fit(sums, [labelling], settings.shrinkages, outer=[0]),)
    scores = probe.probabilities(sums.rows(sums.places[0])).numpy()
    truth = codes[sums.places[0]]
    one_fold = np.zeros(len(truth), dtype=np.int64)
    auc = macro_auc(scores, truth, one_fold, pictures=fresh.pictures)
    best = np.asarray(scores.argmax(axis=1), dtype=np.int64)
    predicted = accepted(best, truth, fresh.pictures)
    recall = balanced_accuracy(predicted, truth, design.n_levels)
    if auc is None or recall is None:
        raise ValueError(f"expected fresh images of every level, got {n_fresh} each")
    return Population(auc.value, recall.value)


LEVEL = 0.95
"""Of the intervals, and of criteria."""
ALPHA = 0.05
"""Error rate that claims are made at by default."""


def audited(sample: Sample, rng: np.random.Generator) -> tuple[Decodability, ...]:
    """Every attribute of a sample at every layer, by macro AUC."""
    subject = subject_of(sample, int(rng.integers(2**31)))
    names = [attribute.name for attribute in sample.attributes]
    targets = targets_of(subject.faces.table, names)
    probed = probe_targets(subject, targets, ProbeSettings())
    (found,) = decodability(subject, probed, AUC, level=LEVEL)
    return found


def is_claimed(results: tuple[Decodability, ...]) -> bool:
    """Whether any target is called linearly decodable at any layer."""
    return any(result.is_claimed for result in results)


def outcome(results: tuple[Decodability, ...], criterion: Criterion) -> Outcome:
    """The criterion's verdict on these results."""
    layers = tuple(LayerRecord(name=layer, n_units=1) for layer in results[0].probed.layers)
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
