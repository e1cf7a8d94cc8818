"""Turning one layout so that it lies like another: rotation and reflection, nothing else.

A layout has no up or left of its own. Layouts of the same units are matched unit by unit
(orthogonal Procrustes, Schoenemann 1966, Psychometrika 31:1-10), those of different layers by the
colours of their maps (Krug, Ratul, Olson & Stober, arXiv:2204.03528).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator
from scipy.interpolate import LinearNDInterpolator
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import Delaunay
from scipy.special import stdtrit

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.group_distances import moments_of
from bias_audit.analyses.mapping.group_maps import Plane
from bias_audit.analyses.mapping.layout import (
    Distance,
    known_layout,
    layout_name,
    place,
    silent_units,
    unit_square,
)
from bias_audit.analyses.mapping.profiles import attribute_targets, profiles
from bias_audit.analyses.mapping.som_and_swarm import refine
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.targets import finest_target
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.config.schema import Component
from bias_audit.errors import AnalysisError
from bias_audit.statistics.estimate import Estimate

_NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Squares:
    """Squares of contrasts of standardised group means, averaged over units.

    Arrays have shape (n,), one entry for each contrast.
    """

    observed: FloatArray
    """As the images have them, with what noise adds."""
    noise: FloatArray
    """Variance of the contrast by chance alone, averaged over units."""
    freedom: FloatArray
    """Degrees of freedom of `noise` at a single unit."""
    variance: FloatArray
    """Of bootstrap draws of `observed`; NaN where there are none."""
    n_draws: int
    n_units: int
    scale_freedom: float
    """Degrees of freedom of the standard deviations that means are divided by."""

    @property
    def values(self) -> FloatArray:
        """Without the noise; may be negative.

        1 / s^2 is too large by (f - 2) / f for a standard deviation s of f degrees of freedom.
        """
        return np.asarray(self.observed * (1 - 2 / self.scale_freedom) - self.noise)

    def bounds(self, level: float) -> FloatArray:
        """The squares that the observed one does not contradict, shape (2, n).

        With a noise s in each of u independent units, and a scale of f degrees of freedom, the
        value of a square q has the variance (4 s q + 2 s^2 + 2 q^2 / f) / u. It depends on q, so
        that the interval holds every q from which the value lies at most t standard errors away
        (a score interval, as Wilson's 1927 of a share). Units are correlated: u follows from the
        variance of bootstrap draws. t is Student's with u times the freedom of one unit.
        """
        s, value = self.noise, self.values
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (4 * self.observed * s + 2 * s**2) / self.variance
            u = np.clip(u, 1, self.n_units)
            t_squared = stdtrit(u * self.freedom, (1 - level) / 2) ** 2
            middle = value + 2 * t_squared * s / u
            rest = t_squared * (2 * s**2 + 2 * value**2 / self.scale_freedom) / u
            half = np.sqrt(middle**2 - value**2 + rest)
        has_spread = np.nan_to_num(self.variance) > _NO_SPREAD**2
        return np.where(has_spread, np.stack([middle - half, middle + half]), np.nan)

    def estimates(self, ns: npt.NDArray[np.integer], level: float) -> tuple[Estimate | None, ...]:
        """Roots of the squares; None where the draws have no spread.

        Args:
            ns: Independent images of each, shape (n,).
            level: Coverage of the intervals.
        """
        roots = np.sqrt(np.maximum([self.values, *self.bounds(level)], 0))
        return tuple(
            Estimate(
                float(value),
                float(min(lower, value)),
                float(max(upper, value)),
                level=level,
                n=int(n),
                method="score interval of the squared distance; independent units from "
                f"{self.n_draws} Bayesian bootstrap draws over clusters of images; "
                "sampling noise subtracted",
            )
            if np.isfinite(upper)
            else None
            for (value, lower, upper), n in zip(roots.T, ns, strict=True)
        )


_FEWEST_UNITS = 4


class LayoutSettings(ProbeSettings):
    """How units are placed; the settings of probes choose the layer where none is named."""

    layout: Component = Field(
        default=Component(kind="tsne"), description="How units are placed, and its parameters."
    )
    distance: Distance = Field(default="cosine", description="Between the signatures of units.")
    refine_steps: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Steps of the particle swarm that spreads units over a disc; 0: none.",
    )

    @field_validator("layout")
    @classmethod
    def _known(cls, layout: Component) -> Component:
        return known_layout(layout)


def placed(
    subject: Subject, layer: str, number: int, moments: Moments, settings: LayoutSettings
) -> Plane:
    """Place units so that those which respond alike to all intersections are near.

    The same layer, moments and settings give the same places in every analysis.

    Args:
        subject: Whose layer.
        layer: Its name.
        number: Among the layers drawn.
        moments: Of the intersections, over the images that place the units.
        settings: Of the layout.

    Raises:
        AnalysisError: There are too few groups or units, or no unit differs between groups.
    """
    cells = profiles(subject, layer, finest_target(subject.faces.table), moments)
    n_groups = int((cells.counts > 0).sum())
    n_units = cells.means.shape[1]
    if n_groups < 2 or n_units < _FEWEST_UNITS:  # noqa: PLR2004
        raise AnalysisError(
            f"layer {layer}: a map needs images in two groups and {_FEWEST_UNITS} units, "
            f"got {n_groups} and {n_units}; widen the sampling, or name another layer"
        )
    signatures = cells.contrasts[cells.counts > 0].T
    silent = silent_units(signatures)
    if silent.all():
        raise AnalysisError(
            f"layer {layer}: every group has the same mean activations, so there is nothing to "
            "draw; check the weights, or name another layer"
        )
    rng = subject.rng("layout", layer)
    positions = place(settings.layout, signatures, settings.distance, rng)
    positions = refine(positions, settings.refine_steps, rng)
    name = layout_name(settings.layout, settings.distance, settings.refine_steps)
    return Plane(layer, number, name, unit_square(positions), int(silent.sum()))


_STEPS = 360
_TIE = 1e-9


def align_units(positions: FloatArray, reference: FloatArray) -> FloatArray:
    """Turn a layout so that its units lie as near as can be to where the reference has them.

    Args:
        positions: Shape (n_units, 2).
        reference: Of the same units in the same order, shape (n_units, 2).

    Returns:
        Shape (n_units, 2), about the reference's centre, in the layout's own size.

    Raises:
        ValueError: There are not as many units in both.
    """
    if positions.shape != reference.shape:
        raise ValueError(
            f"expected positions of the same units, got {positions.shape} and {reference.shape}"
        )
    own, theirs = (places - places.mean(axis=0) for places in (positions, reference))
    turn, _ = orthogonal_procrustes(own, theirs)
    return np.asarray(own @ turn + reference.mean(axis=0), dtype=np.float64)


def align_colours(
    positions: FloatArray, values: FloatArray, reference: FloatArray, theirs: FloatArray
) -> FloatArray:
    """Turn a layout so that its maps of groups look as much as can be like the reference's.

    Tried are 360 rotations and their mirror images, about the middle of the unit square. Looking
    alike is the cosine, over all units and groups, of the values and what the reference's maps,
    interpolated linearly, show at the places of the units. The first of the best is taken, the
    layout as it is before others.

    Args:
        positions: In [0, 1], shape (n_units, 2).
        values: Contrasts of the groups, shape (n_groups, n_units).
        reference: Positions in another layer, in [0, 1], shape (n_others, 2), not on one line.
        theirs: Contrasts of the same groups there, shape (n_groups, n_others).

    Returns:
        Shape (n_units, 2).

    Raises:
        ValueError: The groups are not the same number.
    """
    if len(values) != len(theirs):
        raise ValueError(
            f"expected values of the same groups, got {len(values)} and {len(theirs)}"
        )
    known = np.isfinite(values).all(axis=1) & np.isfinite(theirs).all(axis=1)
    own = values[known]
    drawn = LinearNDInterpolator(Delaunay(reference), theirs[known].T, fill_value=0.0)
    best, chosen = -np.inf, positions
    for turn in _turns():
        turned = (positions - 0.5) @ turn + 0.5
        likeness = _likeness(own, drawn(turned).T)
        if likeness > best + _TIE:
            best, chosen = likeness, turned
    return np.asarray(chosen, dtype=np.float64)


def align_plane(subject: Subject, plane: Plane, reference: Plane, images: IntArray) -> Plane:
    """Turn the layout of a layer by the maps of the levels of every attribute.

    Args:
        subject: Whose layers both are.
        plane: The layout to turn.
        reference: Of another layer, as it is drawn.
        images: Whose profiles are compared; the turn should not know images that test.
    """
    values, theirs = (
        np.concatenate(
            [
                profiles(subject, layer, target, moments).contrasts
                for target in attribute_targets(subject)
            ]
        )
        for layer in (plane.layer, reference.layer)
        for moments in [moments_of(subject, layer, images)]
    )
    turned = align_colours(plane.positions, values, reference.positions, theirs)
    return replace(plane, positions=unit_square(turned))


def _turns() -> list[FloatArray]:
    """Matrices that turn row vectors, shape (2, 2) each; the first changes nothing."""
    turns = []
    for mirror in (1.0, -1.0):
        for angle in 2 * np.pi * np.arange(_STEPS) / _STEPS:
            cosine, sine = np.cos(angle), np.sin(angle)
            turns.append(np.array([[mirror * cosine, mirror * sine], [-sine, cosine]]))
    return turns


def _likeness(one: FloatArray, other: FloatArray) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum()) / length if length > 0 else 0.0
