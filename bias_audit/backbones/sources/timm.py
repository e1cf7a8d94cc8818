"""Any model and pretrained tag of timm, through its hub, cache and offline mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from bias_audit.backbones.extras import first_line, hub_folder, reach_hub
from bias_audit.backbones.head import Classes
from bias_audit.backbones.library import (
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
    PreprocessingParams,
    Tensors,
)
from bias_audit.backbones.weight_files import read_tensors
from bias_audit.backbones.weights import fill_from
from bias_audit.config.catalog import unknown_name
from bias_audit.deferred import timm
from bias_audit.errors import BackboneError
from bias_audit.files import digest
from bias_audit.remembered import remembered
from bias_audit.software import installed

if TYPE_CHECKING:
    from torch import Tensor, nn

_HUB_NAMES: Final = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
"""What timm looks for in a hub repository, in this order."""
MODEL_ARGS: Final = "model_args"
"""Key of the arguments that a hub's config.json gives its model."""


class Params(LibraryParams):
    """Which timm model."""

    name: str = Field(
        description='Model and pretrained tag, such as "resnet50.a1_in1k"; or a hub repository '
        'or folder in timm\'s format, such as "hf-hub:owner/model" or "local-dir:FOLDER".'
    )


def timm_architecture(
    name: str,
    model_kwargs: Mapping[str, Any],
    *,
    wanted: PreprocessingParams,
    num_classes: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> Architecture:
    """Build an architecture of timm without weights.

    Its pretrained configuration is `config`, else that of the name. An input size is added for
    architectures that fix theirs.
    """
    settings = dict(config or timm_settings(name))
    settings.pop(MODEL_ARGS, None)
    kwargs = timm_kwargs(model_kwargs, settings, wanted)
    outputs: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    with refused_arguments("timm", name, kwargs), _without_loading() as loading:
        module = timm.create_model(
            name, pretrained=True, pretrained_cfg=settings or None, **outputs, **kwargs
        )
    return Architecture(
        module,
        f"timm {name.partition('.')[0]}",
        timm_preprocessing(settings, kwargs),
        timm_classes(settings, num_classes),
        _timm_converter(module, settings, loading),
        kwargs,
    )


def timm_settings(name: str) -> dict[str, Any]:
    """Timm's pretrained configuration of a model and tag; empty where it has none."""
    known = timm.get_pretrained_cfg(name)
    settings: dict[str, Any] = known.to_dict() if known else {}  # type: ignore[no-untyped-call]
    return settings


def timm_kwargs(
    model_kwargs: Mapping[str, Any], settings: Mapping[str, Any], wanted: PreprocessingParams
) -> dict[str, Any]:
    """Keyword arguments for timm, with the input size where the architecture has a fixed one."""
    refuse_own_arguments(model_kwargs)
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in model_kwargs.items()}
    free = kwargs.get("dynamic_img_size") or "img_size" in kwargs
    if wanted.size and settings.get("fixed_input_size") and not free:
        kwargs["img_size"] = wanted.size
    return kwargs


@contextmanager
def _without_loading() -> Iterator[dict[str, Any]]:
    """While modules are built, note how timm would load their weights, and load none.

    timm gives the conversion that belongs to an architecture only to its own loader.
    """
    loading: dict[str, Any] = {}

    def note(_module: nn.Module, **arguments: Any) -> None:
        loading.update(arguments)

    builder = timm.models._builder
    original = builder.load_pretrained
    builder.load_pretrained = note  # type: ignore[assignment]
    try:
        yield loading
    finally:
        builder.load_pretrained = original


def _timm_converter(
    module: nn.Module, settings: Mapping[str, Any], loading: Mapping[str, Any]
) -> Converter:
    """What timm's loader hands to a module, given the tensors of a file."""
    n_classes = getattr(module, "num_classes", 0)

    def convert(tensors: Tensors) -> Tensors:
        kept: dict[str, Tensor] = {}
        # leading outputs that a file has beyond the classes; timm's own files already lost them
        weight = tensors.get(f"{settings.get('classifier')}.weight")
        has_more = weight is not None and len(weight) != n_classes
        config = {
            **settings,
            "source": "",
            "state_dict": dict(tensors),
            "num_classes": n_classes,
            "label_offset": int(settings.get("label_offset") or 0) if has_more else 0,
        }
        with noted_state(module, kept):
            timm.models.load_pretrained(
                module, config, num_classes=n_classes, filter_fn=loading.get("filter_fn")
            )
        return kept

    return convert


