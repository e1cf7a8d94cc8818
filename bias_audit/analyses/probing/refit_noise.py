"""How much a probe's numbers move when it is fitted to the same images and labels anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bias_audit.results.blocks import RefitNoise
from bias_audit.statistics.inference import Measured


class Refitted(Protocol):
    """One number, and what it is with other folds."""

    @property
    def probe(self) -> Measured:
        """As reported."""

    @property
    def refits(self) -> tuple[float, ...]:
        """With other folds."""


def refit_noise(found: Sequence[Refitted | None]) -> RefitNoise | None:
    """The standard deviation between fits with different folds, pooled over layers.

    The fits of one layer, the reported one among them, have the same images, labels, activations
    and procedure; folds are drawn anew, and with them the images that choose the regularisation.

    Args:
        found: One number per layer; None where a layer has none.

    Returns:
        None where no layer was fitted more than once.
    """
    rows = [(each.probe, each.refits) for each in found if each is not None and each.refits]
    if not rows:
        return None
    variances = [float(np.var([m.value, *refits], ddof=1)) for m, refits in rows]
    errors = [measured.standard_error for measured, _ in rows]
    pooled, sampling = float(np.mean(variances)), float(np.mean(np.square(errors)))
    return RefitNoise(
        sd=float(np.sqrt(pooled)),
        relative=float(np.sqrt(pooled / sampling)) if sampling > 0 else 0.0,
        refits=max(len(refits) for _, refits in rows),
        layers=len(rows),
    )
