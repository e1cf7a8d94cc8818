"""What an architecture of a model library is, and what its ways of building have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from bias_audit.backbones.backbone import Built, Preprocessing
from bias_audit.backbones.head import Classes
from bias_audit.backbones.weights import Converter, Fit, Tensors
from bias_audit.errors import BackboneError

Library = Literal["timm", "torchvision"]
_OUR_OWN: Final = {
    "cache_dir": "the cache of the library is used",
    "checkpoint_path": "give `file` to kind: checkpoint",
    "features_only": "name the layers with `layers`",
    "in_chans": "images have three channels",
    "num_classes": "use the key num_classes of kind: checkpoint",
    "pretrained": "weights are always read",
    "pretrained_cfg": "name the weights with `preprocessing_of`",
    "pretrained_cfg_overlay": "name the weights with `preprocessing_of`",
    "weights": "name the weights with `weights` or `preprocessing_of`",
}
"""Keyword arguments of the libraries that this project sets, and what to do in place of them."""


@dataclass(frozen=True)
class Architecture:
    """A module without weights, with what its library knows about them."""

    module: nn.Module
    title: str
    """Such as "timm resnet50"."""
    preprocessing: Preprocessing
    classes: Classes
    convert: Converter
    """Names and shapes of a file's tensors as the library reads them."""
    model_kwargs: dict[str, Any]
    """Keyword arguments that the library built it with, as far as a config may set them."""


def built_from(architecture: Architecture, fit: Fit, **named: Any) -> Built:
    """What a source hands over: an architecture, and how a file filled it.

    Args:
        architecture: With its weights.
        fit: No file: the default one.
        named: The other fields of `Built`, which no file decides.
    """
    return Built(
        module=architecture.module,
        architecture=architecture.title,
        preprocessing=architecture.preprocessing,
        classes=architecture.classes,
        model_kwargs=architecture.model_kwargs,
        missing=fit.missing,
        unexpected=fit.unexpected,
        misshapen=fit.misshapen,
        **{"reading": fit.reading, "assumed": fit.assumed, **named},
    )


def refuse_own_arguments(model_kwargs: Mapping[str, Any]) -> None:
    """Raise BackboneError for arguments that this project sets by itself."""
    for name, advice in _OUR_OWN.items():
        if name in model_kwargs:
            raise BackboneError(f"model_kwargs: {name} cannot be set here: {advice}")


@contextmanager
def refused_arguments(
    library: Library, name: str, model_kwargs: Mapping[str, Any]
) -> Iterator[None]:
    """Say of an architecture that is not built that it is for the config's arguments."""
    try:
        yield
    except BackboneError:
        raise
    except Exception as error:
        if not model_kwargs:
            raise
        raise BackboneError(
            f"{library} {name} does not take these arguments (model_kwargs, or the size of "
            f"preprocessing): {dict(model_kwargs)}: {error}"
        ) from error


@contextmanager
def noted_state(module: nn.Module, kept: dict[str, Tensor]) -> Iterator[None]:
    """Keep the tensors that a library would load into a module, and load none."""

    def note(state: Tensors, *_args: object, **_named: object) -> Any:
        kept.update(state)
        return torch.nn.modules.module._IncompatibleKeys([], [])

    module.load_state_dict = note  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del module.load_state_dict


def known_interpolation(name: str) -> Any:
    """One of the interpolations a `Preprocessing` may name."""
    if name not in {"bilinear", "bicubic", "nearest"}:
        raise BackboneError(f"interpolation {name!r}: expected bilinear, bicubic or nearest")
    return name


def three(values: Any) -> tuple[float, float, float]:
    """Numbers of the red, green and blue channel."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue
