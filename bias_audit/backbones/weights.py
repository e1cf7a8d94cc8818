"""Reading weight files that may come from anywhere, and putting them into a module."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bias_audit.backbones.backbone import Preprocessing
from bias_audit.errors import BackboneError

_NESTS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read tensors from a .safetensors file, or from a .pth file with unpickling restricted.

    Raises:
        BackboneError: The file is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise BackboneError(f"weights file {path}: not found; expected .safetensors or .pth")
    try:
        if path.suffix == ".safetensors":
            raw: Any = load_file(path)
        else:
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        raise BackboneError(f"weights file {path}: {_unreadable(error)}") from error
    return _tensors(raw, path)


def _unreadable(error: Exception) -> str:
    # torch raises pickle.UnpicklingError, which may not be imported, for code and for other bytes.
    if type(error).__name__ != "UnpicklingError":
        return f"not a readable weights file: {type(error).__name__}: {error}"
    if "Unsupported operand" in str(error):
        return "not a readable weights file: it does not hold what PyTorch or safetensors save"
    return (
        "it asks to run code when opened, which is refused; expected tensors alone: ask its "
        "author for a .safetensors file, or save its state_dict alone"
    )


def _tensors(raw: Any, path: Path) -> dict[str, Tensor]:
    for nest in _NESTS:
        if isinstance(raw, dict) and isinstance(raw.get(nest), dict):
            raw = raw[nest]
            break
    if not isinstance(raw, dict):
        got = type(raw).__name__
        raise BackboneError(f"weights file {path}: expected a state dict, got {got}")
    tensors = {str(name): value for name, value in raw.items() if isinstance(value, Tensor)}
    if not tensors:
        raise BackboneError(f"weights file {path}: expected a state dict, found no tensor in it")
    return tensors


@dataclass(frozen=True)
class Fit:
    """What is left over when tensors were put into a module; as in `Built`."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: dict[str, str] = field(default_factory=dict)


def fill(module: nn.Module, tensors: dict[str, Tensor], *, what: str) -> Fit:
    """Put tensors into a module, after removing prefixes that names share.

    Returns:
        Names of either side that stay unfilled, and why.

    Raises:
        BackboneError: No name fits.
    """
    own = module.state_dict()
    tensors = _without_prefix(tensors, set(own))
    common = own.keys() & tensors.keys()
    if not common:
        raise BackboneError(
            f"{what}: none of its {len(tensors)} names fits the architecture, which has names "
            f"like {', '.join(list(own)[:3])}; the file has {', '.join(list(tensors)[:3])}"
        )
    misshapen = {
        name: f"expected {tuple(own[name].shape)}, got {tuple(tensors[name].shape)}"
        for name in own
        if name in common and own[name].shape != tensors[name].shape
    }
    fitting = {name: tensors[name] for name in common if name not in misshapen}
    module.load_state_dict(fitting, strict=False)
    return Fit(
        missing=tuple(name for name in own if name not in common),
        unexpected=tuple(name for name in tensors if name not in common),
        misshapen=misshapen,
    )


def _without_prefix(tensors: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """Take the commonest prefix away again and again, and keep what fits most names.

    Wrappers nest ("model.module."), so one prefix alone may gain nothing.
    """
    best = tensors
    while True:
        prefix = max(_PREFIXES, key=lambda p: sum(name.startswith(p) for name in tensors))
        stripped = {name.removeprefix(prefix): value for name, value in tensors.items()}
        if stripped.keys() == tensors.keys() or len(stripped) < len(tensors):
            return best  # nothing to take away, or two names would become one
        tensors = stripped
        if len(own & tensors.keys()) > len(own & best.keys()):
            best = tensors


def timm_preprocessing(module: nn.Module) -> Preprocessing:
    """The evaluation preprocessing that timm declares for a model."""
    from timm.data.config import resolve_model_data_config  # noqa: PLC0415  takes seconds

    config: dict[str, Any] = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    return Preprocessing(
        height=height,
        width=width,
        resize="stretch",
        crop_fraction=float(config["crop_pct"]),
        interpolation=known_interpolation(str(config["interpolation"])),
        mean=_three(config["mean"]),
        std=_three(config["std"]),
    )


def torchvision_preprocessing(transforms: Any | None) -> Preprocessing:
    """The evaluation preprocessing of torchvision weights; ImageNet's usual one without any."""
    if transforms is None:
        return Preprocessing(
            height=224,
            width=224,
            resize="stretch",
            crop_fraction=0.875,
            interpolation="bilinear",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        )
    crop = int(transforms.crop_size[0])
    return Preprocessing(
        height=crop,
        width=crop,
        resize="stretch",
        crop_fraction=crop / int(transforms.resize_size[0]),
        interpolation=known_interpolation(str(transforms.interpolation.value)),
        mean=_three(transforms.mean),
        std=_three(transforms.std),
    )


def known_interpolation(name: str) -> Any:
    """One of the interpolations a `Preprocessing` may name."""
    if name not in {"bilinear", "bicubic", "nearest"}:
        raise BackboneError(f"interpolation {name!r}: expected bilinear, bicubic or nearest")
    return name


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
