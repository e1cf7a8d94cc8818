"""Any model and pretrained tag of timm, through its hub, cache and offline mode."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Final, cast

import timm
import torch
from huggingface_hub import constants, get_session, try_to_load_from_cache
from pydantic import Field

from bias_audit.backbones.backbone import BackboneParams, BackboneSource, Built
from bias_audit.backbones.weights import timm_preprocessing
from bias_audit.errors import BackboneError

_HUB_NAMES: Final = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
"""What timm looks for in a hub repository, in this order."""


class Params(BackboneParams):
    """Which timm model."""

    name: str = Field(description='Model and pretrained tag, such as "resnet50.a1_in1k".')


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    _check_name(params.name)
    try:
        if pretrained:
            _ask_hub(params)
        module = timm.create_model(params.name, pretrained=pretrained)
    except Exception as error:
        raise BackboneError(_unreachable(params.name, error)) from error
    config = cast("dict[str, Any]", module.pretrained_cfg)
    tag = config.get("tag")
    return Built(
        module=module,
        name=params.name,
        architecture=f"timm {config.get('architecture', params.name)}",
        weights=f"timm pretrained tag {tag}" if tag else f"timm {params.name}",
        licence=str(config.get("license") or "not stated"),
        preprocessing=timm_preprocessing(module),
    )


def _ask_hub(params: Params) -> None:
    """Find out in seconds whether the hub answers, where weights have to come from there.

    The hub's own library tries for many minutes, file by file.

    Raises:
        Exception: Whatever the library of the day raises when nobody answers.
    """
    config = timm.get_pretrained_cfg(params.name)
    if constants.HF_HUB_OFFLINE or _files(params) or not (config and config.hf_hub_id):
        return
    get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        raise BackboneError(f"timm has no model {architecture!r}; nearest: {', '.join(near)}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(architecture)]
    if tag and tag not in tags:
        raise BackboneError(
            f"timm has no pretrained tag {tag!r} for {architecture}; known: {', '.join(tags)}"
        )
    if not tags:
        raise BackboneError(f"timm has no pretrained weights for {architecture}")


def _unreachable(name: str, error: Exception) -> str:
    config = timm.get_pretrained_cfg(name)
    hub_id = (config.hf_hub_id if config else None) or "(no hub repository)"
    folder = f"models--{hub_id.replace('/', '--')}"
    return (
        f"timm {name}: its weights are neither in the local cache nor could they be fetched "
        f"({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}). "
        f"Without network: fetch the hub repository {hub_id} on another machine and copy its "
        f"cache folder to {constants.HF_HUB_CACHE}/{folder}; or keep the .safetensors file "
        f"anywhere and use 'kind: checkpoint' with 'architecture: {name.partition('.')[0]}' "
        "and 'file: PATH'"
    )


def _files(params: Params) -> tuple[Path, ...]:
    """The file that timm would read, if it is in the cache of the hub it comes from."""
    config = timm.get_pretrained_cfg(params.name)
    if config is None:
        return ()
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_NAMES
        cached = (
            try_to_load_from_cache(repository, name, revision=revision or None) for name in names
        )
        return tuple(Path(path) for path in cached if isinstance(path, str))[:1]
    if isinstance(config.url, str) and config.url:
        place = Path(torch.hub.get_dir()) / "checkpoints" / config.url.rpartition("/")[2]
        return (place,) if place.is_file() else ()
    return ()


def _matching(pattern: str) -> tuple[dict[str, Any], ...]:
    return tuple({"name": name} for name in timm.list_pretrained(pattern))


PLUGIN = BackboneSource(
    title="timm model", params_type=Params, build=_build, files=_files, matching=_matching
)
