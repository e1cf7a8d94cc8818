"""The attribution methods of Chatterjee et al. 2020, as captum computes them."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from captum.attr import (
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_TOGETHER: Final = 16
"""Changed images in one pass of the methods that change them."""


@dataclass(frozen=True)
class MethodSettings:
    """What the expensive methods are given."""

    windows: int = 9
    """Places of occlusion's window along a side; neighbours overlap by half."""
    steps: int = 16
    """Points of the path of integrated gradients."""


def window_of(side: int, windows: int) -> tuple[int, int]:
    """Side and step, in pixels, of a window that stands at so many places and overlaps by half."""
    stride = max(1, -(-side // (windows + 1)))
    return min(side, 2 * stride), stride


def _windows(settings: MethodSettings, images: Tensor) -> dict[str, Any]:
    (tall, down), (wide, across) = (window_of(n, settings.windows) for n in images.shape[2:])
    return {
        "sliding_window_shapes": (3, tall, wide),
        "strides": (3, down, across),
        "baselines": 0,
        "perturbations_per_eval": max(1, _TOGETHER // len(images)),
    }


_GRADIENT: Final = 3.0
"""Passes of one gradient: a forward and a backward one."""


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
    kind: Any
    """Class of captum."""
    options: Callable[[MethodSettings, Tensor], dict[str, Any]] = lambda *_: {}
    """What its `attribute` takes besides images and targets."""


METHODS: Final = (
    Method(
        "occlusion",
        "Occlusion",
        "Zeiler & Fergus 2014, arXiv:1311.2901",
        "it shows no detail finer than its window, and a covered image is unlike any that the "
        "backbone was trained on",
        lambda of: of.windows**2 + 1,
        Occlusion,
        _windows,
    ),
    Method(
        "saliency",
        "Saliency",
        "Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034",
        "a gradient says what a small change would do, not what the pixel contributes, and is "
        "noisy between neighbouring pixels",
        lambda _: _GRADIENT,
        Saliency,
        lambda *_: {"abs": False},
    ),
    Method(
        "input_x_gradient",
        "Input x gradient",
        "Shrikumar et al. 2016, arXiv:1605.01713",
        "pixels near the mean colour get nothing whatever they mean, and bright or dark ones "
        "more, so that the map repeats the image",
        lambda _: _GRADIENT,
        InputXGradient,
    ),
    Method(
        "guided_backpropagation",
        "Guided backpropagation",
        "Springenberg et al. 2015, arXiv:1412.6806",
        "it largely repeats the edges of the image, whatever the upper layers have learned "
        "(Adebayo et al. 2018, arXiv:1810.03292)",
        lambda _: _GRADIENT,
        GuidedBackprop,
    ),
    Method(
        "integrated_gradients",
        "Integrated gradients",
        "Sundararajan, Taly & Yan 2017, arXiv:1703.01365",
        "it depends on the empty reference image, here the mean colour, and pixels of that "
        "colour get nothing",
        lambda of: of.steps * _GRADIENT,
        IntegratedGradients,
        lambda of, images: {
            "baselines": 0,
            "n_steps": of.steps,
            "internal_batch_size": max(_TOGETHER, len(images)),
        },
    ),
    Method(
        "deeplift",
        "DeepLIFT",
        "Shrikumar, Greenside & Kundaje 2017, arXiv:1704.02685 (rescale rule)",
        "it depends on the empty reference image, here the mean colour, and is defined for the "
        "activation functions that captum knows",
        lambda _: 2 * _GRADIENT,
        DeepLift,
        lambda *_: {"baselines": 0},
    ),
)
"""In the order in which they are reported."""


def method_named(name: str) -> Method:
    """One of the methods.

    Raises:
        KeyError: There is none of this name.
    """
    return {method.name: method for method in METHODS}[name]


def attribute(
    method: Method, decision: nn.Module, images: Tensor, targets: Tensor, settings: MethodSettings
) -> Tensor:
    """Attribute one score of every image to its pixels.

    The decision is made from a `rewired` backbone; images are preprocessed, (n, 3, height, width),
    targets say which of the scores, (n,). Attributions are signed, of the shape of the images,
    without a graph and contiguous (captum's metrics view them flat). What stands for "nothing" is
    the mean colour of the preprocessing, 0 in normalised pixels.
    """
    with warnings.catch_warnings():
        # Captum announces every hook that it sets; it removes them again.
        warnings.filterwarnings("ignore", message=r"\s*Setting (backward|forward)")
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require grad")
        options = method.options(settings, images)
        found: Tensor = method.kind(decision).attribute(images, target=targets, **options)
    return found.detach().contiguous()


class Clipped(nn.Module):
    """ReLU6 as a difference of two rectifiers, to which rules for rectifiers apply."""

    def __init__(self) -> None:
        super().__init__()
        self.above_zero = nn.ReLU()
        self.above_six = nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        """The same as `nn.ReLU6`."""
        # A tensor for each: hooks replace the whole gradient of what they receive.
        return cast("Tensor", self.above_zero(values.clone()) - self.above_six(values - 6))


class _Shared(nn.Module):
    """One module per call, in the order of the calls of a pass."""

    def __init__(self, original: nn.Module, n_calls: int) -> None:
        super().__init__()
        self.calls = nn.ModuleList(copy.deepcopy(original) for _ in range(n_calls))
        self.next = 0

    def forward(self, values: Tensor) -> Tensor:
        """What the shared module returns."""
        module = self.calls[self.next]
        self.next = (self.next + 1) % len(self.calls)
        return cast("Tensor", module(values))


def rewired(module: nn.Module, size: tuple[int, int]) -> nn.Module:
    """Copy a module so that each activation function is a module that runs once, not in place.

    The module, in evaluation mode, is not changed; `size` is the height and width of its input.
    The copy has the same output for every input, and no gradients of weights.
    """
    made = copy.deepcopy(module)
    for part in made.modules():
        if getattr(part, "inplace", False):
            part.inplace = False  # type: ignore[assignment]  # a plain attribute of activations
    like = next(made.parameters())
    calls = Counter(modules_run(made, torch.zeros(1, 3, *size, device=like.device)))
    for name, part in [*made.named_modules()]:
        replacement: nn.Module | None = Clipped() if isinstance(part, nn.ReLU6) else None
        is_activation = type(part).__module__ == "torch.nn.modules.activation"
        if calls[name] > 1 and is_activation and not [*part.parameters()]:
            replacement = _Shared(replacement or part, calls[name])
        if name and replacement is not None:
            path, _, attribute_name = name.rpartition(".")
            setattr(made.get_submodule(path), attribute_name, replacement)
    return made.eval().requires_grad_(requires_grad=False)


def modules_run(module: nn.Module, images: Tensor) -> list[str]:
    """Names of a module and its parts in the order in which they run, once for every call."""
    names: list[str] = []

    def note(name: str, part: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return part.register_forward_pre_hook(lambda *_: names.append(name))

    with ExitStack() as hooks, torch.no_grad():
        for name, part in module.named_modules():
            hooks.enter_context(note(name, part))
        module(images)
    return names


_RECTIFIERS: Final = ("relu", "relu_", "threshold")
_CURVED: Final = (
    "gelu", "silu", "hardtanh", "sigmoid", "tanh", "elu", "celu", "leaky_relu", "mish",
    "hardswish", "hardsigmoid", "softplus", "softmax", "_softmax", "clamp", "_prelu_kernel",
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math",
    "scaled_dot_product_attention",
)  # fmt: skip
_OFF: Final = 0.1
"""Share of the change of a score that DeepLIFT's contributions may miss: captum's rule for maximum
pooling leaves some percent; an operation without a rule leaves most or more."""


_FAILURES: Final = (RuntimeError, AssertionError, AttributeError, TypeError, ValueError)


def why_not(
    method: Method, decision: nn.Module, images: Tensor, targets: Tensor, settings: MethodSettings
) -> str | None:
    """Why a method cannot be used on a decision; None where it can.

    It is tried on a few preprocessed images, shape (n, 3, height, width), and scores, (n,), of a
    decision made from a `rewired` backbone.
    """
    if method.name == "guided_backpropagation" and (said := _not_rectified(decision, images)):
        return said
    try:
        if method.name == "deeplift":
            return _misses_something(decision, images, targets)
        found = attribute(method, decision, images, targets, settings)
    except _FAILURES as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        return f"it fails on this architecture ({first_line[:160]})"
    return None if torch.isfinite(found).all() else "it gives values that are not finite"


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of activation functions that run outside modules of the kind rules apply to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inside = 0
        self.n_rectified = 0
        self.elsewhere: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in _RECTIFIERS and self.inside:
            self.n_rectified += 1
        elif name in {*_RECTIFIERS, *_CURVED}:
            self.elsewhere.add(name.strip("_"))
        return func(*args, **(kwargs or {}))


def _not_rectified(decision: nn.Module, images: Tensor) -> str | None:
    """Why guided backpropagation, whose rule changes gradients of ReLU modules, has no meaning."""
    if any(isinstance(part, Clipped) for part in decision.modules()):
        return "its rule is for ReLU alone, and this architecture cuts off at 6 (ReLU6)"
    seen = _Operations()

    def enter(*_: object) -> None:
        seen.inside += 1

    def leave(*_: object) -> None:
        seen.inside -= 1

    with torch.no_grad(), ExitStack() as hooks:
        for part in decision.modules():
            if isinstance(part, nn.ReLU):
                hooks.enter_context(part.register_forward_pre_hook(enter))
                hooks.enter_context(part.register_forward_hook(leave))
        with seen:
            decision(images[:1])
    if not seen.n_rectified:
        return "its rule is for ReLU, which this architecture does not have as modules"
    if not seen.elsewhere:
        return None
    return f"its rule is for ReLU modules, and {', '.join(sorted(seen.elsewhere))} runs as well"


def _misses_something(decision: nn.Module, images: Tensor, targets: Tensor) -> str | None:
    """Contributions must add up to the change of the score; where they do not, a rule is missing.

    This finds functional, multiplied and data-dependent operations alike.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, delta = DeepLift(decision).attribute(
            images, baselines=0, target=targets, return_convergence_delta=True
        )
    with torch.no_grad():
        places = torch.arange(len(images), device=images.device)
        change = decision(images)[places, targets] - decision(0 * images)[places, targets]
    missed = float(delta.abs().max() / change.abs().max().clamp(min=1e-12))
    # Written so that an undefined number counts as missing everything.
    if not missed <= _OFF:
        return (
            f"its contributions miss {100 * missed:.0f} % of the change of the score that they "
            "must add up to, so this architecture has operations without a rule"
        )
    return None
