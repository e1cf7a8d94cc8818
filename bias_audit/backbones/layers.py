"""The layers of a module: what a pass shows of them, and which ones a config means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bias_audit.backbones.pooling import OutputShape, output_shape
from bias_audit.config.catalog import first_names, unknown_name
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError

if TYPE_CHECKING:
    from torch import nn

_STAGE_CLASS = re.compile(r"(Stage|Level)$")
_CONVOLUTION_AND_NORM = 2
_MAX_EVEN_STAGES = 6
_TRACED = 2
"""Images in the traced batch: with one, a row per image and a row per batch look alike."""


@dataclass(frozen=True)
class Trace:
    """One forward pass, seen from outside."""

    outputs: dict[str, OutputShape | BackboneError]
    """What each module returned, by name, in the order in which they finished first."""
    calls: Counter[str]


def trace(
    module: nn.Module,
    size: tuple[int, int],
    *,
    channels_last: bool,
    prefix_tokens: int | None,
    advice: str,
) -> Trace:
    """Pass blank images through a module and note what every part returned.

    Raises:
        BackboneError: It does not accept images of this height and width; the advice says what
            to change.
    """
    seen = Trace({}, Counter())

    def note(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        seen.calls[name] += 1
        if seen.calls[name] > 1:
            return
        try:
            seen.outputs[name] = output_shape(
                name,
                output,
                n_images=_TRACED,
                channels_last=channels_last,
                prefix_tokens=prefix_tokens,
                image_size=size,
            )
        except BackboneError as error:
            seen.outputs[name] = error

    try:
        with torch.inference_mode(), ExitStack() as hooks:
            for name, part in module.named_modules():
                if name:
                    hooks.enter_context(part.register_forward_hook(partial(note, name)))
            module(torch.zeros(_TRACED, 3, *size))
    except (RuntimeError, ValueError, AssertionError) as error:
        height, width = size
        why = (str(error).splitlines() or ["no reason given"])[0]
        raise BackboneError(
            f"the backbone does not accept a {height} x {width} image ({why}); {advice}"
        ) from error
    return seen


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
    chosen: list[tuple[str, OutputShape]] = []
    for name in sorted(set(names), key=list(seen.outputs).index):
        shape = seen.outputs[name]
        if isinstance(shape, BackboneError):
            raise shape
        if seen.calls[name] > 1:
            raise BackboneError(
                f"layer {name!r} runs {seen.calls[name]} times in one pass, so it has no single "
                f"output; choose the module around it, such as {name.rpartition('.')[0]!r}"
            )
        chosen.append((name, shape))
    return tuple(chosen)


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
        names = blocks(module, seen)
        last = {_resolution(name, seen): name for name in names}
        if len(last) > 1:
            names = [name for name in names if name in last.values()]
    if len({_resolution(name, seen) for name in names}) == 1 and len(names) > _MAX_EVEN_STAGES:
        names = [names[round(len(names) / 4 * k) - 1] for k in (1, 2, 3, 4)]
    return names


def _resolution(name: str, seen: Trace) -> tuple[int, int]:
    shape = seen.outputs.get(name)
    return (shape.height, shape.width) if isinstance(shape, OutputShape) else (0, 0)


def blocks(module: nn.Module, seen: Trace) -> list[str]:
    """Every building block: composite modules in a sequence of similar ones.

    A module whose class calls itself a stage is looked into. Architectures without such blocks
    give the composite children of the root (Inception), or every activation function between
    feature maps (VGG). Graphs without modules list their own.
    """
    listed: Sequence[str] = getattr(module, "building_blocks", ())
    found = list(listed) or _blocks_below(module, "", inside_sequence=False)
    if not found:
        found = [name for name, child in module.named_children() if _composite(child)]
    if len(found) <= 1:  # none, or a wrapper around all
        activations = [
            name
            for name, child in module.named_modules()
            if type(child).__module__ == "torch.nn.modules.activation"
            and not list(child.parameters())
            and _resolution(name, seen) != (1, 1)
        ]
        found = activations or found
    shapes = seen.outputs.items()
    readable = [n for n, shape in shapes if n in set(found) and isinstance(shape, OutputShape)]
    if not readable:
        there = [name for name, shape in shapes if isinstance(shape, OutputShape)]
        raise BackboneError(
            "no building blocks found; name layers in the config, among "
            f"{first_names(there) or 'none that can be read'}"
        )
    return readable


def _blocks_below(module: nn.Module, prefix: str, *, inside_sequence: bool) -> list[str]:
    children = [(f"{prefix}.{name}".lstrip("."), child) for name, child in module.named_children()]
    stage = bool(_STAGE_CLASS.search(type(module).__name__))
    if inside_sequence and _composite(module) and not stage:
        return [prefix]
    sequence = stage or _is_container(module)
    return [
        block
        for name, child in children
        for block in _blocks_below(child, name, inside_sequence=sequence)
    ]


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, torch.nn.Sequential | torch.nn.ModuleList | torch.nn.ModuleDict)


def _composite(module: nn.Module) -> bool:
    """More than a convolution with its normalisation."""
    if _is_container(module):
        return False
    parametric = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]
    return len(parametric) > _CONVOLUTION_AND_NORM


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
    order = list(seen.outputs)
    return last.startswith(f"{name}.") or order.index(name) <= order.index(last)
