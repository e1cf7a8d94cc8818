"""Images decoded and resized in threads, ahead of the backbone."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from bias_audit.data.images import decode, read_bytes

if TYPE_CHECKING:
    from bias_audit.backbones.loading import Preprocessing
    from bias_audit.data.faces import ImageReference

Pixels = npt.NDArray[np.uint8]
_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_NICE = 10
"""Of decoding, on the scale of `nice`."""
_EXACT = 1e-6
"""What rounding may take from a side that is a whole number."""
_AHEAD = 2
"""Batches decoded before they are needed: enough to keep the backbone busy."""


def resize(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """An RGB image at the backbone's input size, shape (height, width, 3), uint8."""
    width, height = preprocessing.width, preprocessing.height
    method = _INTERPOLATIONS[preprocessing.interpolation]
    if preprocessing.resize == "crop":
        scale = max(
            width / preprocessing.crop_fraction / image.width,
            height / preprocessing.crop_fraction / image.height,
        )
        # The libraries of published weights drop the fraction of a pixel (torchvision's resize).
        size = int(image.width * scale + _EXACT), int(image.height * scale + _EXACT)
        image = image.resize(size, method) if size != image.size else image
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    elif image.size != (width, height):
        image = image.resize((width, height), method)
    return np.asarray(image, dtype=np.uint8)


def _give_way() -> None:
    """Let the threads of the forward pass go first, each of which waits for the slowest of them.

    Where cores are idle, decoding is as fast as ever; where none is, it takes the pauses.
    """
    if sys.platform == "linux":  # elsewhere only whole processes have a priority
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def decoded_batches(
    references: Sequence[ImageReference],
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    workers: int,
    start: int = 0,
) -> Generator[tuple[int, Pixels]]:
    """Batches in order, each with the index of its first image.

    Args:
        references: The images; only those from `start` on are read.
        preprocessing: Decides the size.
        batch_size: Images per batch; the last may be smaller.
        workers: Threads; decoding releases the interpreter's lock.
        start: Index to begin at, a multiple of `batch_size`.

    Yields:
        (first index, pixels of shape (n_batch, height, width, 3)).

    Raises:
        DataError: An image that was readable when scanned is no longer.
    """

    def load(reference: ImageReference) -> Pixels:
        return resize(decode(read_bytes(reference), reference.white, reference.box), preprocessing)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode", initializer=_give_way)
    waiting: deque[tuple[int, list[Future[Pixels]]]] = deque()
    firsts = iter(range(start, len(references), batch_size))

    def submit() -> None:
        first = next(firsts, None)
        if first is not None:
            batch = references[first : first + batch_size]
            waiting.append((first, [pool.submit(load, reference) for reference in batch]))

    try:
        for _ in range(_AHEAD):
            submit()
        while waiting:
            first, futures = waiting.popleft()
            pixels = np.stack([future.result() for future in futures])
            submit()
            yield first, pixels
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
