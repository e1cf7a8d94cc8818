"""Which images an audit uses, and how they are split into folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bias_audit.arrays import IntArray
from bias_audit.config.schema import Sampling
from bias_audit.data.duplicates import joined
from bias_audit.data.faces import Exclusion, Faces, FaceTable, NoUsableImageError
from bias_audit.data.scan import Scan, scan
from bias_audit.errors import DataError
from bias_audit.files import digest
from bias_audit.groups import intersections
from bias_audit.progress import Progress
from bias_audit.statistics.clusters import FEW_CLUSTERS, FEWEST_CLUSTERS, effective_clusters


def drawn(table: FaceTable, seen: Scan, limit: int | None, rng: np.random.Generator) -> Faces:
    """Draw at most `limit` usable images per intersection, and cluster them.

    Raises:
        NoUsableImageError: No image is usable.
    """
    if not len(seen.usable):
        raise NoUsableImageError(_nothing_left(table, seen), (*table.exclusions, *seen.exclusions))
    cells = table.cells[seen.usable]
    found = np.bincount(cells, minlength=table.n_cells).astype(np.int64)
    notices = [*table.notices, *seen.notices]
    chosen = np.arange(len(seen.usable), dtype=np.int64)
    if limit is not None and found.max() > limit:
        chosen = _draw(cells, limit, rng)
        notices.append(
            f"drew at most {limit} of up to {found.max()} images per intersection: "
            f"{len(chosen)} of {len(seen.usable)} usable images are used"
        )
    rows = seen.usable[chosen]
    near_sets = seen.near_sets[chosen]
    used = replace(table.only(rows), notices=tuple(notices))
    pairs = zip(used.references, seen.whites[chosen].tolist(), strict=True)
    shared = tuple(replace(own, white=white) if white else own for own, white in pairs)
    used = replace(used, references=shared)
    exclusions = (*table.exclusions, *seen.exclusions, *_twins(used, near_sets))
    return Faces(
        table=replace(used, exclusions=exclusions),
        found=found,
        clusters=_clusters(used.identities, near_sets),
        sha256=tuple(seen.sha256[index] for index in chosen),
    )


def _draw(cells: IntArray, limit: int, rng: np.random.Generator) -> IntArray:
    """Up to `limit` indices of each cell, ascending."""
    order = rng.permutation(len(cells))
    by_cell = order[np.argsort(cells[order], kind="stable")]
    counts = np.bincount(cells)
    counts = counts[counts > 0]
    place_in_cell = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_cell[place_in_cell < limit]).astype(np.int64)


def _clusters(identities: tuple[str, ...] | None, near_sets: IntArray) -> IntArray:
    """Sets joined by a person (an empty name is nobody's) or by being near duplicates."""
    groups = [near_sets.tolist()]
    if identities is not None:
        groups.append([name or None for name in identities])
    pairs = []
    for group in groups:
        first: dict[object, int] = {}
        for image, key in enumerate(group):
            if key is not None:
                pairs.append((first.setdefault(key, image), image))
    return joined(np.array(pairs, dtype=np.int64).reshape(-1, 2), len(near_sets))


def _twins(used: FaceTable, near_sets: IntArray) -> Iterator[Exclusion]:
    first: dict[int, int] = {}
    for image, number in enumerate(near_sets.tolist()):
        twin = first.setdefault(number, image)
        if twin == image:
            continue
        differs = (used.codes[image] != used.codes[twin]).any()
        detail = f"nearly the same picture as {used.references[twin].label}"
        yield Exclusion(
            used.references[image].label,
            "near duplicate",
            detail + (", which is annotated differently" if differs else ""),
            effect="kept, in one fold with its twin",
        )


def _nothing_left(table: FaceTable, seen: Scan) -> str:
    first = next(iter(seen.exclusions), None)
    example = f"; the first: {first.reference}: {first.reason}: {first.detail}" if first else ""
    return f"{table.name}: none of the {len(table)} annotated images is usable{example}"


_NAMED = 5
"""Groups named in a warning; the rest is counted."""


def prepare(
    table: FaceTable,
    sampling: Sampling,
    *,
    workers: int,
    seed: int,
    cache: Path | None,
    progress: Progress,
) -> Faces:
    """Scan a table, draw from every intersection, and cluster what belongs together.

    Args:
        table: What the source read.
        sampling: How many to draw, and whether to look for near duplicates.
        workers: Threads that decode.
        seed: Of the audit; the draw depends on it, the images and their order alone.
        cache: Folder for what the scan saw.
        progress: Where to report.

    Raises:
        DataError: No image is usable.
        OutputError: The cache cannot be written.
    """
    seen = scan(
        table,
        workers=workers,
        near_duplicates=sampling.near_duplicates,
        progress=progress,
        cache=cache,
    )
    rng = np.random.default_rng([seed, int(digest("draw")[:16], 16)])
    return drawn(table, seen, sampling.max_per_intersection, rng)


def stratified_folds(
    codes: IntArray, clusters: IntArray, n_folds: int, rng: np.random.Generator
) -> IntArray:
    """Deal images into folds, alike in every code, never splitting a cluster.

    Clusters are visited in random order, larger ones first; each goes where its codes are rarest,
    and among equals where there are fewest images. Without larger clusters, the folds' counts of
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
    totals = [0] * n_folds
    folds = np.empty(len(codes), dtype=np.int64)
    order = rng.permutation(len(members)).tolist()
    for number in sorted(order, key=lambda number: -len(members[number])):
        added = [levels[image] for image in members[number]]
        ties = rng.permutation(n_folds).tolist()
        costs = [
            (sum(count[level] for level in added), total, tie)
            for count, total, tie in zip(counts, totals, ties, strict=True)
        ]
        fold = costs.index(min(costs))
        folds[members[number]] = fold
        totals[fold] += len(added)
        for level in added:
            counts[fold][level] += 1
    return folds


def warnings(faces: Faces, folds: int) -> tuple[str, ...]:
    """What limits an audit of these faces: empty and small groups, missing levels, few clusters.

    Args:
        faces: The images to use.
        folds: Number of folds a probe would be fitted in.
    """
    return tuple(_warnings(faces, folds))


def _warnings(faces: Faces, folds: int) -> Iterator[str]:
    table = faces.table
    for index, attribute in enumerate(table.attributes):
        counts = np.bincount(table.codes[:, index], minlength=len(attribute.levels))
        missing = [level for level, n in zip(attribute.levels, counts, strict=True) if not n]
        if missing:
            yield f"{attribute.name}: no image of {_some(missing)}"
        if len(attribute.levels) - len(missing) < 2:  # noqa: PLR2004
            yield f"{attribute.name}: images of one level only, so there is nothing to tell apart"
    counts = np.bincount(table.cells, minlength=table.n_cells)
    names = [group.label for group in intersections(table.attributes)]
    empty = [name for name, n in zip(names, counts, strict=True) if not n]
    small = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if 0 < n < folds]
    if empty:
        yield f"{len(empty)} of {len(names)} intersections have no image to use: {_some(empty)}"
    if small:
        yield f"{len(small)} intersections have fewer images than {folds} folds: {_some(small)}"
    n_clusters = len(np.unique(faces.clusters))
    if n_clusters < folds:
        yield f"{n_clusters} independent sets of images are fewer than {folds} folds"
    yield from _few_clusters(faces)


def _few_clusters(faces: Faces) -> Iterator[str]:
    why = (
        f"fewer than {FEW_CLUSTERS}, so intervals are wide; below {FEWEST_CLUSTERS} nothing is "
        "measured"
    )
    everywhere = _effective(faces.clusters)
    if everywhere < FEW_CLUSTERS:
        yield f"the effective number of clusters is {everywhere:.1f}, {why}"
    for attribute, codes in zip(faces.table.attributes, faces.table.codes.T, strict=True):
        fewest, code = min((_effective(faces.clusters[codes == c]), c) for c in np.unique(codes))
        if fewest < FEW_CLUSTERS:
            level = attribute.levels[code]
            yield (
                f"{attribute.name}: {level} has the smallest effective number of clusters, "
                f"{fewest:.1f}, {why}"
            )


def _effective(clusters: IntArray) -> float:
    return effective_clusters(np.unique(clusters, return_counts=True)[1])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more
