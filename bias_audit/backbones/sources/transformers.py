"""Vision models of transformers, by name on its hub or from a folder; safetensors files alone."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub import try_to_load_from_cache
from pydantic import Field
from torch import Tensor, nn

from bias_audit.backbones.extras import first_line, hub_folder, needed, reach_hub
from bias_audit.backbones.head import Classes
from bias_audit.backbones.loading import (
    Architecture,
    BackboneParams,
    BackboneSource,
    Built,
    Fit,
    OwnPreprocessing,
)
from bias_audit.backbones.sources._image_processors import preprocessing_of
from bias_audit.backbones.weight_files import read_tensors
from bias_audit.config.catalog import first_names
from bias_audit.errors import BackboneError

_KIND: Final = "transformers"
_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json")
_OF_TEXTS: Final = ("text_model.", "text_projection.", "logit_scale", "logit_bias")
_OF_IMAGES: Final = r"^(model\.)?(vision_model|vision_tower)\.(vision_model\.)?"
"""What the tower of images is called in the weights of a larger model."""
_PREFIXES: Final = ("cls_token", "class_embedding", "distillation_token", "register_tokens")
"""What modules call the tokens that they put before those of patches."""


class Params(BackboneParams):
    """Which vision model of transformers."""

    name: str = Field(
        description='A model on the hub, such as "google/vit-base-patch16-224", or a folder that '
        "save_pretrained wrote; weights are read from safetensors files alone."
    )
    revision: str | None = Field(
        default=None,
        description="Commit, tag or branch on the hub; a commit of 40 digits makes sure that the "
        "weights stay the same.",
    )
    preprocessing: OwnPreprocessing = OwnPreprocessing()


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    return _built(params, "published" if pretrained else None)


def _built(params: Params, weights: Path | str | None) -> Built:
    """With the published weights, those of a file, or none."""
    library = needed(_KIND, extra=_KIND, kind=_KIND)
    with _quiet(library):
        config = _config(library, params)
        where = f"transformers {params.name}"
        model_class, config = _model_class(library, config, where)
        fit, commit = Fit(), str(getattr(config, "_commit_hash", None) or "")
        if weights is None:
            module = model_class(config)
        else:
            module, fit = _filled(model_class, config, params, weights)
        preprocessing, source = preprocessing_of(
            _processor(library, params),
            params.preprocessing,
            where=where,
            usual_size=_side(config),
        )
    _prepare(module.float(), config)
    is_folder = _is_folder(params)
    assumed: tuple[str, ...] = ()
    if not is_folder and params.revision != commit and weights is not None:
        assumed = (
            f"the config pins no commit of {params.name}, whose weights may change; those of "
            f"revision {commit or 'unknown'} were used",
        )
    if config.model_type == "hiera":
        assumed = (
            *assumed,
            "tokens of Hiera lie in the order of its mask units, so that positions are not places "
            "of the image; set activations.positions: 0",
        )
    at = "" if is_folder else f" at revision {commit or params.revision or 'unknown'}"
    return Built(
        Architecture(
            module,
            f"transformers {type(module).__name__}",
            preprocessing,
            _classes(type(module).__name__, config),
            libraries=(_KIND,),
            embed_texts=_text_tower(library, params),
        ),
        Path(params.name).name if is_folder else params.name,
        weights.name if isinstance(weights, Path) else f"transformers {params.name}{at}",
        licence="see the model's own page",
        fit=Fit(fit.missing, fit.unexpected, fit.misshapen, reading=(source,), assumed=assumed),
    )


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without bars and warnings of the library; what they say is in the record."""
    before, had_bars = library.logging.get_verbosity(), library.logging.is_progress_bar_enabled()
    library.logging.set_verbosity(logging.CRITICAL)
    library.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.logging.set_verbosity(before)
        if had_bars:
            library.logging.enable_progress_bar()


def _config(library: Any, params: Params) -> Any:
    if _is_folder(params) and not (_place(params) / "config.json").is_file():
        raise BackboneError(
            f"transformers {params.name}: expected a folder that save_pretrained wrote, found no "
            "config.json in it"
        )
    if _is_folder(params) and params.revision is not None:
        raise BackboneError(
            f"transformers {params.name}: a folder has no revision, got {params.revision!r}; "
            "remove this key"
        )
    try:
        if not _is_folder(params):
            reach_hub(params.name, params.revision, ("config.json",))
        return library.AutoConfig.from_pretrained(
            _source(params), revision=params.revision or "main", trust_remote_code=False
        )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise BackboneError(
                f"transformers {params.name}: its config asks to run code of its own, which is "
                "never done; name a model whose architecture is part of transformers"
            ) from error
        raise BackboneError(_unreachable(params, error)) from error


def _place(params: Params) -> Path:
    return Path(params.name).expanduser()


def _is_folder(params: Params) -> bool:
    try:
        return _place(params).is_dir()
    except (OSError, RuntimeError):  # a name that is too long for a file, or another's home
        return False


