"""A first answer in seconds: a sample of the images is opened, the rest is extrapolated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bias_audit.arrays import IntArray
from bias_audit.data.faces import Exclusion, FaceTable
from bias_audit.data.opening import open_once
from bias_audit.data.scan import noticed, unusable_images
from bias_audit.files import digest
from bias_audit.progress import Progress
from bias_audit.statistics.proportions import wilson_interval

SAMPLE = 600
"""Images opened: without one unusable among them, at most 0.6 % of all are."""
LEVEL = 0.95


@dataclass(frozen=True)
class QuickLook:
    """What a sample of the images shows."""

    n_opened: int
    unusable: tuple[Exclusion, ...]
    """Images of the sample that cannot be used."""
    share: tuple[float, float]
    """Interval for the share of unusable images among all; where all were opened, the share."""
    notices: tuple[str, ...]


def quick_look(
    table: FaceTable, *, workers: int, seed: int, progress: Progress, cache: Path | None
) -> QuickLook:
    """Open a sample of the images; duplicates are not looked for.

    Args:
        table: The annotated faces.
        workers: Threads that decode.
        seed: Of the audit.
        progress: Where to report.
        cache: Folder for what was seen; see `opening.open_once`.

    Raises:
        OutputError: The cache cannot be written.
    """
    rng = np.random.default_rng([seed, int(digest("quick look")[:16], 16)])
    sample = table.only(spread(table.cells, SAMPLE, rng))
    records = open_once(sample, workers=workers, progress=progress, cache=cache)
    unusable = unusable_images(sample, records)
    share = len(unusable) / len(sample)
    exact = len(sample) == len(table)
    return QuickLook(
        n_opened=len(sample),
        unusable=tuple(unusable),
        share=(share, share) if exact else wilson_interval(share, len(sample), level=LEVEL),
        notices=tuple(noticed(records[records["reason"] == b""], near_duplicates=True)),
    )


def spread(cells: IntArray, n: int, rng: np.random.Generator) -> IntArray:
    """Rows of a systematic sample: each as likely as any other, every cell in its share.

    Args:
        cells: Intersection of each image, shape (n_images,).
        n: Rows to draw; all, where there are no more.
        rng: Decides where the sample begins, and the order within cells.

    Returns:
        Rows, ascending, shape (min(n, n_images),).
    """
    if len(cells) <= n:
        return np.arange(len(cells), dtype=np.int64)
    order = rng.permutation(len(cells))
    order = order[np.argsort(cells[order], kind="stable")]
    steps = (rng.random() + np.arange(n)) * (len(cells) / n)
    return np.sort(order[steps.astype(np.int64)])
