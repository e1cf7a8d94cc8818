"""Whether a method is defined for an architecture: found by trying, and said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from captum.attr import DeepLift
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bias_audit.analyses.attributing.methods import Method, MethodSettings, attribute
from bias_audit.analyses.attributing.rewiring import Clipped

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


def why_not(
    method: Method,
    decision: nn.Module,
    images: Tensor,
    targets: Tensor,
    settings: MethodSettings,
) -> str | None:
    """Why a method cannot be used on a decision; None where it can.

    Args:
        method: The method.
        decision: From images to scores, made from a `rewired` backbone.
        images: A few preprocessed images to try it on, shape (n, 3, height, width).
        targets: Which of the scores, shape (n,).
        settings: Of the method.
    """
    if method.name == "guided_backpropagation" and (said := _not_rectified(decision, images)):
        return said
    if method.name == "deeplift":
        return _misses_something(decision, images, targets)
    try:
        found = attribute(method, decision, images, targets, settings)
    except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError) as error:
        return f"it fails on this architecture ({_first_line(error)})"
    return None if torch.isfinite(found).all() else "it gives values that are not finite"


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of activation functions that run outside modules of the kind rules apply to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inside = 0
        self.n_rectified = 0
        self.elsewhere: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in _RECTIFIERS and self.inside:
            self.n_rectified += 1
        elif name in {*_RECTIFIERS, *_CURVED}:
            self.elsewhere.append(name.strip("_"))
        return func(*args, **(kwargs or {}))


def _not_rectified(decision: nn.Module, images: Tensor) -> str | None:
    if any(isinstance(part, Clipped) for part in decision.modules()):
        return "its rule is for ReLU alone, and this architecture cuts off at 6 (ReLU6)"
    with torch.no_grad(), _watched(decision) as seen, seen:
        decision(images[:1])
    if not seen.n_rectified:
        return "its rule is for ReLU, which this architecture does not have as modules"
    others = sorted(set(seen.elsewhere))
    return (
        f"its rule is for ReLU modules, and {', '.join(others)} runs as well" if others else None
    )


@contextmanager
def _watched(decision: nn.Module) -> Iterator[_Operations]:
    seen = _Operations()

    def enter(*_: object) -> None:
        seen.inside += 1

    def leave(*_: object) -> None:
        seen.inside -= 1

    parts = [part for part in decision.modules() if isinstance(part, nn.ReLU)]
    handles = [part.register_forward_pre_hook(enter) for part in parts]
    handles += [part.register_forward_hook(leave) for part in parts]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _misses_something(decision: nn.Module, images: Tensor, targets: Tensor) -> str | None:
    """Contributions must add up to the change of the score; where they do not, a rule is missing.

    This finds functional, multiplied and data-dependent operations alike.
    """
    import warnings  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, delta = DeepLift(decision).attribute(
                images, baselines=0, target=targets, return_convergence_delta=True
            )
    except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError) as error:
        return f"it fails on this architecture ({_first_line(error)})"
    with torch.no_grad():
        places = torch.arange(len(images))
        change = decision(images)[places, targets] - decision(0 * images)[places, targets]
    missed = float(delta.abs().max() / change.abs().max().clamp(min=1e-12))
    if not missed <= _OFF:
        return (
            f"its contributions miss {100 * missed:.0f} % of the change of the score that they "
            "must add up to, so this architecture has operations without a rule"
        )
    return None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