def _source(params: Params) -> str:
    """What the library takes as the name of a model."""
    return str(_place(params)) if _is_folder(params) else params.name


def _unreachable(params: Params, error: Exception) -> str:
    with contextlib.suppress(OSError, RuntimeError):
        if _place(params).is_file():
            return (
                f"transformers {params.name}: expected a folder that save_pretrained wrote, got a "
                "file; name its folder"
            )
    is_path = params.name.startswith(("~", ".", "/")) or "/" not in params.name.strip("/")
    if _is_folder(params) or is_path:
        return (
            f"transformers {params.name}: expected a folder that save_pretrained wrote, or the "
            f"name of a model on the hub ({first_line(error)})"
        )
    return (
        f"transformers {params.name}: it is neither in the local cache nor could it be fetched "
        f"({first_line(error)}). Without network: fetch it on another machine and copy its cache "
        f"folder to {hub_folder(params.name)}, or name a folder that save_pretrained wrote"
    )


def _model_class(library: Any, config: Any, where: str) -> tuple[Any, Any]:
    """The class whose module sees images, and its config: of a pair, those of its image tower."""
    stem = type(config).__name__.removesuffix("Config")
    named = [
        name for name in config.architectures or () if name.endswith("ForImageClassification")
    ]
    if hasattr(config, "vision_config") and not named:
        named = [f"{stem}VisionModelWithProjection", f"{stem}VisionModel"]
        config = _of_images(config)
    elif stem.endswith("Vision"):
        named = [*(config.architectures or ()), f"{stem}Model"]
    classes = [getattr(library, name) for name in named if hasattr(library, name)]
    found = next((each for each in classes if each.config_class is type(config)), None)
    if found is None:
        found = library.MODEL_MAPPING.get(type(config), None)
    if isinstance(found, tuple):
        found = found[0]
    if found is None or found.main_input_name != "pixel_values":
        raise BackboneError(
            f"{where}: expected a model of images, got {type(config).__name__}, for which "
            "transformers has none; if one of its parts sees images, save that by "
            "save_pretrained, and name its folder"
        )
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0  # masked autoencoders see the whole image
    return found, config


def _of_images(whole: Any) -> Any:
    """The config of the tower of images, with what only the pair says."""
    part = whole.vision_config
    part._commit_hash = getattr(whole, "_commit_hash", None)
    if hasattr(part, "projection_dim") and hasattr(whole, "projection_dim"):
        part.projection_dim = whole.projection_dim
    return part


def _filled(
    model_class: Any, config: Any, params: Params, weights: Path | str
) -> tuple[nn.Module, Fit]:
    given: dict[str, Any] = {"revision": params.revision or "main", "use_safetensors": True}
    source: str | None = _source(params)
    if isinstance(weights, Path):
        nests, _ = read_tensors(weights)
        largest: Mapping[str, Tensor] = max(nests.values(), key=len)
        source, given = None, {"state_dict": largest}
    try:
        for mapping in (None, {_OF_IMAGES: ""}):
            module, info = model_class.from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                key_mapping=mapping,
                **given,
            )
            if len(info["missing_keys"]) < sum(1 for _ in module.parameters()):
                break
    except Exception as error:
        raise BackboneError(_unloadable(params, error)) from error
    shapes = {
        name: f"expected {tuple(expected)}, got {tuple(got)}"
        for name, got, expected in sorted(info["mismatched_keys"])
    }
    unexpected = [name for name in info["unexpected_keys"] if not name.startswith(_OF_TEXTS)]
    missing = [name for name in info["missing_keys"] if name not in shapes]
    return module, Fit(tuple(sorted(missing)), tuple(sorted(unexpected)), shapes)


def _unloadable(params: Params, error: Exception) -> str:
    place = _place(params)
    if not _is_folder(params):
        return _unreachable(params, error)
    found = sorted(path.name for path in place.iterdir())
    if not any((place / name).is_file() for name in _WEIGHTS):
        return (
            f"transformers {place}: expected {' or '.join(_WEIGHTS)}, got {first_names(found)}; "
            "weights in other forms could run code: save the model again with save_pretrained"
        )
    for file in place.glob("*.safetensors"):
        read_tensors(file)  # raises what is wrong with it
    return f"transformers {place}: its weights do not fit its config ({first_line(error)})"


def _processor(library: Any, params: Params) -> object | None:
    try:
        found: object = library.AutoImageProcessor.from_pretrained(
            _source(params), revision=params.revision or "main", trust_remote_code=False
        )
    except Exception:  # noqa: BLE001  none there, or of an unknown class: the config has to say
        return None
    return found


def _side(config: Any) -> int | None:
    side = getattr(config, "image_size", None)
    return side if isinstance(side, int) else None


def _classes(name: str, config: Any) -> Classes:
    if not name.endswith("ForImageClassification"):
        return Classes()
    labels = list((config.id2label or {}).values()) or [""] * config.num_labels
    named = labels[0] not in {"", "LABEL_0"}
    return Classes(
        len(labels), f"its config ({first_names(labels, 2)})" if named else "its config, unnamed"
    )


