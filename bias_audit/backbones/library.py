"""What an architecture of a model library is, and what its ways of building have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from bias_audit.backbones.head import Classes
from bias_audit.backbones.loading import Built, Preprocessing
from bias_audit.backbones.pooling import OutputShape, output_shape
from bias_audit.backbones.weights import Converter, Fit, Tensors
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import BackboneError

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


@dataclass(frozen=True)
class Architecture:
    """A module without weights, with what its library knows about them."""

    module: nn.Module
    title: str
    """Such as "timm resnet50"."""
    preprocessing: Preprocessing
    classes: Classes
    convert: Converter
    """Names and shapes of a file's tensors as the library reads them."""
    model_kwargs: dict[str, Any]
    """Keyword arguments that the library built it with, as far as a config may set them."""


def built_from(architecture: Architecture, fit: Fit, **named: Any) -> Built:
    """What a source hands over: an architecture, and how a file filled it.

    Args:
        architecture: With its weights.
        fit: No file: the default one.
        named: The other fields of `Built`, which no file decides.
    """
    return Built(
        module=architecture.module,
        architecture=architecture.title,
        preprocessing=architecture.preprocessing,
        classes=architecture.classes,
        model_kwargs=architecture.model_kwargs,
        missing=fit.missing,
        unexpected=fit.unexpected,
        misshapen=fit.misshapen,
        **{"reading": fit.reading, "assumed": fit.assumed, **named},
    )


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


def known_interpolation(name: str) -> Any:
    """One of the interpolations a `Preprocessing` may name."""
    if name not in {"bilinear", "bicubic", "nearest"}:
        raise BackboneError(f"interpolation {name!r}: expected bilinear, bicubic or nearest")
    return name


