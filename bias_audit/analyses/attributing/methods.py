"""The attribution methods of Chatterjee et al. 2020, as captum computes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from captum.attr import (
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn


@dataclass(frozen=True)
class MethodSettings:
    """What the dear methods are given."""

    windows: int = 9
    """Places of occlusion's window along a side; neighbours overlap by half."""
    steps: int = 16
    """Points of the path of integrated gradients."""
    together: int = 16
    """Changed images in one pass."""


@dataclass(frozen=True)
class Method:
    """A way to say how much each pixel counts for a score."""

    name: str
    """In configs."""
    title: str
    """In reports."""
    source: str
    limits: str
    passes: Callable[[MethodSettings], float]
    """About how many forward passes an image costs; a backward one counts as two."""
    compute: Callable[[nn.Module, Tensor, Tensor, MethodSettings], Tensor]


def attribute(
    method: Method, decision: nn.Module, images: Tensor, targets: Tensor, settings: MethodSettings
) -> Tensor:
    """Attribute one score of every image to its pixels.

    Args:
        method: How.
        decision: From images to scores, made from a `rewired` backbone.
        images: Preprocessed, shape (n, 3, height, width).
        targets: Which of the scores, shape (n,).
        settings: Of the method.

    Returns:
        Signed attributions, shape (n, 3, height, width), without a graph, contiguous (captum's
        metrics view them flat). What stands for "nothing" is the mean colour of the
        preprocessing, 0 in normalised pixels.
    """
    with _without_notices():
        return method.compute(decision, images, targets, settings).detach().contiguous()


@contextmanager
def _without_notices() -> Iterator[None]:
    """Captum announces every hook that it sets; it removes them again."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Setting (backward|forward)", module="bias_audit"
        )
        warnings.filterwarnings("ignore", message=r"\s*Setting (backward|forward)")
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require grad")
        yield


def window_of(side: int, windows: int) -> tuple[int, int]:
    """Side and step, in pixels, of a window that stands at so many places and overlaps by half."""
    stride = max(1, -(-side // (windows + 1)))
    return min(side, 2 * stride), stride


def _occlusion(decision: nn.Module, images: Tensor, targets: Tensor, of: MethodSettings) -> Tensor:
    (tall, down), (wide, across) = (window_of(side, of.windows) for side in images.shape[2:])
    result: Tensor = Occlusion(decision).attribute(
        images,
        sliding_window_shapes=(3, tall, wide),
        strides=(3, down, across),
        baselines=0,
        target=targets,
        perturbations_per_eval=max(1, of.together // len(images)),
    )
    return result


def _integrated(
    decision: nn.Module, images: Tensor, targets: Tensor, of: MethodSettings
) -> Tensor:
    result: Tensor = IntegratedGradients(decision).attribute(
        images,
        baselines=0,
        target=targets,
        n_steps=of.steps,
        internal_batch_size=max(of.together, len(images)),
    )
    return result


def _plain(kind: Any, **options: Any) -> Callable[..., Tensor]:
    def compute(decision: nn.Module, images: Tensor, targets: Tensor, _: MethodSettings) -> Tensor:
        result: Tensor = kind(decision).attribute(images, target=targets, **options)
        return result

    return compute


def _constant(passes: float) -> Callable[[MethodSettings], float]:
    return lambda _: passes


_GRADIENT: Final = 3.0
"""A forward and a backward pass."""

METHODS: Final = (
    Method(
        "occlusion",
        "Occlusion",
        "Zeiler & Fergus 2014, arXiv:1311.2901",
        "it shows no detail finer than its window, and a covered image is unlike any that the "
        "backbone was trained on",
        lambda of: of.windows**2 + 1,
        _occlusion,
    ),
    Method(
        "saliency",
        "Saliency",
        "Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034",
        "a gradient says what a small change would do, not what the pixel contributes, and is "
        "noisy between neighbouring pixels",
        _constant(_GRADIENT),
        _plain(Saliency, abs=False),
    ),
    Method(
        "input_x_gradient",
        "Input x gradient",
        "Shrikumar et al. 2016, arXiv:1605.01713",
        "pixels near the mean colour get nothing whatever they mean, and bright or dark ones "
        "more, so that the map repeats the image",
        _constant(_GRADIENT),
        _plain(InputXGradient),
    ),
    Method(
        "guided_backpropagation",
        "Guided backpropagation",
        "Springenberg et al. 2015, arXiv:1412.6806",
        "it largely repeats the edges of the image, whatever the upper layers have learned "
        "(Adebayo et al. 2018, arXiv:1810.03292)",
        _constant(_GRADIENT),
        _plain(GuidedBackprop),
    ),
    Method(
        "integrated_gradients",
        "Integrated gradients",
        "Sundararajan, Taly & Yan 2017, arXiv:1703.01365",
        "it depends on what stands for nothing, here the mean colour, and pixels of that colour "
        "get nothing",
        lambda of: of.steps * _GRADIENT,
        _integrated,
    ),
    Method(
        "deeplift",
        "DeepLIFT",
        "Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685 (rescale rule)",
        "it depends on what stands for nothing, here the mean colour, and is defined for the "
        "activation functions that captum knows",
        _constant(2 * _GRADIENT),
        _plain(DeepLift, baselines=0),
    ),
)
"""In the order in which they are reported."""


def method_named(name: str) -> Method:
    """One of the methods.

    Raises:
        KeyError: There is none of this name.
    """
    return {method.name: method for method in METHODS}[name]
