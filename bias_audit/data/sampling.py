"""Which images an audit uses, and how they are split into folds."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bias_audit.arrays import IntArray
from bias_audit.config.schema import Sampling
from bias_audit.data.duplicates import joined
from bias_audit.data.faces import Exclusion, Faces, FaceTable, NoUsableImageError
from bias_audit.data.scan import Scan, scan
from bias_audit.errors import DataError, some
from bias_audit.groups import intersections
from bias_audit.progress import Progress
from bias_audit.statistics.clusters import FEW_CLUSTERS, FEWEST_CLUSTERS, effective_clusters


def prepare(
    table: FaceTable,
    sampling: Sampling,
    *,
    workers: int,
    seed: int,
    cache: Path | None,
    progress: Progress,
) -> Faces:
    """Draw from every intersection, open what was drawn, and cluster what belongs together.

    The draw depends on the seed, the images and their order alone.

    Raises:
        DataError: No image is usable.
    """
    seen = scan(
        table,
        workers=workers,
        near_duplicates=sampling.near_duplicates,
        progress=progress,
        cache=cache,
        limit=sampling.max_per_intersection,
        seed=seed,
    )
    return clustered(table, seen)


def clustered(table: FaceTable, seen: Scan) -> Faces:
    """The usable images of a scan, in clusters of one person or of near duplicates.

    Raises:
        NoUsableImageError: No image is usable.
    """
    once = table.once
    if not len(seen.usable):
        example = "".join(
            f"; the first: {first.reference}: {first.reason}: {first.detail}"
            for first in seen.exclusions[:1]
        )
        message = f"{table.name}: none of the {len(once)} annotated images is usable{example}"
        raise NoUsableImageError(message, (*table.exclusions, *seen.exclusions))
    used = once.only(seen.usable)
    twins, answers = _firsts(seen.near_sets.tolist()), table.all_answers
    answers = [answers[image] for image in seen.usable]
    exclusions = (*table.exclusions, *seen.exclusions, *_near_duplicates(used, answers, twins))
    # a cluster is joined by being near duplicates, or by a person; an empty name joins none
    names = used.identities or [""] * len(used)
    same = _firsts([name or place for place, name in enumerate(names)])
    pairs = [pair for firsts in (twins, same) for pair in enumerate(firsts)]
    clusters = joined(np.array(pairs, dtype=np.int64), len(used))
    rows, images = _rows_of(table, seen.usable)
    answered = table.only(rows)
    references = tuple(
        replace(own, white=white) if white else own
        for own, white in zip(answered.references, seen.whites[images].tolist(), strict=True)
    )
    found = table.cells[_rows_of(table, seen.possible)[0]]
    notices = (*table.notices, *seen.notices)
    return Faces(
        table=replace(answered, references=references, notices=notices, exclusions=exclusions),
        found=np.bincount(found, minlength=table.n_cells).astype(np.int64),
        clusters=clusters[images],
        sha256=tuple(seen.sha256[image] for image in images),
        n_found=len(seen.possible),
    )


def _rows_of(table: FaceTable, images: IntArray) -> tuple[IntArray, IntArray]:
    """All rows of some images, ascending, and the place of each row's image among these."""
    if table.pictures is None:
        return images, np.arange(len(images), dtype=np.int64)
    numbers = np.unique(table.pictures)[images]
    rows = np.flatnonzero(np.isin(table.pictures, numbers))
    return rows, np.searchsorted(numbers, table.pictures[rows])


def _firsts(keys: Sequence[Hashable]) -> list[int]:
    """The first place at which each key stands."""
    first: dict[Hashable, int] = {}
    return [first.setdefault(key, place) for place, key in enumerate(keys)]


def _near_duplicates(
    used: FaceTable, answers: Sequence[tuple[frozenset[int], ...]], twins: Sequence[int]
) -> Iterator[Exclusion]:
    for image, twin in enumerate(twins):
        if twin != image:
            differs = answers[image] != answers[twin]
            detail = f"nearly the same picture as {used.references[twin].label}"
            yield Exclusion(
                used.references[image].label,
                "near duplicate",
                detail + (", which is annotated differently" if differs else ""),
                effect="kept, in one fold with its twin",
            )


