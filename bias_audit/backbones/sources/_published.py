"""Which published weights a file is, or is like: their preprocessing goes with it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from timm.models._hub import load_model_config_from_path
from torchvision import models

from bias_audit.backbones.library import Library
from bias_audit.backbones.loading import Architecture, Preprocessing, PreprocessingParams
from bias_audit.backbones.sources.timm import (
    MODEL_ARGS,
    is_remote,
    timm_architecture,
    timm_name,
    timm_preprocessing,
    timm_settings,
    with_arguments,
)
from bias_audit.backbones.sources.torchvision import (
    architecture_options,
    torchvision_architecture,
    torchvision_preprocessing,
    torchvision_weights,
)
from bias_audit.config.catalog import unknown_name
from bias_audit.deferred import timm
from bias_audit.errors import BackboneError
from bias_audit.files import sha256_of

if TYPE_CHECKING:
    from bias_audit.backbones.sources.checkpoint import ArchitectureParams

_DIGEST: Final = 8
"""Digits of a SHA-256 that either library writes into the names of its files."""
_CACHED: Final = "models--timm--"
_MOST_BYTES: Final = 1_000_000
"""Of a config.json beside a file."""


Found = tuple[Architecture, str, tuple[str, ...]]
"""An architecture with the preprocessing that belongs to a file of weights; where that comes from,
in words; and a sentence where it is assumed."""


@dataclass(frozen=True)
class _Source:
    """Published weights whose preprocessing is taken."""

    name: str
    """Such as "resnet50.a1_in1k" or "ResNet50_Weights.IMAGENET1K_V2"."""
    why: str
    """How it was recognised; empty where it is assumed."""
    settings: Any
    """timm's configuration or torchvision's weights."""


def architecture_for(params: ArchitectureParams, file: Path) -> Found:
    """Build an architecture with the preprocessing that belongs to a file of weights.

    The config names it (a tag of the architecture, or `preprocessing_of`); else the file does
    (by its SHA-256, its name, or timm's config.json beside it); else that of the library's
    default weights is assumed, and said to be. The file is not opened as weights.
    """
    return (_of_timm if params.library == "timm" else _of_torchvision)(params, file)


def _of_timm(params: ArchitectureParams, file: Path) -> Found:
    name, _ = timm_name(params.architecture)
    if is_remote(name):
        raise BackboneError(
            f"architecture: expected a name such as resnet50.a1_in1k, got {name!r}; "
            "hub repositories are `kind: timm`"
        )
    architecture, _, tag = name.partition(".")
    names = timm.list_models(architecture, include_tags=True)
    known = {full: settings for full in names if (settings := timm_settings(full))}
    default = timm_settings(name)
    if params.preprocessing_of is not None:
        source = _named(params.preprocessing_of, architecture)
    elif tag:
        source = _Source(name, "as the config names them", default)
    else:
        urls = {full: (str(settings.get("url", "")), settings) for full, settings in known.items()}
        source = (
            _of_config_json(file, architecture)
            or _recognised(file, urls)
            or _Source(f"timm's {_full_name(architecture, default)}", "", default)
        )
    own = isinstance(source.settings, dict) and source.settings.get("architecture") == architecture
    built = timm_architecture(
        name,
        {**(source.settings.get(MODEL_ARGS, {}) if own else {}), **params.model_kwargs},
        wanted=params.preprocessing,
        num_classes=params.num_classes,
        config=source.settings if own else None,
    )
    others = {full: timm_preprocessing(settings) for full, settings in known.items()}
    return _found(built, source, others, params.preprocessing)


def _of_torchvision(params: ArchitectureParams, file: Path) -> Found:
    name = params.architecture
    default = torchvision_weights(name)
    known = {str(weights): (weights.url, weights) for weights in type(default)}
    if params.preprocessing_of is not None:
        source = _named(params.preprocessing_of, name, library="torchvision")
    else:
        source = _recognised(file, known) or _Source(f"torchvision's {default}", "", default)
    own = source.settings if str(source.settings) in known else None
    built = torchvision_architecture(
        name,
        own,
        params.model_kwargs,
        num_classes=params.num_classes if own or params.num_classes is not None else 1000,
    )
    others = {
        full: torchvision_preprocessing(weights.transforms())
        for full, (_, weights) in known.items()
    }
    return _found(built, source, others, params.preprocessing)


def _found(
    built: Architecture,
    source: _Source,
    others: Mapping[str, Preprocessing],
    wanted: PreprocessingParams,
) -> Found:
    if isinstance(source.settings, dict):
        own = timm_preprocessing(source.settings, built.model_kwargs)
    else:
        own = torchvision_preprocessing(source.settings.transforms())
        inside = architecture_options(source.settings).get("transform_input")
        if inside and not getattr(built.module, "transform_input", False):
            # torchvision's module turns ImageNet's mean into this one by itself, timm's does not
            own = dataclasses.replace(own, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    built = dataclasses.replace(built, preprocessing=own)
    if source.why:
        return built, f"preprocessing of {source.name}, {source.why}", ()
    given = {
        "height": (wanted.size, "size"),
        "mean": (wanted.mean, "mean"),
        "std": (wanted.std, "standard deviation"),
        "interpolation": (wanted.interpolation, "interpolation"),
        "crop_fraction": (wanted.resize == "stretch" or None, "crop"),
    }
    open_ones = {key: word for key, (value, word) in given.items() if value is None}
    reading = f"preprocessing of {source.name}, assumed"
    if not open_ones:
        return built, reading, ()
    rows = [dataclasses.asdict(each) for each in others.values()]
    differing = [word for key, word in open_ones.items() if len({row[key] for row in rows}) > 1]
    among = (
        f"; the {len(others)} published weights of this architecture differ in "
        f"{' and '.join(filter(None, (', '.join(differing[:-1]), *differing[-1:])))}"
        if differing
        else ""
    )
    sentence = (
        f"the preprocessing of {source.name} is assumed: neither the config nor the file says "
        f"which weights these are{among}; name the right one with preprocessing_of"
    )
    return built, reading, (sentence,)


def _named(wanted: str, architecture: str, *, library: Library = "timm") -> _Source:
    """The weights that `preprocessing_of` names, of either library."""
    why = "as the config says"
    if (library == "torchvision" and "." not in wanted) or "_Weights." in wanted:
        # the torchvision model that this enumeration of weights belongs to
        models_of = {models.get_model_weights(n).__name__: n for n in models.list_models(models)}
        owner = models_of.get(wanted.partition(".")[0], architecture)
        weights = torchvision_weights(owner, wanted)
        return _Source(str(weights), why, weights)
    name, _ = timm_name(wanted)
    settings = {} if is_remote(name) else timm_settings(name)
    if not settings:
        raise BackboneError(unknown_name(wanted, timm.list_pretrained(), noun="published weights"))
    return _Source(name, why, settings)


def _full_name(architecture: str, settings: Mapping[str, Any]) -> str:
    """Of an architecture with the tag of a pretrained configuration, if it has one."""
    tag = settings.get("tag")
    return f"{architecture}.{tag}" if tag else architecture


def _recognised(file: Path, known: Mapping[str, tuple[str, Any]]) -> _Source | None:
    """The published weights that a file is, by its SHA-256 or its name."""
    by_digest = {_digest_in(url): full for full, (url, _) in known.items() if _digest_in(url)}
    with contextlib.suppress(OSError):  # which reading the weights will say
        full = by_digest.get(sha256_of(file)[:_DIGEST], "") if by_digest else ""
        if full:
            return _Source(full, "by the file's SHA-256", known[full][1])
    names = {url.rpartition("/")[2]: full for full, (url, _) in known.items() if url}
    if (named := names.get(file.name)) is not None:
        return _Source(named, "by the file's name", known[named][1])
    # names of the file, of its folder, and of its repository in the hub's cache
    hubs = [part.removeprefix(_CACHED) for part in file.parent.parts if part.startswith(_CACHED)]
    places = [file.stem, file.parent.name, *hubs]
    for full in known:
        if "." in full and full in places:
            return _Source(full, "by the name of the file or its folder", known[full][1])
    return None


def _digest_in(url: str) -> str:
    """Digits of the SHA-256 that the name of a library's file ends with; empty if none."""
    digits = Path(url.rpartition("/")[2]).stem.rpartition("-")[2]
    is_digest = len(digits) == _DIGEST and set(digits) <= set("0123456789abcdef")
    return digits if is_digest else ""


def _of_config_json(file: Path, architecture: str) -> _Source | None:
    """What timm writes beside the weights that it saves for a hub; it is not trusted."""
    place = file.with_name("config.json")
    try:
        if place.stat().st_size > _MOST_BYTES:
            return None
        settings = with_arguments(*load_model_config_from_path(str(file.parent)))
        timm_preprocessing(settings)
    except Exception:  # noqa: BLE001  files of that name have every form
        return None
    if settings.get("architecture") != architecture:
        return None
    name = _full_name(architecture, settings)
    return _Source(name, "by the config.json beside the file", settings)
