"""What can be told of an image without any backbone: its quality, and a thumbnail."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import laplace

from bias_audit.arrays import Float32Array

Thumbnail = npt.NDArray[np.uint8]
QUALITIES = (
    "brightness",
    "contrast",
    "log sharpness",
    *(f"mean {colour}" for colour in ("red", "green", "blue")),
    *(f"deviation of {colour}" for colour in ("red", "green", "blue")),
    "saturation",
    "width",
    "height",
    "log aspect ratio",
    "log bytes",
    "log blockiness",
)
"""In the order of `quality`."""
SIDE = 16
"""Of the thumbnail."""
_BLOCK = 8
"""Side of the blocks that JPEG compresses one by one."""
_WHITE = np.float32(255)
_FLOOR = 1e-6
"""Keeps logarithms finite on flat images; far below one step of 8 bits squared."""


def quality(image: Image.Image, n_bytes: int) -> Float32Array:
    """Describe an image as a photographer would, shape (len(QUALITIES),).

    Brightness and contrast are mean and standard deviation of the grey values, sharpness is the
    variance of their Laplacian, blockiness how much larger steps across the borders of JPEG's
    blocks are than other steps. Grey values, colours and saturation run from 0 to 1, width and
    height are in pixels, logarithms are natural.

    Args:
        image: RGB, as decoded: neither cropped nor resized.
        n_bytes: Size of its file.
    """
    grey = np.asarray(image.convert("L"), dtype=np.float32) / _WHITE
    colours = np.asarray(image, dtype=np.float32).reshape(-1, 3) / _WHITE
    saturation = np.asarray(image.convert("HSV").getchannel("S"), dtype=np.float32)
    return np.array(
        [
            grey.mean(),
            grey.std(),
            math.log(float(laplace(grey).var()) + _FLOOR),
            *colours.mean(axis=0),
            *colours.std(axis=0),
            saturation.mean() / _WHITE,
            image.width,
            image.height,
            math.log(image.width / image.height),
            math.log(n_bytes),
            _log_blockiness(grey),
        ],
        dtype=np.float32,
    )


def _log_blockiness(grey: Float32Array) -> float:
    borders, others = [], []
    for lines in (grey, grey.T):
        steps = np.abs(np.diff(lines, axis=0)).mean(axis=1)
        at_border = np.arange(1, len(lines)) % _BLOCK == 0
        if not at_border.any() or at_border.all():
            return 0.0  # too small to tell
        borders.append(float(steps[at_border].mean()))
        others.append(float(steps[~at_border].mean()))
    return math.log((sum(borders) + _FLOOR) / (sum(others) + _FLOOR))


def thumbnail(image: Image.Image) -> Thumbnail:
    """The whole image at SIDE x SIDE, shape (SIDE, SIDE, 3)."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)
