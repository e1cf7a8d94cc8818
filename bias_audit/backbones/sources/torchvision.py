"""torchvision's models with its published weights."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from pydantic import Field
from torchvision import models

from bias_audit.backbones.backbone import BackboneParams, BackboneSource, Built
from bias_audit.backbones.weights import torchvision_preprocessing
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import BackboneError


class Params(BackboneParams):
    """Which torchvision model and weights."""

    name: str = Field(description='Such as "resnet50".')
    weights: str = Field(default="DEFAULT", description='Such as "IMAGENET1K_V1".')


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    weights = _weights(params)
    module = models.get_model(params.name, weights=None, **_architecture_options(weights))
    if pretrained:
        module.load_state_dict(_fetch(params, weights))
    return Built(
        module=module,
        name=params.name,
        architecture=f"torchvision {params.name}",
        weights=str(weights),
        licence="see torchvision's page of these weights; ImageNet's terms of access apply",
        preprocessing=torchvision_preprocessing(weights.transforms()),
    )


def _weights(params: Params) -> Any:
    names = models.list_models(module=models)
    if params.name not in names:
        raise BackboneError(unknown_name(params.name, names, noun="torchvision model"))
    known = models.get_model_weights(params.name)
    if params.weights not in known.__members__:
        raise BackboneError(
            unknown_name(params.weights, list(known.__members__), noun=f"{params.name} weights")
        )
    return known[params.weights]


def _architecture_options(weights: Any) -> dict[str, Any]:
    """What torchvision sets on a model when it loads these weights itself."""
    options: dict[str, Any] = {"num_classes": len(weights.meta["categories"])}
    if "Inception" in type(weights).__name__ or "GoogLeNet" in type(weights).__name__:
        options |= {"transform_input": True, "init_weights": False}
    return options


def _fetch(params: Params, weights: Any) -> dict[str, torch.Tensor]:
    place = _place(weights)
    try:
        state: dict[str, torch.Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise BackboneError(
            f"torchvision {params.name}: weights {weights} are neither in the local cache nor "
            f"could they be fetched ({error}). Without network: put the file "
            f"{place.name} into {place.parent}"
        ) from error
    return state


def _place(weights: Any) -> Path:
    """Where torchvision keeps the file."""
    name = str(weights.url).rpartition("/")[2]
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _files(params: Params) -> tuple[Path, ...]:
    place = _place(_weights(params))
    return (place,) if place.is_file() else ()


def _matching(pattern: str) -> tuple[dict[str, Any], ...]:
    names = models.list_models(module=models)
    return tuple({"name": name} for name in names if fnmatchcase(name, pattern))


PLUGIN = BackboneSource(
    title="torchvision model",
    params_type=Params,
    build=_build,
    files=_files,
    matching=_matching,
)
