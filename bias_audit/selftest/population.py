"""What the procedure would find with endless test images: what its intervals should cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bias_audit.analyses.probing.cross_fitting import cross_fit
from bias_audit.analyses.probing.logistic import principal_axes
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.data.sampling import stratified_folds
from bias_audit.selftest.designs import Design, draw
from bias_audit.statistics.influence import balanced_accuracy, macro_auc


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
    """The probe of one training set, on fresh images.

    The training set is as large as that of a fold's probe, with clusters as the design has them;
    the probe is fitted by the audit's own code, for which the fresh images are one more fold.

    Args:
        design: What is simulated.
        layer: Of which.
        n_fresh: Images of each level to test on, each a cluster of its own.
        rng: Draws the images and folds.
    """
    settings = ProbeSettings()
    separations = {layer: design.separations[layer]}
    n_train = design.per_level * (settings.folds - 1) // settings.folds
    only = Design(n_train, separations, design.n_levels, design.n_units, design.cluster_size)
    train, fresh = draw(only, rng), draw(only.of_size(n_fresh, 1), rng)
    codes = np.concatenate([train.codes[:, 0], fresh.codes[:, 0]])
    inner = stratified_folds(train.codes[:, 0], train.clusters, settings.folds - 1, rng)
    folds = np.concatenate([inner + 1, np.zeros(len(fresh.codes), dtype=np.int64)])
    axes = principal_axes(np.concatenate([train.by_layer[layer], fresh.by_layer[layer]]))
    (fitted,) = cross_fit(
        axes, codes[None], folds, n_classes=design.n_levels, strengths=settings.strengths
    )
    tested = folds == 0
    scores, truth = fitted.probabilities[tested], codes[tested]
    auc = macro_auc(scores, truth, np.zeros(len(truth), dtype=np.int64))
    predicted = np.asarray(scores.argmax(axis=1), dtype=np.int64)
    recall = balanced_accuracy(predicted, truth, design.n_levels)
    if auc is None or recall is None:
        raise ValueError(f"expected fresh images of every level, got {n_fresh} each")
    return Population(auc.value, recall.value)