def stratified_folds(
    codes: IntArray, clusters: IntArray, n_folds: int, rng: np.random.Generator
) -> IntArray:
    """Deal images into folds, alike in every code, never splitting a cluster.

    Clusters are visited in random order, larger ones first; each goes where its codes are rarest,
    a code counting the more the fewer images have it, and among equals where there are fewest
    images. Without larger clusters, the folds' counts of
    any code differ by at most one.

    Args:
        codes: What to stratify on, shape (n_images,).
        clusters: Images with the same number stay together, shape (n_images,).
        n_folds: At least 2.
        rng: Decides the order and ties.

    Returns:
        Fold of each image, shape (n_images,).

    Raises:
        DataError: There are fewer clusters than folds.
    """
    sets = np.unique(clusters, return_inverse=True)[1]
    members: list[list[int]] = [[] for _ in range(int(sets.max(initial=-1)) + 1)]
    for image, number in enumerate(sets.tolist()):
        members[number].append(image)
    if n_folds < 2 or len(members) < n_folds:  # noqa: PLR2004
        raise DataError(
            f"expected at least 2 folds and as many sets of images as folds, got {n_folds} folds "
            f"and {len(members)} sets of images (one person, or near duplicates); use fewer folds "
            "or more images"
        )
    levels: list[int] = np.unique(codes, return_inverse=True)[1].tolist()
    counts = [[0] * (max(levels) + 1) for _ in range(n_folds)]
    share: list[float] = (1 / np.bincount(levels)).tolist()
    totals = [0] * n_folds
    folds = np.empty(len(codes), dtype=np.int64)
    order = rng.permutation(len(members)).tolist()
    for number in sorted(order, key=lambda number: -len(members[number])):
        added = [levels[image] for image in members[number]]
        ties = rng.permutation(n_folds).tolist()
        costs = [
            (round(sum(count[level] * share[level] for level in added), 9), total, tie)
            for count, total, tie in zip(counts, totals, ties, strict=True)
        ]
        fold = costs.index(min(costs))
        folds[members[number]] = fold
        totals[fold] += len(added)
        for level in added:
            counts[fold][level] += 1
    return folds


def warnings(faces: Faces, folds: int) -> tuple[str, ...]:
    """What limits an audit: empty and small groups, missing levels, few clusters."""
    return tuple(_warnings(faces, folds))


def _warnings(faces: Faces, folds: int) -> Iterator[str]:
    table = faces.table
    for attribute, codes in zip(table.attributes, table.codes.T, strict=True):
        counts = np.bincount(codes, minlength=len(attribute.levels))
        missing = [level for level, n in zip(attribute.levels, counts, strict=True) if not n]
        if missing:
            yield f"{attribute.name}: no image of {some(missing, '; ')}"
        if np.count_nonzero(counts) == 1:
            yield f"{attribute.name}: images of one group only, so there is nothing to compare"
    counts = np.bincount(table.cells, minlength=table.n_cells)
    names = [group.label for group in intersections(table.attributes)]
    empty = [name for name, n in zip(names, counts, strict=True) if not n]
    small = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if 0 < n < folds]
    if empty:
        these = some(empty, "; ")
        yield f"{len(empty)} of {len(names)} intersections have no image to use: {these}"
    if small:
        these = some(small, "; ")
        yield f"{len(small)} intersections have fewer images than {folds} folds: {these}"
    n_clusters = len(np.unique(faces.clusters))
    if n_clusters < folds:
        yield f"{n_clusters} independent sets of images are fewer than {folds} folds"
    why = (
        f"fewer than {FEW_CLUSTERS}, so intervals are wide; below {FEWEST_CLUSTERS} nothing is "
        "measured"
    )
    everywhere = _effective(faces.clusters)
    if everywhere < FEW_CLUSTERS:
        yield f"the effective number of clusters is {everywhere:.1f}, {why}"
    for attribute, codes in zip(table.attributes, table.codes.T, strict=True):
        fewest, code = min((_effective(faces.clusters[codes == c]), c) for c in np.unique(codes))
        if fewest < FEW_CLUSTERS:
            yield (
                f"{attribute.name}: {attribute.levels[code]} has the smallest effective number "
                f"of clusters, {fewest:.1f}, {why}"
            )


def _effective(clusters: IntArray) -> float:
    return effective_clusters(np.unique(clusters, return_counts=True)[1])
