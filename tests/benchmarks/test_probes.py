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
from bias_audit.analyses.probing.cross_fitting import cross_fit
from bias_audit.analyses.probing.logistic import principal_axes
from bias_audit.analyses.probing.probes import shuffle_within_folds
from bias_audit.analyses.targets import targets_of
from bias_audit.arrays import IntArray
from bias_audit.backbones.loading import Backbone
from bias_audit.config.schema import Activations
from bias_audit.data.sampling import stratified_folds
from bias_audit.progress import Silent
from bias_audit.statistics.influence import macro_auc
from tests.benchmarks.test_extraction import backbone, fairface

N_FACES = 5226
FOLDS, SHUFFLES, STRENGTH = 5, 1, 0.01


pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]


def test_many_fits_at_once_against_one_by_one(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All targets at layers of ResNet50, real and shuffled labels, at one strength.

    Scikit-learn fits the first fold only, which is then counted for every fold. Set PROBE_CACHE to
    keep the activations, and PROBE_LAYERS to layers of choice, such as "layer*.*".
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
        began = time.perf_counter()
        axes = principal_axes(units)
        spent = time.perf_counter() - began
        alone, worst = 0.0, 0.0
        for name, codes in targets.items():
            folds = stratified_folds(codes, clusters, FOLDS, np.random.default_rng(0))
            shuffled = shuffle_within_folds(codes, folds, clusters, np.random.default_rng(1))
            labellings = np.stack([codes, shuffled])
            n_classes = int(codes.max()) + 1
            began = time.perf_counter()
            fitted = cross_fit(axes, labellings, folds, n_classes=n_classes, strengths=(STRENGTH,))
            took = time.perf_counter() - began
            spent += took
            seconds, probabilities = _one_by_one(units, labellings, folds)
            alone += seconds * FOLDS
            for labels, found, plain in zip(labellings, fitted, probabilities, strict=True):
                first = folds == 0
                difference = _auc(found.probabilities[first], labels[first]) - _auc(
                    plain, labels[first]
                )
                worst = max(worst, abs(difference))
            say(f"{layer} {name}: {took:.1f} s at once, {seconds * FOLDS:.1f} s one by one")
        ours, theirs = ours + spent, theirs + alone
        say(f"{layer}, {units.shape[1]} units: ratio {alone / spent:.1f}, AUC within {worst:.4f}")
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
    units: npt.NDArray[np.float32], labellings: IntArray, folds: IntArray
) -> tuple[float, list[npt.NDArray[np.float64]]]:
    test = folds == 0
    probabilities = []
    began = time.perf_counter()
    for labels in labellings:
        training = units[~test].astype(np.float64)
        mean, deviation = training.mean(axis=0), training.std(axis=0)
        deviation[deviation == 0] = 1
        model = LogisticRegression(C=STRENGTH, max_iter=1000)
        model.fit((training - mean) / deviation, labels[~test])
        probabilities.append(model.predict_proba((units[test] - mean) / deviation))
    return time.perf_counter() - began, probabilities


def _auc(probabilities: npt.NDArray[np.floating], labels: IntArray) -> float:
    statistic = macro_auc(probabilities, labels, np.zeros(len(labels), dtype=np.int64))
    assert statistic is not None
    return statistic.value
