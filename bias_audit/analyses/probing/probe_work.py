"""How much work probes are, for an estimate of the time before any is fitted."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bias_audit.analyses.analysis import Workload
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.targets import INTERSECTION
from bias_audit.groups import Attribute

_MORE_AXES, _MORE_LEVELS = 100, 16
"""Steps of narrow fits take as long as if they had these many more; measured."""
_PER_STRENGTH = 0.25
"""Time of a strength that is tried, relative to the last fit, with the one that was chosen."""
_CONTROL_LABELLINGS = 2
"""Controls are fitted to the labels and to one shuffle."""


def probe_work(
    settings: ProbeSettings, *, n_images: int, n_units: int, n_levels: int, labellings: int
) -> float:
    """Work of one call of `cross_fit`, in images x axes x levels of one fit.

    Args:
        settings: Folds and strengths of regularisation.
        n_images: Images of the target.
        n_units: Units; there are as many axes, but no more than images.
        n_levels: Levels of the target.
        labellings: The labels, and how often they are shuffled.
    """
    axes = min(n_units, n_images) + _MORE_AXES
    n_strengths = len(settings.strengths)
    path = 1 + _PER_STRENGTH * n_strengths if n_strengths > 1 else 1.0
    return labellings * settings.folds * path * n_images * axes * (n_levels + _MORE_LEVELS)


def controlled_work(
    settings: ProbeSettings, workload: Workload, targets: Iterable[str] | None
) -> float:
    """Work of probing targets at every layer, and on every control.

    Args:
        settings: Folds and strengths of regularisation.
        workload: Images, layers and controls.
        targets: Names of attributes, or "intersection"; None for all of these.
    """
    sizes = levels_of(workload.attributes)
    names = sizes if targets is None else targets
    return sum(_of_target(settings, workload, sizes[name]) for name in names)


def levels_of(attributes: tuple[Attribute, ...]) -> dict[str, int]:
    """Number of levels of every attribute, and of their intersection."""
    sizes = {attribute.name: len(attribute.levels) for attribute in attributes}
    return sizes | {INTERSECTION: math.prod(sizes.values())}


def widest(workload: Workload, layers: Iterable[str] | None) -> tuple[int, ...]:
    """Units of the layers that are named, or of the one that takes longest if none is."""
    if layers is None:
        return (max(workload.n_units.values()),)
    return tuple(workload.n_units[layer] for layer in layers if layer in workload.n_units)


def _of_target(settings: ProbeSettings, workload: Workload, n_levels: int) -> float:
    at_layers = (
        1 + workload.shuffles + workload.refits + _CONTROL_LABELLINGS * workload.layer_controls
    )
    probed = [(units, at_layers) for units in workload.n_units.values()]
    probed += [(units, _CONTROL_LABELLINGS) for units in workload.other_controls]
    return sum(
        probe_work(
            settings,
            n_images=workload.n_images,
            n_units=units,
            n_levels=n_levels,
            labellings=labellings,
        )
        for units, labellings in probed
    )