def timm_name(name: str) -> tuple[str, str]:
    """The name under which timm of the day knows a model, and what was changed."""
    plain = name
    for start in ("hf-hub:timm/", "hf_hub:timm/", "timm/"):
        plain = plain.removeprefix(start)
    if plain != name and not timm.is_model_pretrained(plain):
        plain = name
    if is_remote(plain):
        return plain, ""
    architecture, _, tag = plain.partition(".")
    current = timm.models.get_deprecated_models().get(architecture)
    if current:
        mapped = current if not tag else f"{current.partition('.')[0]}.{tag}"
        return mapped, f"timm renamed {plain} to {mapped}"
    if not timm.is_model(architecture):
        raise BackboneError(unknown_name(plain, timm.list_models(), noun="timm model"))
    known = [full.partition(".")[2] for full in timm.list_models(architecture, include_tags=True)]
    if tag and tag not in known:
        raise BackboneError(unknown_name(tag, known, noun=f"tag of timm's {architecture}"))
    return plain, "" if plain == name else f"{name} is timm's {plain}"


def is_remote(name: str) -> bool:
    """Whether a name is of a hub repository or folder: "hf-hub:owner/model", "local-dir:PATH"."""
    return ":" in name or "/" in name


def timm_preprocessing(
    settings: Mapping[str, Any], kwargs: Mapping[str, Any] | None = None
) -> Preprocessing:
    """The evaluation preprocessing of a pretrained configuration of timm."""
    resolved: dict[str, Any] = timm.data.config.resolve_data_config(  # type: ignore[no-untyped-call]
        {}, pretrained_cfg=settings or {"mean": None}
    )
    _, height, width = resolved["input_size"]
    size = (kwargs or {}).get("img_size")
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    return usual_preprocessing(
        height,
        width,
        crop_fraction=float(resolved["crop_pct"]),
        interpolation=str(resolved["interpolation"]),
        mean=resolved["mean"],
        std=resolved["std"],
    )


def timm_classes(settings: Mapping[str, Any], num_classes: int | None = None) -> Classes:
    """What the outputs of a pretrained configuration of timm mean."""
    n_outputs = int(settings.get("num_classes") or 0)
    if num_classes is not None and num_classes != n_outputs:
        return Classes(num_classes, "as the config says") if num_classes else Classes()
    if names := settings.get("label_names"):
        return Classes(n_outputs, f"{names[0]}, ...")
    if subset := timm.data.imagenet_info.infer_imagenet_subset(dict(settings)):
        return Classes(n_outputs, f"ImageNet ({subset})")
    return Classes(num_classes, "as the config says") if num_classes else Classes()


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature

    name, renamed = timm_name(params.name)
    try:
        repository, revision, names = _repository(name)
        if pretrained and repository:
            reach_hub(repository, revision, names)
        settings = _settings(name)
    except Exception as error:
        raise BackboneError(_unreachable(params, name, error)) from error
    if pretrained and not is_remote(name) and not timm.is_model_pretrained(name):
        raise BackboneError(
            f"timm publishes no weights for {name}: name a tag that has some, or give a file of "
            "your own to kind: checkpoint"
        )
    arguments = {**settings.get(MODEL_ARGS, {}), **params.model_kwargs}
    kwargs = timm_kwargs(arguments, settings, params.preprocessing)
    try:
        module = timm.create_model(name, pretrained=pretrained, **kwargs)
    except Exception as error:
        if not is_remote(name):
            with refused_arguments("timm", name, kwargs):  # is it for these, or for the weights?
                timm.create_model(name, pretrained=False, **kwargs)
        raise BackboneError(_unreachable(params, name, error)) from error
    tag = settings.get("tag")
    return Built(
        Architecture(
            module,
            f"timm {settings.get('architecture', name)}",
            timm_preprocessing(settings, kwargs),
            timm_classes(settings),
            model_kwargs=kwargs,
        ),
        params.name,
        weights=f"timm pretrained tag {tag}" if tag else f"timm {name}",
        licence=str(settings.get("license") or "not stated"),
        fit=Fit(reading=(renamed,) if renamed else ()),
    )


def _settings(name: str) -> dict[str, Any]:
    """The pretrained configuration of a model, from the hub or a folder where it lies there."""
    if not is_remote(name):
        return timm_settings(name)
    source, identifier = timm.models.parse_model_name(name)
    hub = timm.models._hub
    is_folder = source == "local-dir"
    read = hub.load_model_config_from_path if is_folder else hub.load_model_config_from_hf
    return with_arguments(*read(identifier))


