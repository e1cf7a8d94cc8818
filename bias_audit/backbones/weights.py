"""Reading weight files that may come from anywhere, and putting them into a module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from bias_audit.backbones.backbone import Preprocessing
from bias_audit.errors import BackboneError

_NESTS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "net.")


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
    except (safetensors.SafetensorError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise BackboneError(
            f"weights file {path}: not a readable weights file: {error}"
        ) from error
    except Exception as error:  # torch raises pickle.UnpicklingError, which may not be imported
        if type(error).__name__ != "UnpicklingError":
            raise
        raise BackboneError(
            f"weights file {path}: it asks to run code when opened, which is refused; expected "
            "tensors alone: ask its author for a .safetensors file"
        ) from error
    return _tensors(raw, path)


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


def fill(
    module: nn.Module, tensors: dict[str, Tensor], *, what: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put tensors into a module, after removing a prefix that all names share.

    Returns:
        Names of the module that stay unfilled, and names of the file that have no place.

    Raises:
        BackboneError: No name fits, or a tensor has another shape; every such name is listed.
    """
    own = module.state_dict()
    tensors = _without_prefix(tensors, set(own))
    common = own.keys() & tensors.keys()
    if not common:
        raise BackboneError(
            f"{what}: none of its {len(tensors)} names fits the architecture, which has names "
            f"like {', '.join(list(own)[:3])}; the file has {', '.join(list(tensors)[:3])}"
        )
    shapes = [
        f"{name}: expected {tuple(own[name].shape)}, got {tuple(tensors[name].shape)}"
        for name in own
        if name in common and own[name].shape != tensors[name].shape
    ]
    if shapes:
        raise BackboneError(
            f"{what}: {len(shapes)} tensors have another shape than the architecture: "
            + "; ".join(shapes[:20])
        )
    module.load_state_dict({name: tensors[name] for name in common}, strict=False)
    missing = tuple(name for name in own if name not in common)
    unexpected = tuple(name for name in tensors if name not in common)
    return missing, unexpected


def _without_prefix(tensors: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        stripped = {name.removeprefix(prefix): value for name, value in tensors.items()}
        if len(own & stripped.keys()) > len(own & tensors.keys()):
            tensors = stripped
    return tensors


def timm_preprocessing(module: nn.Module) -> Preprocessing:
    """The evaluation preprocessing that timm declares for a model."""
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