def three(values: Any) -> tuple[float, float, float]:
    """Numbers of the red, green and blue channel."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue


_STAGE_CLASS = re.compile(r"(Stage|Level)$")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_CONVOLUTION_AND_NORM = 2
_MAX_EVEN_STAGES = 6
_TRACED = 2
"""Images in the traced batch: with one, a row per image and a row per batch look alike."""


@dataclass(frozen=True)
class Trace:
    """One forward pass, seen from outside."""

    order: tuple[str, ...]
    """Module names as they finished, first call only."""
    calls: dict[str, int]
    outputs: dict[str, OutputShape | BackboneError]


def trace(
    module: nn.Module, size: tuple[int, int], *, channels_last: bool, prefix_tokens: int | None
) -> Trace:
    """Pass blank images through a module and note what every part of it returned."""
    order: list[str] = []
    calls: dict[str, int] = {}
    outputs: dict[str, OutputShape | BackboneError] = {}

    def note(name: str, output: object) -> None:
        calls[name] = calls.get(name, 0) + 1
        if calls[name] > 1:
            return
        order.append(name)
        try:
            outputs[name] = output_shape(
                name,
                output,
                n_images=_TRACED,
                channels_last=channels_last,
                prefix_tokens=prefix_tokens,
            )
        except BackboneError as error:
            outputs[name] = error

    def hook(name: str) -> torch.utils.hooks.RemovableHandle:
        return module.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output: note(name, output)
        )

    handles = [hook(name) for name, _ in module.named_modules() if name]
    try:
        with torch.inference_mode():
            module(torch.zeros(_TRACED, 3, *size))
    except (RuntimeError, ValueError, AssertionError) as error:
        height, width = size
        raise BackboneError(
            f"the backbone does not accept a {height} x {width} image: {error}; where its "
            "architecture has a size of its own, set that with model_kwargs"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return Trace(tuple(order), calls, outputs)


def resolve_layers(
    module: nn.Module, wanted: str | Sequence[str], seen: Trace
) -> tuple[tuple[str, OutputShape], ...]:
    """Turn a config's choice of layers into names, in order of depth.

    Raises:
        BackboneError: A name or pattern fits no module, or fits one that cannot be read.
    """
    if wanted == "blocks":
        names = blocks(module, seen)
    elif wanted == "stages":
        names = stages(module, seen)
    else:
        names = [name for pattern in wanted for name in _matching(pattern, module, seen)]
    chosen = [name for name in seen.order if name in set(names)]
    return tuple((name, _readable(name, seen)) for name in chosen)


def _readable(name: str, seen: Trace) -> OutputShape:
    shape = seen.outputs[name]
    if isinstance(shape, BackboneError):
        raise shape
    if seen.calls[name] > 1:
        raise BackboneError(
            f"layer {name!r} runs {seen.calls[name]} times in one pass, so it has no single "
            f"output; choose the module around it, such as {name.rpartition('.')[0]!r}"
        )
    return shape


def _matching(pattern: str, module: nn.Module, seen: Trace) -> list[str]:
    names = [name for name, _ in module.named_modules() if name]
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    glob = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    expression = re.compile("".join(glob.get(part, re.escape(part)) for part in parts))
    found = [name for name in names if expression.fullmatch(name)]
    if not found:
        raise BackboneError(unknown_name(pattern, names, noun="layer"))
    running = [name for name in found if name in seen.calls]
    if not running:
        raise BackboneError(f"layer {pattern!r} takes no part in a forward pass")
    return running


def stages(module: nn.Module, seen: Trace) -> list[str]:
    """The last layer of each resolution: timm's feature info, else the last block of each.

    Architectures of one resolution throughout (vision transformers) give four evenly spaced
    blocks.
    """
    info = getattr(module, "feature_info", None)
    names = [entry["module"] for entry in info] if info else []
    if not names or any(name not in seen.calls for name in names):
        names = _last_of_each_resolution(blocks(module, seen), seen)
    reductions = {_resolution(name, seen) for name in names}
    if len(reductions) == 1 and len(names) > _MAX_EVEN_STAGES:
        quarter = len(names) / 4
        names = [names[round(quarter * k) - 1] for k in (1, 2, 3, 4)]
    return names


def _last_of_each_resolution(names: list[str], seen: Trace) -> list[str]:
    if len({_resolution(name, seen) for name in names}) == 1:
        return names
    last = {_resolution(name, seen): name for name in names}
    return [name for name in names if name in last.values()]


def _resolution(name: str, seen: Trace) -> tuple[int, int]:
    shape = seen.outputs.get(name)
    return (
        (0, 0)
        if shape is None or isinstance(shape, BackboneError)
        else (shape.height, shape.width)
    )


def blocks(module: nn.Module, seen: Trace) -> list[str]:
    """Every building block: composite modules that stand in a sequence of their like.

    A module whose class calls itself a stage is looked into. Architectures without such blocks
    give the composite children of the root (Inception), or every activation function between
    feature maps (VGG).
    """
    found = _blocks_below(module, "", inside_sequence=False)
    if not found:
        found = [name for name, child in module.named_children() if _composite(child)]
    if not found:
        found = [
            name
            for name, child in module.named_modules()
            if _is_activation(child) and _resolution(name, seen) != (1, 1)
        ]
    readable = [name for name in seen.order if name in set(found)]
    readable = [name for name in readable if isinstance(seen.outputs[name], OutputShape)]
    if not readable:
        raise BackboneError("no building blocks found; name the layers in the config")
    return readable


def _blocks_below(module: nn.Module, prefix: str, *, inside_sequence: bool) -> list[str]:
    children = [(f"{prefix}.{name}".lstrip("."), child) for name, child in module.named_children()]
    stage = bool(_STAGE_CLASS.search(type(module).__name__))
    if inside_sequence and _composite(module) and not stage:
        return [prefix]
    sequence = stage or isinstance(module, _CONTAINERS)
    return [
        block
        for name, child in children
        for block in _blocks_below(child, name, inside_sequence=sequence)
    ]


def _composite(module: nn.Module) -> bool:
    """More than a convolution with its normalisation."""
    if isinstance(module, _CONTAINERS):
        return False
    parametric = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]
    return len(parametric) > _CONVOLUTION_AND_NORM


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation" and not list(
        module.parameters()
    )


def runs_before_end(name: str, last: str, seen: Trace) -> bool:
    """Whether the weights of a module take part in computing the output of layer `last`.

    Weights of a module that is never called itself (attention calls its projection as a function)
    belong to the nearest module around it that is.
    """
    if not name:
        return True
    while name not in seen.calls:
        name = name.rpartition(".")[0]
        if not name:
            return False  # such as an auxiliary classifier, which only training runs
    around = last.startswith(f"{name}.")
    return around or seen.order.index(name) <= seen.order.index(last)
