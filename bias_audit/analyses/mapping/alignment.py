"""Turning one layout so that it lies like another: rotation and reflection, nothing else.

A layout has no up or left of its own. Layouts of the same units are matched unit by unit
(orthogonal Procrustes, Schoenemann 1966, Psychometrika 31:1-10), those of different layers by the
colours of their maps (Krug, Ratul, Olson & Stober, arXiv:2204.03528).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import Delaunay

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.group_maps import Plane
from bias_audit.analyses.mapping.halves import moments_of
from bias_audit.analyses.mapping.layout import unit_square
from bias_audit.analyses.mapping.profiles import attribute_targets, profiles
from bias_audit.arrays import FloatArray, IntArray

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
