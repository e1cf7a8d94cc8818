"""What the clusters of every layer share: groups, their images, and how images are drawn again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.labellings import exchange, permuted
from bias_audit.analyses.mapping.profiles import bayesian_weights
from bias_audit.analyses.small_groups import independent_images
from bias_audit.analyses.targets import finest_target
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.data.sampling import stratified_folds

Small = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Groups:
    """The groups that are clustered, and their images."""

    kept: IntArray
    """As indices into all intersections, shape (n_groups,)."""
    attributes: tuple[int, ...]
    """Those of which several levels occur, by place."""
    levels: IntArray
    """Of each of these, those that occur numbered from 0, shape (n_groups, n_attributes)."""
    images: IntArray
    """As indices into the subject's, ascending, shape (n,)."""
    of_image: IntArray
    """Group of each image, 0 .. n_groups - 1, shape (n,)."""
    clusters: IntArray
    """Cluster of each image, numbered from 0, shape (n,)."""

    @property
    def n_levels(self) -> tuple[int, ...]:
        """Of each attribute, those that occur."""
        return tuple(int(column.max()) + 1 for column in self.levels.T)


def groups_of(
    subject: Subject, *, smallest: int, most: int, rng: np.random.Generator
) -> Groups | None:
    """Intersections of at least `smallest` independent images; at most `most` images of each.

    Drawn is an image of every cluster first, then a second one, and so on. Attributes of which one
    level occurs are left out. None where fewer than two groups are large enough.
    """
    table, clusters = subject.faces.table, subject.faces.clusters
    target = finest_target(table)
    alone = independent_images(target.codes, clusters, len(target.groups))
    kept = np.flatnonzero(alone >= smallest)
    if len(kept) < 2:  # noqa: PLR2004
        return None
    drawn = [_drawn(np.flatnonzero(target.codes == group), clusters, most, rng) for group in kept]
    images = np.sort(np.concatenate(drawn))
    shape = [len(attribute.levels) for attribute in table.attributes]
    levels = [_numbered(column) for column in np.unravel_index(kept, shape)]
    varied = tuple(place for place, column in enumerate(levels) if column.any())
    return Groups(
        kept=kept,
        attributes=varied,
        levels=np.stack([levels[place] for place in varied], axis=1),
        images=images,
        of_image=np.searchsorted(kept, target.codes[images]),
        clusters=_numbered(clusters[images]),
    )


def _drawn(own: IntArray, clusters: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """Images of a group, of as many clusters as there can be."""
    mixed = rng.permutation(own)
    number = _numbered(clusters[mixed])
    by_cluster = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[by_cluster], number[by_cluster])
    turn = np.empty(len(mixed), dtype=np.int64)
    turn[by_cluster] = np.arange(len(mixed)) - starts
    return np.asarray(mixed[np.argsort(turn, kind="stable")[:most]])


def _numbered(values: npt.NDArray[np.integer]) -> IntArray:
    """The same with numbers from 0, without gaps."""
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)


@dataclass(frozen=True)
class Redrawn:
    """The same images drawn again, alike at every layer."""

    weights: Float32Array
    """Of a Bayesian bootstrap over clusters, of all the subject's images, (n_draws, n_images)."""
    halves: Small
    """Half of the people that an image is in, 0 or 1, by split, shape (n_splits, n)."""
    shuffled: Small
    """Groups under labels in random order, shape (n_permutations, n)."""
    shuffled_halves: Small
    """The halves that go with them, each as even as before, (n_permutations, n_splits, n)."""
    within: Small
    """Groups when the labels of one attribute are in random order among images that are alike in
    the others, shape (n_attributes, n_permutations, n)."""


def redrawn(
    subject: Subject, groups: Groups, *, draws: int, splits: int, permutations: int
) -> Redrawn:
    """Weights, halves and labels for all layers; whole clusters of images stay together."""
    own, clusters = groups.of_image, groups.clusters
    rng = subject.rng("halves for clusters of groups")
    halves = np.stack([stratified_folds(own, clusters, 2, rng) for _ in range(splits)])
    # An image that takes another one's group takes its halves, so that no half loses a group.
    slots, number = np.unique(np.vstack([own, halves]), axis=1, return_inverse=True)
    everywhere = np.zeros_like(own)
    rng = subject.rng("labels for clusters of groups")
    taken = slots[:, permuted(exchange(number.ravel(), everywhere, clusters), permutations, rng)]
    within = []
    for place in range(groups.levels.shape[1]):
        others = np.delete(groups.levels, place, axis=1)
        strata = np.unique(others, axis=0, return_inverse=True)[1].ravel()[own]
        within.append(permuted(exchange(own, strata, clusters), permutations, rng))
    return Redrawn(
        weights=bayesian_weights(
            subject.faces.clusters, draws, subject.rng("weights for clusters")
        ),
        halves=halves.astype(np.int16),
        shuffled=taken[0].astype(np.int16),
        shuffled_halves=taken[1:].transpose(1, 0, 2).astype(np.int16),
        within=np.stack(within).astype(np.int16),
    )