def with_arguments(
    config: Mapping[str, Any], architecture: str, arguments: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The pretrained configuration of a config.json, with the arguments of its model."""
    fields = {field.name for field in dataclasses.fields(timm.models.PretrainedCfg)}
    settings = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in dict(config).items()
        if value is not None and name in fields
    }
    given = {  # what the configuration says itself
        name: value
        for name, value in dict(arguments or {}).items()
        if name != "num_classes" and (name, value) != ("in_chans", 3)
    }
    return {**settings, "architecture": architecture, MODEL_ARGS: given}


def _repository(name: str) -> tuple[str, str | None, tuple[str, ...]]:
    """Hub repository, revision and names of the file that timm would read."""
    if is_remote(name):
        source, identifier = timm.models.parse_model_name(name)
        repository, _, revision = identifier.partition("@")
        return repository if source == "hf-hub" else "", revision or None, _HUB_NAMES
    known = timm.get_pretrained_cfg(name)
    repository, _, revision = str((known.hf_hub_id if known else None) or "").partition("@")
    names = (known.hf_hub_filename,) if known and known.hf_hub_filename else _HUB_NAMES
    return repository, revision or None, names


def _unreachable(params: Params, name: str, error: Exception) -> str:
    """Why weights could not be had: a file that is there but broken is not a missing one."""
    reason = first_line(error)
    for file in _files(params):
        read_tensors(file)  # raises what is wrong with it
        return f"timm {name}: its weights are in {file}, but do not fit ({reason})"
    if name.startswith("local-dir:"):
        return f"timm {name}: expected a folder with config.json and weights ({reason})"
    repository, _, names = _repository(name)
    other = ""
    if not is_remote(name):
        known = timm.get_pretrained_cfg(name)
        tag = f".{known.tag}" if "." not in name and known and known.tag else ""
        other = (
            f"; or keep the file {names[0]} anywhere and use 'kind: checkpoint' with "
            f"'architecture: {name}{tag}' and 'file: PATH'"
        )
    return (
        f"timm {name}: its weights are neither in the local cache nor could they be fetched "
        f"({reason}). Without network: fetch the hub repository {repository or '(none)'} on "
        f"another machine and copy its cache folder to {hub_folder(repository)}{other}"
    )


def _files(params: Params) -> tuple[Path, ...]:
    """The file that timm would read, if it is in the cache of the hub it comes from."""
    from huggingface_hub import try_to_load_from_cache

    # timm takes seconds to load, and says the same each time.
    key = digest(installed(), params.name)
    name, repository, revision, names, file = remembered("timm", key, partial(_place_of, params))
    if name.startswith("local-dir:"):
        folder = Path(name.partition(":")[2])
        return tuple(folder / file for file in _HUB_NAMES if (folder / file).is_file())[:1]
    if repository:
        cached = (try_to_load_from_cache(repository, each, revision=revision) for each in names)
        return tuple(Path(path) for path in cached if isinstance(path, str))[:1]
    place = published_files() / file
    return (place,) if file and place.is_file() else ()


def _place_of(params: Params) -> tuple[str, str, str | None, tuple[str, ...], str]:
    """Where timm has a model from: its name, `_repository`, and the file of its own address."""
    name, _ = timm_name(params.name)
    known = None if is_remote(name) else timm.get_pretrained_cfg(name)
    url = known.url if known is not None and isinstance(known.url, str) else ""
    return name, *_repository(name), url.rpartition("/")[2]


def _matching(pattern: str) -> tuple[dict[str, Any], ...]:
    key = digest(installed(), "matching", pattern)
    found = remembered("timm", key, lambda: list(timm.list_pretrained(pattern)))
    return tuple({"name": name} for name in found)


def _refilled(params: Params, file: Path) -> Built:
    name, _ = timm_name(params.name)
    if is_remote(name):
        raise BackboneError(f"{params.name}: weights of a hub repository cannot be exchanged")
    architecture = timm_architecture(name, params.model_kwargs, wanted=params.preprocessing)
    fit = fill_from(file, architecture)
    return Built(architecture, params.name, file.name, licence="not stated", fit=fit)


PLUGIN = BackboneSource(
    title="timm model",
    params_type=Params,
    build=_build,
    files=_files,
    refilled=_refilled,
    matching=_matching,
)
