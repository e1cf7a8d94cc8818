"""Leaving out the images of intersections that show few people.

An audit publishes many numbers about the same images: values of intersections, of attributes
alone, of all, and differences of these. With their numbers of images, a small group follows from
the others as what is left. So its images are in none of them. Whatever sums images by their
labels is then a sum of whole intersections, and so is every combination of such sums: none of them
rests on fewer people than the smallest intersection that was kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bias_audit.analyses.small_groups import independent_images
from bias_audit.arrays import IntArray
from bias_audit.data.faces import Exclusion, Faces
from bias_audit.errors import DataError
from bias_audit.groups import intersections


def small_intersections(faces: Faces, fewest: int) -> IntArray:
    """Intersections that have images, but fewer than `fewest` independent ones, ascending."""
    counts = independent_images(faces.table.cells, faces.clusters, faces.table.n_cells)
    return np.flatnonzero((counts > 0) & (counts < fewest))


def without_small_intersections(
    faces: Faces, fewest: int, *, people: IntArray | None = None
) -> Faces:
    """The faces without those of small intersections, which the ledger of exclusions counts.

    The ledger names the intersection, not the file: who is shown is not for a run folder.

    Args:
        faces: As drawn.
        fewest: Independent images that an intersection needs.
        people: Clusters to count by, shape (n_images,); default: the faces' own.

    Raises:
        DataError: None has as many.
    """
    counted = faces if people is None else replace(faces, clusters=people)
    table, small = faces.table, small_intersections(counted, fewest)
    is_kept = ~np.isin(table.cells, small)
    if not is_kept.any():
        largest = independent_images(table.cells, counted.clusters, table.n_cells).max()
        raise DataError(
            f"{table.name}: expected an intersection of {fewest} independent images or more, so "
            f"that no number rests on fewer people, got at most {largest}; name fewer attributes, "
            "raise sampling.max_per_intersection, or lower small_groups.suppress_below"
        )
    if not len(small):
        return faces
    kept = np.flatnonzero(is_kept)
    gone = {table.references[image].label for image in np.flatnonzero(~is_kept)}
    exclusions = (
        *(entry for entry in table.exclusions if entry.reference not in gone),
        *_withheld(counted, small, fewest),
    )
    notice = (
        f"images of intersections with fewer than {fewest} independent images are left out, so "
        f"that no number rests on fewer people: {len(table) - len(kept)} of {len(table)} images, "
        f"{len(small)} of {table.n_cells} intersections"
    )
    used = replace(table.only(kept), exclusions=exclusions, notices=(*table.notices, notice))
    return replace(
        faces,
        table=used,
        clusters=faces.clusters[kept],
        sha256=tuple(faces.sha256[image] for image in kept),
    )


def _withheld(faces: Faces, small: IntArray, fewest: int) -> Iterator[Exclusion]:
    """One entry for each image."""
    cells = faces.table.cells
    groups = intersections(faces.table.attributes)
    counts = independent_images(cells, faces.clusters, len(groups))
    for cell in small.tolist():
        entry = Exclusion(
            f"an image of {groups[cell].label}",
            "small intersection",
            f"independent images: {counts[cell]}, fewer than {fewest}",
        )
        yield from [entry] * int((cells == cell).sum())