def _prepare(module: nn.Module, config: Any) -> None:
    """Let a module take images alone, return one tensor, and say how its tokens begin."""
    for part in module.modules():
        vars(part).pop("name_or_path", None)  # no place takes part in the fingerprint
    settings = config.to_diff_dict()
    for name in ("transformers_version", "_name_or_path", "id2label", "label2id", "dtype"):
        settings.pop(name, None)
    module.settings = repr(sorted(settings.items(), key=str))  # type: ignore[assignment]
    prefix = sum(
        parameter.shape[1] if parameter.ndim > 2 else 1  # noqa: PLR2004
        for name, parameter in module.named_parameters()
        if name.endswith(_PREFIXES)
    )
    if prefix > 1:  # one is found by the count of tokens
        module.num_prefix_tokens = prefix  # type: ignore[assignment]
    accepted = inspect.signature(module.forward).parameters
    if "spatial_shapes" in accepted:
        side = int(config.patch_size)
        module.register_forward_pre_hook(lambda _m, images: _patches(images[0], side))
    elif "noise" in accepted:  # the order of tokens, drawn at random unless it is given
        module.register_forward_pre_hook(
            lambda part, images, kwargs: (images, {**kwargs, "noise": _order(part, images[0])}),
            with_kwargs=True,
        )
    module.register_forward_hook(lambda _m, _inputs, output: _answer(output))


def _patches(images: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images as models of any shape take them: rows of patches, a mask, and the grid's shape."""
    rows = images.unfold(2, side, side).unfold(3, side, side)
    n, _, height, width = rows.shape[:4]
    flat = rows.permute(0, 2, 3, 4, 5, 1).reshape(n, height * width, -1)
    mask = torch.ones(n, height * width, device=images.device)
    return flat, mask, torch.tensor([[height, width]] * n)


def _order(module: nn.Module, images: Tensor) -> Tensor:
    """Rising numbers, by which tokens are sorted and so stay where they are."""
    config: Any = module.config
    side: Any = config.patch_size
    step = side if isinstance(side, int) else side[0]
    stride: Any = getattr(config, "patch_stride", None)
    step = stride[0] if stride else step
    unit: Any = getattr(config, "masked_unit_size", None)
    step *= 1 if unit is None else unit[0]
    count = (images.shape[2] // step) * (images.shape[3] // step)
    return torch.arange(count, device=images.device).repeat(len(images), 1).float()


def _answer(output: Any) -> object:
    """Class scores, else the embedding, else what the last layer gave."""
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "image_embeds", "pooler_output", "last_hidden_state"):
        found = getattr(output, name, None)
        if isinstance(found, Tensor):
            return found.flatten(1) if name == "pooler_output" else found
    return output


def _text_tower(library: Any, params: Params) -> Callable[[Sequence[str]], Tensor]:
    def embed(texts: Sequence[str]) -> Tensor:
        where = f"zero_shot.prompts: transformers {params.name}"
        try:
            with _quiet(library):
                at: dict[str, Any] = {"revision": params.revision or "main"}
                model = library.AutoModel.from_pretrained(
                    _source(params), use_safetensors=True, dtype=torch.float32, **at
                )
                tokenizer = library.AutoTokenizer.from_pretrained(_source(params), **at)
                given = _tokens(tokenizer, model, texts, where)
            with torch.inference_mode():
                found: Any = model.eval().get_text_features(**given)
        except BackboneError:
            raise
        except Exception as error:
            raise BackboneError(
                f"{where} has no text tower with a tokenizer that could be read "
                f"({first_line(error)}); give zero_shot.embeddings as a file"
            ) from error
        embedded = found if isinstance(found, Tensor) else found.pooler_output
        return embedded.clone()

    return embed


def _tokens(tokenizer: Any, model: Any, texts: Sequence[str], where: str) -> Any:
    known, wanted = len(tokenizer), model.config.text_config.vocab_size
    if not wanted // 2 < known <= wanted:  # the library makes up a tokenizer that is not there
        raise BackboneError(
            f"{where}: its tokenizer has {known} entries, its text tower {wanted}; give "
            "zero_shot.embeddings as a file"
        )
    padding = "max_length" if "iglip" in type(model).__name__ else True
    return tokenizer(list(texts), padding=padding, truncation=True, return_tensors="pt")


def _files(params: Params) -> tuple[Path, ...]:
    if _is_folder(params):
        return tuple(sorted(_place(params).glob("*.safetensors")))
    try:
        cached = [
            try_to_load_from_cache(params.name, each, revision=params.revision)
            for each in _WEIGHTS
        ]
    except ValueError:  # no name of the hub, which building says
        return ()
    return tuple(Path(path) for path in cached if isinstance(path, str))[:1]


PLUGIN = BackboneSource(
    title="transformers model",
    params_type=Params,
    build=_build,
    files=_files,
    refilled=_built,
    called=lambda params: Path(params.name).name if _is_folder(params) else params.name,
)
