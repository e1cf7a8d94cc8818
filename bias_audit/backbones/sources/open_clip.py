"""Image towers of OpenCLIP, by name and tag, from a folder, or with weights from a local file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from bias_audit.backbones.extras import first_line, needed, reach_hub
from bias_audit.backbones.loading import (
    Architecture,
    BackboneParams,
    BackboneSource,
    Built,
    Fit,
    OwnPreprocessing,
    Preprocessing,
)
from bias_audit.backbones.pooling import hidden
from bias_audit.backbones.weight_files import read_tensors, refuse_missing
from bias_audit.backbones.weights import fill_from
from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import UserPath
from bias_audit.errors import BackboneError

_KIND: Final = "open_clip"
_FOLDER: Final = "local-dir:"
_NAMES: Final = ("open_clip_model.safetensors", "model.safetensors")
_RESIZED: Final = {"shortest": "crop", "squash": "stretch"}


class Params(BackboneParams):
    """Which image tower."""

    name: str = Field(
        description='An architecture of OpenCLIP, such as "ViT-B-32", or '
        '"local-dir:FOLDER" with an open_clip_config.json.'
    )
    weights: str | None = Field(
        default=None, description='A published tag, such as "laion2b_s34b_b79k".'
    )
    file: UserPath | None = Field(
        default=None,
        description="Weights in place of a tag: a .safetensors file, or what torch.save wrote; "
        "default for a folder: open_clip_model.safetensors in it.",
    )
    licence: str = Field(default="see the page of these weights", description="For the report.")
    preprocessing: OwnPreprocessing = OwnPreprocessing()


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    _refuse_unknown(needed(_KIND, extra=_KIND, kind=_KIND), params)
    return _filled(params, _file(params) if pretrained else None)


def _filled(params: Params, file: Path | None) -> Built:
    library = needed(_KIND, extra=_KIND, kind=_KIND)
    with _quiet():
        model = _model(library, params)
    tower: nn.Module = model.visual
    tower.register_forward_hook(lambda _m, _inputs, output: hidden(output))
    architecture = Architecture(
        tower,
        f"open_clip {_architecture(params)}",
        _preprocessing(library, model, params),
        libraries=("open-clip-torch",),
        embed_texts=_text_tower(library, params, file),
    )
    fit = fill_from(file, architecture) if file is not None else Fit()
    texts = ("transformer.", "text.", "token_embedding.", "ln_final.", "logit_", "positional_")
    rest = tuple(name for name in fit.unexpected if not name.startswith((*texts, "text_proj")))
    fit = Fit(fit.missing, rest, fit.misshapen, fit.reading, fit.assumed)
    source = params.weights if params.file is None and params.weights else None
    named = f"open_clip tag {source}" if source else file.name if file else "none"
    return Built(architecture, _called(params), named, params.licence, fit)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's lines in the root logger: weights are read here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _architecture(params: Params) -> str:
    return Path(params.name.removeprefix(_FOLDER)).name


def _refuse_unknown(library: Any, params: Params) -> None:
    name = params.name
    if name.startswith(_FOLDER):
        if not (_folder(params) / "open_clip_config.json").is_file():
            raise BackboneError(f"open_clip {name}: expected a folder with open_clip_config.json")
    elif name.startswith("hf-hub:"):
        raise BackboneError(
            f"open_clip {name}: expected the name of an architecture; fetch the repository and "
            f"name its folder ({_FOLDER}FOLDER), or name the architecture, and a tag as weights"
        )
    elif name not in library.list_models():
        raise BackboneError(unknown_name(name, library.list_models(), noun="open_clip model"))


def _folder(params: Params) -> Path:
    return Path(params.name.removeprefix(_FOLDER)).expanduser()


def _model(library: Any, params: Params) -> Any:
    """Both towers, without weights."""
    is_folder = params.name.startswith(_FOLDER)
    name = f"{_FOLDER}{_folder(params)}" if is_folder else params.name
    try:
        return library.create_model(
            name,
            pretrained=None,
            load_weights=False,
            pretrained_image=False,
            pretrained_text=False,
        ).eval()
    except Exception as error:
        raise BackboneError(f"open_clip {name} cannot be built: {first_line(error)}") from error


def _preprocessing(library: Any, model: Any, params: Params) -> Preprocessing:
    known = dict(library.get_model_preprocess_cfg(model))
    if params.weights is not None:
        published = library.get_pretrained_cfg(params.name, params.weights)
        known |= {key: published[key] for key in known.keys() & published.keys() - {"size"}}
    mode, filters = known.get("resize_mode", "shortest"), known.get("interpolation", "bicubic")
    if mode not in _RESIZED and params.preprocessing.resize is None:
        raise BackboneError(
            f"open_clip {params.name}: its images are resized by {mode!r}, with bars beside them, "
            "which cannot be repeated; set preprocessing.resize to stretch or crop"
        )
    size = known["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    resize: Any = _RESIZED.get(mode, "stretch")
    used: Any = "bicubic" if filters == "random" else filters
    return Preprocessing(
        height, width, resize, 1.0, used, tuple(known["mean"]), tuple(known["std"])
    )


def _file(params: Params) -> Path:
    """Where the weights are; those of a tag are fetched into the library's cache."""
    if params.file is not None:
        refuse_missing(params.file)
        return params.file
    if found := _files(params):
        return found[0]
    if params.name.startswith(_FOLDER) or params.weights is None:
        raise BackboneError(
            f"open_clip {params.name}: no weights; expected {_NAMES[0]} in the folder, or the key "
            "file with a local file, or weights with a published tag"
        )
    library = needed(_KIND, extra=_KIND, kind=_KIND)
    tags = library.list_pretrained_tags_by_model(params.name)
    if params.weights not in tags:
        raise BackboneError(unknown_name(params.weights, tags, noun=f"{params.name} weights"))
    published = library.get_pretrained_cfg(params.name, params.weights)
    wants_quick = bool(published.get("quick_gelu"))
    if wants_quick and not library.get_model_config(params.name).get("quick_gelu"):
        raise BackboneError(
            f"open_clip {params.name}: the weights {params.weights} were trained with another "
            f"activation function; name {params.name}-quickgelu"
        )
    try:
        if hub := str(published.get("hf_hub") or "").strip("/"):
            reach_hub(hub, None, _NAMES)
        with _quiet():
            return Path(library.download_pretrained(published))
    except Exception as error:
        raise BackboneError(
            f"open_clip {params.name}: the weights {params.weights} are neither in the local "
            f"cache nor could they be fetched ({first_line(error)}). Without network: fetch "
            f"{hub or published.get('url')} on another machine and name the file with the key file"
        ) from error


