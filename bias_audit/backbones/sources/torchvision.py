"""torchvision's models with its published weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from pydantic import Field

from bias_audit.backbones.head import Classes
from bias_audit.backbones.library import (
    names_like,
    noted_state,
    published_files,
    refuse_own_arguments,
    refused_arguments,
    usual_preprocessing,
)
from bias_audit.backbones.loading import (
    Architecture,
    BackboneSource,
    Built,
    Converter,
    Fit,
    LibraryParams,
    Preprocessing,
    Tensors,
)
from bias_audit.backbones.weights import fill_from
from bias_audit.config.catalog import unknown_name
from bias_audit.deferred import torch, torchvision
from bias_audit.errors import BackboneError
from bias_audit.files import digest
from bias_audit.remembered import remembered
from bias_audit.software import installed

if TYPE_CHECKING:
    from torch import Tensor, nn


class Params(LibraryParams):
    """Which torchvision model and weights."""

    name: str = Field(description='Such as "resnet50".')
    weights: str = Field(default="DEFAULT", description='Such as "IMAGENET1K_V1".')


def torchvision_architecture(
    name: str,
    weights: Any | None,
    model_kwargs: Mapping[str, Any],
    *,
    num_classes: int | None = None,
) -> Architecture:
    """Build an architecture of torchvision without weights, with settings as for those given."""
    refuse_own_arguments(model_kwargs)
    options = {} if weights is None else architecture_options(weights)
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # which takes minutes, and weights come anyway
    if num_classes is not None:
        options["num_classes"] = num_classes
    with refused_arguments("torchvision", name, model_kwargs):
        module = torchvision.models.get_model(name, weights=None, **{**options, **model_kwargs})
    published = len(weights.meta["categories"] or ()) if weights else 0
    n_classes = published if num_classes is None else num_classes
    of = "ImageNet (imagenet-1k)" if n_classes == published else "as the config says"
    return Architecture(
        module,
        f"torchvision {name}",
        torchvision_preprocessing(None if weights is None else weights.transforms()),
        Classes(n_classes, of) if n_classes else Classes(),
        _torchvision_converter(module),
        dict(model_kwargs),
    )


def architecture_options(weights: Any) -> dict[str, Any]:
    """What torchvision's builders set when they load published weights themselves."""
    classes = weights.meta["categories"]
    options: dict[str, Any] = {"num_classes": len(classes)} if classes else {}
    kind = type(weights).__name__
    if kind.startswith(("Inception", "GoogLeNet")):
        options["transform_input"] = True
    if kind.startswith("ViT"):
        options["image_size"] = weights.meta["min_size"][0]
    return options


def _torchvision_converter(module: nn.Module) -> Converter:
    """Torchvision's renaming: by a builder (DenseNet), or by modules (vision transformers)."""
    loader: Callable[..., None] | None = getattr(
        sys.modules[type(module).__module__], "_load_state_dict", None
    )

    def convert(tensors: Tensors) -> Tensors:
        kept = dict(tensors)
        if loader is not None:
            # in the place where the loader expects published weights
            given = SimpleNamespace(get_state_dict=lambda **_: dict(tensors))
            with noted_state(module, kept := {}):
                loader(module, given, progress=False)
        for name, part in module.named_modules():
            is_torchvisions = type(part).__module__.partition(".")[0] == "torchvision"
            if is_torchvisions and "_load_from_state_dict" in vars(type(part)):
                _rename(part, f"{name}.", kept)
        return kept

    return convert


def _rename(part: nn.Module, prefix: str, state: dict[str, Tensor]) -> None:
    """Let a module rename entries of a state dict, as of a file that does not say its version.

    Some (MNASNet) refuse such files; for those it is taken for one of the current version.
    """
    for version in (None, getattr(part, "_version", None)):
        try:
            part._load_from_state_dict(state, prefix, {"version": version}, False, [], [], [])  # noqa: FBT003
        except ValueError:
            continue
        return


def torchvision_weights(name: str, wanted: str | None = None) -> Any:
    """One of torchvision's published weights, such as "IMAGENET1K_V2"; None: its default ones."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise BackboneError(unknown_name(name, names, noun="torchvision model"))
    known = torchvision.models.get_model_weights(name)
    short = (wanted or "DEFAULT").removeprefix(f"{known.__name__}.")
    if short not in known.__members__:
        raise BackboneError(unknown_name(short, list(known.__members__), noun=f"{name} weights"))
    return known[short]


def torchvision_preprocessing(transforms: Any | None) -> Preprocessing:
    """The evaluation preprocessing of torchvision weights; ImageNet's usual one without any."""
    if transforms is None:
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return Preprocessing(224, 224, "stretch", 0.875, "bilinear", mean, std)
    crop = int(transforms.crop_size[0])
    return usual_preprocessing(
        crop,
        crop,
        crop_fraction=crop / int(transforms.resize_size[0]),
        interpolation=str(transforms.interpolation.value),
        mean=transforms.mean,
        std=transforms.std,
    )


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    weights = torchvision_weights(params.name, params.weights)
    place = _place(weights)
    if pretrained and not place.is_file():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            digest = place.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(weights.url, str(place), digest, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise BackboneError(
                f"torchvision {params.name}: weights {weights} are neither in the local cache nor "
                f"could they be fetched ({error}). Without network: put the file {place.name} "
                f"into {place.parent}"
            ) from error
    return _filled(params, place if pretrained else None)


def _filled(params: Params, file: Path | None) -> Built:
    weights = torchvision_weights(params.name, params.weights)
    architecture = torchvision_architecture(params.name, weights, params.model_kwargs)
    return Built(
        architecture,
        params.name,
        weights=str(weights),
        licence="see torchvision's page of these weights; ImageNet's terms of access apply",
        fit=fill_from(file, architecture) if file else Fit(),
    )


def _place(weights: Any) -> Path:
    """Where torchvision keeps the file."""
    return published_files() / str(weights.url).rpartition("/")[2]


def _files(params: Params) -> tuple[Path, ...]:
    # torchvision takes seconds to load, and says the same each time.
    key = digest(installed(), params.name, params.weights)
    url = remembered(
        "torchvision", key, lambda: str(torchvision_weights(params.name, params.weights).url)
    )
    place = published_files() / url.rpartition("/")[2]
    return (place,) if place.is_file() else ()


def _matching(pattern: str) -> tuple[dict[str, Any], ...]:
    models = torchvision.models
    key = digest(installed(), "all models")
    names = remembered("torchvision", key, lambda: list(models.list_models(module=models)))
    return names_like(pattern, names)


PLUGIN = BackboneSource(
    title="torchvision model",
    params_type=Params,
    build=_build,
    files=_files,
    refilled=_filled,
    matching=_matching,
)
