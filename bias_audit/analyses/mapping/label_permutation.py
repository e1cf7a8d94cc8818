"""Labels in random order: whole clusters of images, within strata."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import IntArray

Labels = npt.NDArray[np.bool_ | np.int64]
"""Whether an image is of the first of two groups, or the number of its group."""


@dataclass(frozen=True)
class _Class:
    """Clusters that may exchange their labels; all have their images in the same strata."""

    images: tuple[IntArray, ...]
    """Of each cluster, sorted by stratum."""
    is_pure: bool
    """Whether each cluster has one label and one stratum; such clusters may differ in size."""


@dataclass(frozen=True)
class Exchange:
    """Which images may receive which labels."""

    labels: Labels
    """As annotated, shape (n_images,)."""
    singles: tuple[IntArray, ...]
    """Images that are clusters of their own, by stratum."""
    classes: tuple[_Class, ...]
    n_fixed: int
    """Images whose label no permutation can change."""


def exchange(labels: Labels, strata: IntArray, clusters: IntArray) -> Exchange:
    """Find the clusters that may exchange labels.

    Clusters of one label and one stratum exchange their label with the others of that stratum,
    whatever their sizes. A cluster with several labels, or in several strata (one person at two
    ages), exchanges its labels as a whole with clusters that have as many images in the same
    strata. A permutation changes neither kind into the other, so the permutations form a group.

    Args:
        labels: Of two groups or of many, shape (n_images,).
        strata: Number of the stratum of each image, shape (n_images,).
        clusters: Cluster per image, shape (n_images,).
    """
    order = np.lexsort((strata, clusters))
    starts = np.flatnonzero(np.diff(clusters[order], prepend=np.nan))
    groups = np.split(order, starts[1:])
    alone = np.array([members[0] for members in groups if len(members) == 1], dtype=np.int64)
    single = {int(s): alone[strata[alone] == s] for s in np.unique(strata)}
    found: dict[tuple[str | int, ...], list[IntArray]] = defaultdict(list)
    for members in groups:
        if len(members) > 1:
            found[_key(labels[members], strata[members])].append(members)
    classes = []
    for key, images in found.items():
        pure = key[0] == "pure"
        if pure:
            images += [np.array([i]) for i in single.pop(int(key[1]), ())]
        classes.append(_Class(tuple(images), pure))
    singles = tuple(images for images in single.values() if len(images))
    return Exchange(labels, singles, tuple(classes), _fixed(labels, singles, classes))


def _key(labels: Labels, strata: IntArray) -> tuple[str | int, ...]:
    """Equal for clusters that may exchange labels; of one cluster's images."""
    if len(np.unique(labels)) == 1 and len(np.unique(strata)) == 1:
        return "pure", int(strata[0])
    return tuple(strata.tolist())


def _fixed(labels: Labels, singles: tuple[IntArray, ...], classes: list[_Class]) -> int:
    fixed = sum(len(images) for images in singles if len(np.unique(labels[images])) == 1)
    for each in classes:
        vectors = {tuple(labels[images][: 1 if each.is_pure else None]) for images in each.images}
        if len(vectors) == 1:
            fixed += sum(map(len, each.images))
    return fixed


def permuted(how: Exchange, n_draws: int, rng: np.random.Generator) -> Labels:
    """Draw labellings that are as likely as the annotated one if groups do not differ.

    Returns:
        Shape (n_draws, n_images).
    """
    drawn = np.tile(how.labels, (n_draws, 1))
    for images in how.singles:
        drawn[:, images] = rng.permuted(drawn[:, images], axis=1)
    for each in how.classes:
        taken = rng.permuted(np.tile(np.arange(len(each.images)), (n_draws, 1)), axis=1)
        images = np.concatenate(each.images)
        if each.is_pure:
            own = how.labels[[members[0] for members in each.images]]
            place = np.repeat(np.arange(len(each.images)), [len(m) for m in each.images])
            drawn[:, images] = own[taken][:, place]
        else:
            vectors = how.labels[np.stack(each.images)]
            drawn[:, images] = vectors[taken].reshape(n_draws, -1)
    return drawn
