"""Linear probes: scores for every image from a probe that never saw it.

Regularised linear discriminants of standardised unit activations (see `discriminant`), used as in
Alain & Bengio 2016 (arXiv:1610.01644), against the same procedure on shuffled labels (Hewitt &
Liang 2019, arXiv:1909.03368).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.analyses.analysis import Control, Subject, Workload
from bias_audit.analyses.probing.discriminant import (
    DECIDING,
    WIDE,
    FoldSums,
    Labelling,
    LinearMap,
    Probe,
    Standardised,
    agreement,
    cross_fit,
    reading_bytes,
)
from bias_audit.analyses.targets import Measurable, Target, level_counts, measurable
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.cache import Arrays, Cached, Input
from bias_audit.config.schema import Strict
from bias_audit.data.faces import FaceTable
from bias_audit.data.sampling import stratified_folds
from bias_audit.device import device_for
from bias_audit.errors import AnalysisError
from bias_audit.files import digest
from bias_audit.statistics.inference import Measured

ProbabilityArray = npt.NDArray[np.float32]
Shrinkage = Annotated[float, Field(ge=1e-5, le=1)]


class ProbeSettings(Strict):
    """How probes are fitted; analyses with the same settings share their probes."""

    folds: int = Field(default=5, ge=3, le=50, description="Parts of the cross-validation.")
    shrinkage: Shrinkage | Annotated[tuple[Shrinkage, ...], Field(min_length=1)] = Field(
        default=(0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9),
        description="How far the covariance within groups is drawn towards that of unrelated "
        "units; more is more regularised: one value, or several from which each fold chooses on "
        "its training images.",
    )

    @property
    def probes(self) -> ProbeSettings:
        """These settings alone, without those of the analysis that extends them."""
        return ProbeSettings(folds=self.folds, shrinkage=self.shrinkage)

    @property
    def shrinkages(self) -> tuple[float, ...]:
        """The values to choose from."""
        return self.shrinkage if isinstance(self.shrinkage, tuple) else (self.shrinkage,)


def too_few_images(settings: ProbeSettings, faces: FaceTable) -> tuple[str, ...]:
    """A message if no attribute has two levels with an image for every fold."""
    n_out = sum(exclusion.effect == "left out" for exclusion in faces.exclusions)
    left_out = f" ({n_out} more were left out: `bias-audit data check` shows why)" if n_out else ""
    if len(faces) < settings.folds:
        return (
            f"folds: expected at most as many folds as images, got {settings.folds} folds and "
            f"{len(faces)} images{left_out}; add images or lower the number of folds",
        )
    enough = [np.count_nonzero(np.bincount(codes) >= settings.folds) for codes in faces.codes.T]
    if max(enough) >= 2:  # noqa: PLR2004
        return ()
    names = ", ".join(attribute.name for attribute in faces.attributes)
    return (
        f"folds: expected an attribute with two levels of at least {settings.folds} images each, "
        f"as many as folds, got none among {names}, so a probe has nothing to predict{left_out}; "
        "add images or lower the number of folds",
    )


@dataclass(frozen=True)
class ProbeSpec:
    """One probe: what it predicts, where, and how."""

    target: Target
    layer: str
    settings: ProbeSettings
    control: Control | None = None
    """Other numbers to fit it to, instead of the layer's activations."""


