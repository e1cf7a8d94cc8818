"""Which of the usable images an audit uses, and which of them belong together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bias_audit.arrays import IntArray
from bias_audit.data.duplicates import joined
from bias_audit.data.faces import Exclusion, Faces, FaceTable, NoUsableImageError
from bias_audit.data.scan import Scan


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
