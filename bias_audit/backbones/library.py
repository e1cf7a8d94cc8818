"""What the ways of building an architecture of a model library have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from bias_audit.backbones.loading import Preprocessing, Tensors
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError

if TYPE_CHECKING:
    from torch import Tensor, nn

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


def published_files() -> Path:
    """Where torch keeps files that it fetched; as `torch.hub` says, without loading it."""
    if hub := sys.modules.get("torch.hub"):
        return Path(hub.get_dir()) / "checkpoints"
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(os.environ.get("TORCH_HOME") or home).expanduser() / "hub" / "checkpoints"


def names_like(pattern: str, names: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """Parameters of every backbone whose name matches a pattern (* and ?)."""
    return tuple({"name": name} for name in names if fnmatchcase(name, pattern))


def usual_preprocessing(
    height: int, width: int, *, crop_fraction: float, interpolation: str, mean: Any, std: Any
) -> Preprocessing:
    """The evaluation preprocessing that a library states for published weights."""
    if interpolation not in {"bilinear", "bicubic", "nearest"}:
        raise BackboneError(
            f"interpolation {interpolation!r}: expected bilinear, bicubic or nearest"
        )
    known: Any = interpolation
    return Preprocessing(height, width, "stretch", crop_fraction, known, _three(mean), _three(std))


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
