"""Probe fits against the same fits one by one with scikit-learn; prints ratios, judges none."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from bias_audit.activations.extract import extract
from bias_audit.analyses.probing.discriminant import FoldSums, Labelling, Standardised, cross_fit
from bias_audit.analyses.probing.probes import ProbeSettings, shuffle_within_folds
from bias_audit.analyses.targets import targets_of
from bias_audit.arrays import IntArray
from bias_audit.backbones.loading import Backbone
from bias_audit.config.schema import Activations
from bias_audit.data.sampling import stratified_folds
from bias_audit.progress import Silent
from bias_audit.statistics.influence import macro_auc
from tests.benchmarks.test_extraction import backbone, fairface

N_FACES = 5226
FOLDS, STRENGTH = 5, 0.01


pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]


def test_many_fits_at_once_against_one_by_one(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All targets at layers of ResNet50, real and shuffled labels, with a chosen shrinkage.

    Scikit-learn fits logistic regressions of the first fold only, at one strength, which is then
    counted for every fold. Set PROBE_CACHE to keep the activations, and PROBE_LAYERS to layers of
    choice, such as "layer*.*".
    """
    faces = fairface(shared, N_FACES)
    activations = extract(
        resnet50(shared, os.environ.get("PROBE_LAYERS", "layer*.0").split(",")),
        faces,
        Activations(),
        cache=Path(os.environ.get("PROBE_CACHE", tmp_path)),
        progress=Silent(),
    ).activations
    targets = {t.name: t.codes for t in targets_of(faces.table)}
    clusters = faces.clusters
    ours = theirs = 0.0

    def say(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    for layer in activations.layers:
        units = np.asarray(activations.units(layer))
        alone, lowest = 0.0, 1.0
        folds = stratified_folds(faces.table.cells, clusters, FOLDS, np.random.default_rng(0))
        rng = np.random.default_rng(1)
        labellings = [
            Labelling(labels, int(codes.max()) + 1)
            for codes in targets.values()
            for labels in (codes, shuffle_within_folds(codes, folds, clusters, rng))
        ]
        began = time.perf_counter()
        standardised = Standardised(units)
        fits = cross_fit(FoldSums.of(standardised, folds), labellings, ProbeSettings().shrinkages)
        everything, first = np.arange(len(units)), folds == 0
        found = [
            standardised.linear_map(probes).probabilities(
                units, everything, folds, device=standardised.device
            )
            for probes in fits
        ]
        spent = time.perf_counter() - began
        for labelling, ours_here in zip(labellings, found, strict=True):
            seconds, plain = _one_by_one(units, labelling.codes, folds)
            alone += seconds * FOLDS
            codes = labelling.codes[first]
            lowest = min(lowest, _auc(ours_here[first], codes) - _auc(plain, codes))
        ours, theirs = ours + spent, theirs + alone
        ratio = alone / spent
        say(f"{layer}, {units.shape[1]} units: ratio {ratio:.1f}, AUC at least {lowest:+.4f}")
    say(f"all: {ours:.1f} s at once, {theirs:.1f} s one by one, ratio {theirs / ours:.1f}")


def resnet50(shared: Path, layers: list[str]) -> Backbone:
    strides = {
        f"layer{n}.0.conv{i}.stride": [side, side]
        for n in (2, 3, 4)
        for i, side in ((1, 2), (2, 1))
    }
    return backbone(
        "checkpoint",
        name="resnet50",
        architecture="resnet50",
        library="timm",
        file=shared / "weights" / "resnet50_keras_caffe_v1.safetensors",
        layers=layers,
        overrides=strides,
    )


def _one_by_one(
    units: npt.NDArray[np.float32], labels: IntArray, folds: IntArray
) -> tuple[float, npt.NDArray[np.float64]]:
    test = folds == 0
    began = time.perf_counter()
    training = units[~test].astype(np.float64)
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    deviation[deviation == 0] = 1
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    model.fit((training - mean) / deviation, labels[~test])
    probabilities = model.predict_proba((units[test] - mean) / deviation)
    return time.perf_counter() - began, probabilities


def _auc(probabilities: npt.NDArray[np.floating], labels: IntArray) -> float:
    statistic = macro_auc(probabilities, labels, np.zeros(len(labels), dtype=np.int64))
    assert statistic is not None
    return statistic.value