@dataclass(frozen=True)
class Scores:
    """Out-of-fold probabilities of one probe; rows of the arrays correspond."""

    part: Measurable
    """The images and levels that could be measured."""
    codes: IntArray
    """The labels the probe was to predict: annotated ones, or the shuffled, shape (n,)."""
    folds: IntArray
    """Fold of each image, shape (n,)."""
    dependence: float
    """Share of the scores' spread that depends on which images trained the probe, in [0, 1]."""
    read: Callable[[], ProbabilityArray] = field(repr=False)
    """Computes `probabilities`."""
    by_annotator: tuple[Scores, ...] = ()
    """Of probes of the labels that one annotator of each face gave, drawn several times; none
    where annotators do not disagree."""
    measures: dict[str, Measured | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What was measured of them, by quantity; nothing yet where `replace` made others of them."""

    @property
    def labelled(self) -> tuple[Scores, ...]:
        """What a number is the mean over: label sets, or where annotators agree the scores."""
        return self.by_annotator or (self,)

    @cached_property
    def probabilities(self) -> ProbabilityArray:
        """Of each kept level, shape (n, n_levels); computed when first needed."""
        return self.read()

    def once(self, quantity: str, measure: Callable[[], Measured | None]) -> Measured | None:
        """What `measure` gives, which is computed when first needed."""
        if quantity not in self.measures:
            self.measures[quantity] = measure()
        return self.measures[quantity]

    @property
    def predicted(self) -> IntArray:
        """The most probable level per image, as an index into the kept levels.

        Where it is another answer of the same face, it counts as the row's own.
        """
        best = np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)
        return self.part.accepted(best, self.codes)


@dataclass(frozen=True)
class ProbeScores:
    """Those of a probe, and of its fits to shuffled labels."""

    scores: Scores
    shuffled: tuple[Scores, ...]
    probes: LinearMap
    """Of `scores`."""
    shrinkage: FloatArray
    """That each fold chose, shape (n_folds,)."""


def not_finite(where: str) -> AnalysisError:
    """What is raised where activations cannot be used."""
    return AnalysisError(
        f"{where}: expected finite activations, got infinite or undefined ones; check the "
        "weights, and that the images are preprocessed as the backbone expects"
    )


def part_of(subject: Subject, target: Target, settings: ProbeSettings) -> Measurable:
    """The levels and images of a target that a probe can predict."""
    return measurable(target, subject.faces.clusters, settings.folds)


def out_of_fold_scores(subject: Subject, spec: ProbeSpec) -> Scores:
    """Predict every image by a probe fitted without its fold; see `probe`.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    return probe(subject, spec).scores


def probe(subject: Subject, spec: ProbeSpec) -> ProbeScores:
    """Fit a probe and its shuffled refits, all out of fold; kept in the subject's cache.

    All layers and controls of a target share their folds and shuffles. Labels are shuffled within
    folds, so that the folds stay as balanced as the original ones. Controls are refitted to one
    shuffle only, to learn how much their scores depend on the training images.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    return _Problem.of(subject, spec).probe()


def probe_and_refits(subject: Subject, spec: ProbeSpec) -> tuple[ProbeScores, tuple[Scores, ...]]:
    """The same, and the labels as annotated once more, with other folds for each refit.

    How much a number moves between these is what an audit of the same images and weights with
    another seed would show. Refits of one layer share no folds with those of another. Controls are
    not refitted.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    problem = _Problem.of(subject, spec)
    return problem.probe(), tuple(problem.refits()) if problem.has_refits else ()


def fit_together(subject: Subject, specs: Sequence[ProbeSpec]) -> None:
    """Keep what `probe_and_refits` gives in the subject's cache.

    Specs of one layer or control share the sums over its images, which cost most.

    Raises:
        AnalysisError: A target is not measurable, or the activations are not finite.
    """
    problems = [_Problem.of(subject, spec) for spec in specs]
    new = [problem for problem in problems if not problem.fitted.is_there]
    for problem, arrays in zip(new, _fit(new), strict=True):
        problem.fitted.entry.write(arrays)
    new = [each for each in problems if each.has_refits and not each.refitted.is_there]
    for problem, arrays in zip(new, _refit(new), strict=True):
        problem.refitted.entry.write(arrays)


_ENOUGH: Final = 2**20
"""Numbers of a layer above which its fits are worth a thread of their own."""
_ALLOWED: Final = 2**31
"""Bytes that the sums of all layers take that are fitted at once."""


def fits_at_once(subject: Subject, settings: ProbeSettings) -> int:
    """Calls of `fit_together` that may run side by side: sums of each stay in memory."""
    activations, n_images = subject.activations, len(subject.faces)
    widest = max(activations.units(layer).shape[1] for layer in activations.layers)
    if device_for(subject.device).type != "cpu" or n_images * widest < _ENOUGH:
        return 1
    sums = 8 * (settings.folds + 3) * widest**2 + 4 * n_images * widest + reading_bytes(widest)
    return max(int(_ALLOWED // sums), 1)


def is_scored(subject: Subject, spec: ProbeSpec, *, with_refits: bool = False) -> bool:
    """Whether a probe is in the subject's cache already; with those refits that it is to have."""
    problem = _Problem.of(subject, spec)
    needs_refits = with_refits and problem.has_refits
    return problem.fitted.is_there and (not needs_refits or problem.refitted.is_there)


@dataclass(frozen=True)
class _Problem:
    """What one probe is fitted to."""

    subject: Subject
    spec: ProbeSpec
    part: Measurable
    clusters: IntArray

    @classmethod
    def of(cls, subject: Subject, spec: ProbeSpec) -> _Problem:
        part = part_of(subject, spec.target, spec.settings)
        if part.not_measured is not None:
            raise AnalysisError(part.not_measured)
        return cls(subject, spec, part, subject.faces.clusters[part.images])

    @property
    def n_shuffles(self) -> int:
        return self.subject.shuffles if self.spec.control is None else 1

    @property
    def has_refits(self) -> bool:
        return self.spec.control is None and self.subject.refits > 0

    @cached_property
    def fitted(self) -> Cached:
        return self.subject.cached("probe", *self._inputs, compute=lambda: _fit([self])[0])

    @cached_property
    def refitted(self) -> Cached:
        inputs = (str(self.subject.refits), *self._inputs)
        return self.subject.cached("refits", *inputs, compute=lambda: _refit([self])[0])

    def probe(self) -> ProbeScores:
        stored = self.fitted.arrays()
        scores, *others = self.every_score(stored, stored["dependence"])
        by_annotator, shuffled = others[: -self.n_shuffles], others[-self.n_shuffles :]
        scores = replace(scores, by_annotator=tuple(by_annotator))
        return ProbeScores(scores, tuple(shuffled), _maps(stored)[0], stored["shrinkage"])

    def refits(self) -> Iterator[Scores]:
        stored, dependence = self.refitted.arrays(), self.fitted.arrays()["dependence"]
        for number in range(self.subject.refits):
            own = {name: each[number] for name, each in stored.items()}
            scores, *by_annotator = self.every_score(own, dependence[: len(own["codes"])])
            yield replace(scores, by_annotator=tuple(by_annotator))

    def every_score(self, stored: Arrays, dependence: FloatArray) -> list[Scores]:
        """Those of all labellings of the same folds."""
        rows = zip(_maps(stored), stored["codes"], dependence, strict=True)
        return [self.scores(each, codes, stored["folds"], float(d)) for each, codes, d in rows]

    def scores(
        self, probes: LinearMap, codes: IntArray, folds: IntArray, dependence: float
    ) -> Scores:
        device, images = device_for(self.subject.device), self.part.images
        read = partial(probes.probabilities, self.units, images, folds, device=device)
        return Scores(self.part, codes, folds, dependence, read)

    @cached_property
    def _inputs(self) -> tuple[Input, ...]:
        spec, control = self.spec, self.spec.control
        return (
            control or self.subject.activations,
            spec.target.name,
            spec.layer if control is None or control.by_layer else "",
            spec.settings.probes.model_dump_json(),
            str(self.n_shuffles),
            digest(
                *(
                    each.tobytes()
                    for each in (
                        self.part.images,
                        self.part.codes,
                        *self.part.label_sets,
                        self.clusters,
                        self.subject.faces.table.cells,
                    )
                )
            ),
        )

    @property
    def units(self) -> npt.NDArray[np.float32]:
        """Of all images."""
        source = self.spec.control or self.subject.activations
        return source.units(self.spec.layer)

    def standardised(self) -> Standardised:
        device = device_for(self.subject.device)
        try:
            return Standardised(self.units, self.part.images, device=device)
        except ValueError as error:
            control = self.spec.control
            where = f"layer {self.spec.layer}" if control is None else control.name
            raise not_finite(where) from error


def _folds(problems: Sequence[_Problem], *purpose: str) -> list[IntArray]:
    """Folds of every problem's images, shared as far as that suits."""
    if not problems:
        return []
    subject, n_folds = problems[0].subject, problems[0].spec.settings.folds
    cells, clusters = subject.faces.table.cells, subject.faces.clusters
    shared = stratified_folds(cells, clusters, n_folds, subject.rng(*purpose))
    return [
        folds_for(
            each.spec.target,
            each.part,
            each.clusters,
            shared,
            subject.rng(*purpose, each.spec.target.name),
        )
        for each in problems
    ]


def folds_for(
    target: Target,
    part: Measurable,
    clusters: IntArray,
    shared: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """The folds of all images where all are measured and these suit the target, else its own.

    Clusters are by image of the part, (n,), the shared folds by image, (n_images,).

    Raises:
        AnalysisError: See `dealt`.
    """
    if len(part.images) == len(shared) and is_balanced(part.codes, clusters, shared):
        return shared
    return dealt(target, part, clusters, int(shared.max()) + 1, rng)


_TIMES_DEALT = 20


def dealt(
    target: Target, part: Measurable, clusters: IntArray, n_folds: int, rng: np.random.Generator
) -> IntArray:
    """Folds with every level of a target in each; clusters are by image of the part, (n,).

    Raises:
        AnalysisError: A few people have so many of the images that this was not found.
    """
    for _ in range(_TIMES_DEALT):
        folds = stratified_folds(part.codes, clusters, n_folds, rng)
        if counts_in_folds(part.codes, clusters, folds).min() > 0:
            return folds
    raise AnalysisError(
        f"{target.described}: expected every group in each of {n_folds} folds, but a few people "
        "have too many of the images; lower folds, or limit the images of each person"
    )


def is_balanced(codes: IntArray, clusters: IntArray, folds: IntArray) -> bool:
    """Whether every level has about its share of clusters in every fold.

    That is as many as whole ones fit, but no more than folds: then folds can be made within each.
    All are by image, (n_images,).
    """
    counts = counts_in_folds(codes, clusters, folds)
    n_folds = len(counts)
    return bool((counts >= np.minimum(n_folds, counts.sum(axis=0) // n_folds)).all())


def counts_in_folds(codes: IntArray, clusters: IntArray, folds: IntArray) -> IntArray:
    """Clusters of each level in each fold, (n_folds, n_levels); all by image, (n_images,)."""
    seen = np.unique(np.stack([folds, codes, clusters]), axis=1)
    counts = np.zeros((int(folds.max()) + 1, int(codes.max()) + 1), dtype=np.int64)
    np.add.at(counts, (seen[0], seen[1]), 1)
    return counts


def _maps(stored: Arrays) -> list[LinearMap]:
    """Of every labelling."""
    rows = zip(stored["weights"], stored["bias"], strict=True)
    return [LinearMap(stored["mean"], weights, bias) for weights, bias in rows]


@dataclass
class _Job:
    """A problem with the folds and labellings that it is fitted to, and then the probes."""

    problem: _Problem
    folds: IntArray
    labellings: list[Labelling]
    probes: list[list[Probe]] = field(default_factory=list)
    agreements: list[float] = field(default_factory=list)
    maps: list[LinearMap] = field(default_factory=list)

    @classmethod
    def of(cls, problem: _Problem, folds: IntArray, *others: IntArray) -> _Job:
        """Labels of a problem, those of one annotator, and others, (n,) each."""
        codes, n_levels = problem.part.codes, len(problem.part.levels)
        drawn = (_in_every_fold(each, codes, folds) for each in problem.part.label_sets)
        return cls(problem, folds, [Labelling(c, n_levels) for c in (codes, *drawn, *others)])

    @property
    def arrays(self) -> Arrays:
        return {
            "folds": self.folds,
            "codes": np.stack([labelling.codes for labelling in self.labellings]),
            "mean": self.maps[0].mean,
            "weights": np.stack([each.weights for each in self.maps]),
            "bias": np.stack([each.bias for each in self.maps]),
        }


def _run(jobs: Sequence[_Job]) -> None:
    """Fit all, with one reading of the images for those that share images and folds."""
    shared: dict[bytes, list[_Job]] = {}
    for job in jobs:
        key = job.problem.part.images.tobytes() + job.folds.tobytes()
        shared.setdefault(key, []).append(job)
    for together in shared.values():
        units = together[0].problem.standardised()
        sums = FoldSums.of(units, together[0].folds, together[0].problem.clusters)
        labellings = [each for job in together for each in job.labellings]
        settings = together[0].problem.spec.settings
        fits = iter(cross_fit(sums, labellings, settings.shrinkages))
        for job in together:
            for labelling in job.labellings:
                probes = next(fits)
                job.probes.append(probes)
                with sums.cores():
                    job.agreements.append(agreement(sums, labelling, probes))
                job.maps.append(units.linear_map(probes))


def _refit(problems: Sequence[_Problem]) -> list[Arrays]:
    found: list[list[Arrays]] = [[] for _ in problems]
    for number in range(problems[0].subject.refits if problems else 0):
        every = _folds(problems, "refit", problems[0].spec.layer, str(number))
        jobs = [_Job.of(each, folds) for each, folds in zip(problems, every, strict=True)]
        _run(jobs)
        for job, own in zip(jobs, found, strict=True):
            own.append(job.arrays)
    return [{name: np.stack([each[name] for each in own]) for name in own[0]} for own in found]


def _fit(problems: Sequence[_Problem]) -> list[Arrays]:
    jobs = []
    for problem, folds in zip(problems, _folds(problems, "folds"), strict=True):
        codes = problem.part.codes
        rng = problem.subject.rng("shuffle", problem.spec.target.name)
        shuffles = (
            shuffle_within_folds(codes, folds, problem.clusters, rng, problem.part.pictures)
            for _ in range(problem.n_shuffles)
        )
        jobs.append(_Job.of(problem, folds, *shuffles))
    _run(jobs)
    return [
        {
            **job.arrays,
            "dependence": _dependence(np.array(job.agreements), job.problem.n_shuffles),
            "shrinkage": np.array([probe.shrinkage for probe in job.probes[0]]),
        }
        for job in jobs
    ]


def _in_every_fold(labels: IntArray, codes: IntArray, folds: IntArray) -> IntArray:
    """Labels of one annotator, with as few of the usual ones as put each level in every fold.

    All are by image, (n,); the usual labels, the codes, have each level in every fold.
    """
    found, shape = labels.copy(), (int(folds.max()) + 1, int(codes.max()) + 1)
    while True:
        there = np.zeros(shape, dtype=np.bool_)
        there[folds, found] = True
        absent = ~there[folds, codes]
        if not absent.any():
            return found
        found[absent] = codes[absent]


def _dependence(agreements: FloatArray, n_shuffles: int) -> FloatArray:
    """Share of the scores' spread that is due to which images trained.

    Agreements are of the labels first, then of the shuffled ones. Scores of probes fitted to
    shuffled labels depend on the training images wholly; how far the probes of two folds agree
    then is due to the images that both trained on.
    """
    by_overlap = float(agreements[-n_shuffles:].mean())
    if by_overlap < 1:
        return np.clip((1 - agreements) / (1 - by_overlap), 0, 1)
    return np.ones(len(agreements))


def shuffle_within_folds(
    codes: IntArray,
    folds: IntArray,
    clusters: IntArray,
    rng: np.random.Generator,
    pictures: IntArray | None = None,
) -> IntArray:
    """Give the labels of each fold to its images in a random order.

    Clusters are laid end to end in one random order and read off in another, so that images of one
    cluster mostly receive labels that came from one cluster; with single images this is a plain
    permutation. All answers of a face (rows of one picture, default: each row is one) go together
    to one with as many. All arrays are by row, (n_images,); counts of labels stay the same in
    every fold.
    """
    shuffled = codes.copy()
    pictures = np.arange(len(codes)) if pictures is None else pictures
    rows = np.argsort(pictures, kind="stable")
    sizes = np.unique(pictures, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    first = rows[starts]
    _, cluster = np.unique(clusters[first], return_inverse=True)
    n_clusters = int(cluster.max(initial=-1)) + 1
    alike = np.stack([folds[first], sizes])
    for fold, size in np.unique(alike, axis=1).T:
        members = np.flatnonzero((alike[0] == fold) & (alike[1] == size))
        given, taken = (
            members[np.argsort(rng.permutation(n_clusters)[cluster[members]], kind="stable")]
            for _ in range(2)
        )
        within = np.arange(size)
        to, of = (rows[starts[each][:, None] + within] for each in (taken, given))
        shuffled[to] = codes[of]
    return shuffled


_TRIED = 4
"""Values of the shrinkage that are tried before one does not improve: usual."""
_PER_CALL = 2e7
"""Products that take as long as one labelling's choice or fit of one fold, however small."""
_PER_SCORE = 3500
"""Products that a probability costs beyond its own: softmax, ranks and slopes; measured."""


def probe_work(
    settings: ProbeSettings,
    *,
    n_images: int,
    n_units: int,
    n_levels: int,
    labellings: int = 1,
    refits: int = 0,
) -> float:
    """Products of numbers that `fit_together` and the measures of its scores take, roughly.

    `n_levels` counts the levels of all labellings that share images: those of every target,
    shuffle and refit; each refit has folds of its own.
    """
    is_rotated, n_folds = n_units > WIDE * n_images, settings.folds
    axes = n_images if is_rotated else n_units
    n_tried = min(_TRIED, len(settings.shrinkages))
    n_factors = n_tried * (n_folds + 1) // 2 + 2 * n_folds
    # in double precision, which takes twice the time
    factors = 2 * n_factors * (axes**3 / 3 + axes**2 * n_levels)
    sums = n_images * axes**2 + (axes**3 * 10 if is_rotated else 0)
    deciding = n_folds * (n_tried + 1) * min(DECIDING, n_images // n_folds)
    scores = (2 * n_images + deciding) * n_levels * (axes + _PER_SCORE)
    calls = labellings * n_folds * (n_tried + 2) * _PER_CALL
    return (1 + refits) * (sums + factors) + scores + calls


def controlled_work(
    settings: ProbeSettings, workload: Workload, targets: Iterable[str] | None
) -> float:
    """Work of probing targets at every layer, and on every control.

    Targets are names of attributes, or "intersection"; None for all of these.
    """
    sizes = level_counts(workload.attributes)
    names = list(sizes if targets is None else targets)
    sets = [1 + workload.label_sets.get(name, 0) for name in names]
    layers, n_draws = workload.n_units.values(), workload.layer_controls
    probed = [(units, workload.shuffles, workload.refits, 1) for units in layers]
    probed += [(units, 1, 0, n_draws) for units in layers]
    probed += [(units, 1, 0, 1) for units in workload.other_controls]

    def work(units: int, shuffles: int, refits: int) -> float:
        labellings = [each * (1 + refits) + shuffles for each in sets]
        return probe_work(
            settings,
            n_images=workload.n_images,
            n_units=units,
            n_levels=sum(sizes[name] * n for name, n in zip(names, labellings, strict=True)),
            labellings=sum(labellings),
            refits=refits,
        )

    return sum(times * work(*each) for *each, times in probed)


def widest(workload: Workload, layers: Iterable[str] | None) -> tuple[int, ...]:
    """Units of the layers that are named, or of the one that takes longest if none is."""
    if layers is None:
        return (max(workload.n_units.values()),)
    return tuple(workload.n_units[layer] for layer in layers if layer in workload.n_units)
