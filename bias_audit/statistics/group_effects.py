"""The design matrix of groups by their attributes, reduced to what the groups can carry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray

_MOST_PAIR_EFFECTS = 200


@dataclass(frozen=True)
class Design:
    """Columns that span the effects of a regression over groups."""

    columns: FloatArray
    """Orthonormal, shape (n_groups, n_effects): fits depend on their span alone."""
    said: str
    """Such as "an intercept and main effects of age and race"."""


def design_of(
    codes: npt.NDArray[np.integer], *, names: Sequence[str] | None, pairs: bool, spare: int
) -> Design | None:
    """The largest design that leaves enough residual dimensions.

    Candidates, from large to small: main and pairwise effects (only if asked for, with at least
    twice as many groups as effects); main effects; main effects without the attribute that has
    the most levels, and so on; an intercept alone.

    Args:
        codes: Level of each group, shape (n_groups, n_attributes).
        names: Of the attributes.
        pairs: Whether pairwise effects are wanted.
        spare: Residual dimensions to leave.

    Returns:
        The design; None where not even an intercept leaves as many.
    """
    names = [f"attribute {i + 1}" for i in range(codes.shape[1])] if names is None else list(names)
    varying = [i for i in range(codes.shape[1]) if len(np.unique(codes[:, i])) > 1]
    if pairs and (with_pairs := _with_pairs(codes, names, varying)) is not None:
        return with_pairs
    dropped: list[str] = []
    for kept in _narrowing(codes, varying):
        columns = _span([_main(codes[:, i]) for i in kept], len(codes))
        if columns.shape[1] + spare <= len(codes):
            dropped = [names[i] for i in varying if i not in kept]
            return Design(columns, _told([names[i] for i in kept], dropped))
    return None


def _narrowing(codes: npt.NDArray[np.integer], varying: list[int]) -> Iterator[list[int]]:
    """All attributes, then without the one of the most levels, down to none."""
    order = sorted(varying, key=lambda i: len(np.unique(codes[:, i])))
    for size in range(len(order), -1, -1):
        yield sorted(order[:size])


def _with_pairs(
    codes: npt.NDArray[np.integer], names: Sequence[str], varying: list[int]
) -> Design | None:
    both = list(itertools.combinations(varying, 2))
    mains = {i: _main(codes[:, i]) for i in varying}
    n_effects = sum(mains[i].shape[1] * mains[j].shape[1] for i, j in both)
    if not both or n_effects > min(_MOST_PAIR_EFFECTS, len(codes) // 2):
        return None
    products = [
        (mains[i][:, :, None] * mains[j][:, None, :]).reshape(len(codes), -1) for i, j in both
    ]
    columns = _span([*mains.values(), *products], len(codes))
    if 2 * columns.shape[1] > len(codes):
        return None
    said = f"{_told([names[i] for i in varying], [])}, and their pairwise effects"
    return Design(columns, said)


def _main(codes: npt.NDArray[np.integer]) -> FloatArray:
    """A column per observed level but the first."""
    levels = np.unique(codes)[1:]
    return np.asarray(codes[:, None] == levels[None, :], dtype=np.float64)


def _span(parts: Sequence[FloatArray], n_groups: int) -> FloatArray:
    """Orthonormal columns with the span of an intercept and the parts."""
    matrix = np.concatenate([np.ones((n_groups, 1)), *parts], axis=1)
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    # where cells are missing, columns may depend on each other
    return np.asarray(left[:, singular > 1e-9 * singular[0]], dtype=np.float64)


def _told(kept: Sequence[str], dropped: Sequence[str]) -> str:
    if not kept:
        said = "an intercept alone"
    else:
        said = f"an intercept and main effects of {_listed(kept)}"
    if dropped:
        said += f" (too few groups for effects of {_listed(dropped)})"
    return said


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