def _text_tower(
    library: Any, params: Params, file: Path | None
) -> Callable[[Sequence[str]], Tensor]:
    def embed(texts: Sequence[str]) -> Tensor:
        where = f"zero_shot.prompts: open_clip {params.name}"
        if file is None:
            raise BackboneError(f"{where}: no weights for its text tower")
        with _quiet():
            model = _model(library, params)
            state = max(read_tensors(file)[0].values(), key=len)
            lacking = model.load_state_dict(dict(state), strict=False).missing_keys
            if lacking:
                raise BackboneError(
                    f"{where}: {file.name} lacks weights of the text tower, such as {lacking[0]}; "
                    "give zero_shot.embeddings as a file"
                )
            try:
                tokens = library.get_tokenizer(params.name)(list(texts))
            except Exception as error:
                raise BackboneError(
                    f"{where}: its tokenizer cannot be had ({first_line(error)}); give "
                    "zero_shot.embeddings as a file"
                ) from error
        with torch.inference_mode():
            embedded: Tensor = model.encode_text(tokens)
        return embedded.clone()

    return embed


def _files(params: Params) -> tuple[Path, ...]:
    if params.file is not None:
        return (params.file,) if params.file.is_file() else ()
    folder = _folder(params)
    if not params.name.startswith(_FOLDER):
        return ()
    return tuple(folder / each for each in _NAMES if (folder / each).is_file())[:1]


def _called(params: Params) -> str:
    tail = params.weights or (params.file.stem if params.file else "")
    return f"{_architecture(params)} {tail}".strip()


def _matching(pattern: str) -> tuple[dict[str, Any], ...]:
    library = needed(_KIND, extra=_KIND, kind=_KIND)
    return tuple(
        {"name": name, "weights": tag}
        for name, tag in library.list_pretrained()
        if fnmatchcase(name, pattern)
    )


PLUGIN = BackboneSource(
    title="OpenCLIP image tower",
    params_type=Params,
    build=_build,
    files=_files,
    refilled=_filled,
    matching=_matching,
    called=_called,
)
