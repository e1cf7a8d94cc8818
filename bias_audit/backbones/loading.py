"""From a config's backbone to one that is ready to be audited."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import torch
from pydantic import Field
from torch import nn

from bias_audit.backbones.head import NO_CLASSES, Classes, LinearHead, find_head
from bias_audit.backbones.library import Trace, resolve_layers, runs_before_end, trace
from bias_audit.backbones.pooling import OutputShape
from bias_audit.config.catalog import MOST_NAMES, first_names
from bias_audit.config.schema import Strict
from bias_audit.errors import BackboneError
from bias_audit.files import digest
from bias_audit.results.audit import BackboneRecord, LayerRecord


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a backbone's input."""

    height: int
    """Of the input, in pixels."""
    width: int
    resize: Literal["stretch", "crop"]
    """stretch: the whole image to the input size; crop: the centre after resizing."""
    crop_fraction: float
    """Part of the resized shorter side that a crop keeps."""
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    mean: tuple[float, float, float]
    """Subtracted from RGB in [0, 1]."""
    std: tuple[float, float, float]


class PreprocessingParams(Strict):
    """What a config may change about the preprocessing that belongs to the weights."""

    resize: Literal["stretch", "crop"] = Field(
        default="stretch",
        description="stretch keeps all of a face; crop cuts the border as ImageNet tests do.",
    )
    size: int | None = Field(default=None, ge=16, description="Input side in pixels.")
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None


class BackboneParams(Strict):
    """What every backbone source understands."""

    layers: Literal["stages", "blocks"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default="stages",
        description='"stages", "blocks", or names and patterns over named_modules(): '
        "* matches within one part of a name, ** across parts.",
    )
    preprocessing: PreprocessingParams = PreprocessingParams()
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description='Module attributes to set, such as {"layer2.0.conv1.stride": [2, 2]}.',
    )


@dataclass(frozen=True)
class Built:
    """What a source hands over: a module with its weights, not yet looked into."""

    module: nn.Module
    name: str
    """For headings and folder names."""
    architecture: str
    weights: str
    licence: str
    preprocessing: Preprocessing
    classes: Classes = NO_CLASSES
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments that the library built the module with."""
    missing: tuple[str, ...] = ()
    """Entries of the module's state dict that the weights did not fill."""
    unexpected: tuple[str, ...] = ()
    """Entries of the weights that the module has no place for."""
    misshapen: dict[str, str] = field(default_factory=dict)
    """Entries of both that differ in shape, so stay unfilled: "expected (...), got (...)"."""
    reading: tuple[str, ...] = ()
    """How the weights and their preprocessing were found, in words."""
    assumed: tuple[str, ...] = ()
    """What neither the config nor the files say, in sentences."""


P = TypeVar("P", bound=BackboneParams)


def _alone(params: P) -> tuple[P, ...]:
    return (params,)


def _named(params: Any) -> str:
    return str(params.name)


class LibraryParams(BackboneParams):
    """What every source understands whose architectures come from a library."""

    model_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Keyword arguments for the library's model, such as {img_size: 224} or "
        "{dynamic_img_size: true} of timm.",
    )


def _no_files(_params: BackboneParams) -> tuple[Path, ...]:
    return ()


@dataclass(frozen=True)
class BackboneSource(Generic[P]):
    """A place backbones come from."""

    title: str
    params_type: type[P]
    build: Callable[[P, bool], Built]
    """`build(params, pretrained)`; without weights it builds the architecture alone, offline.
    Raises BackboneError."""
    steps: Callable[[P], tuple[P, ...]] = _alone
    """Parameters of each backbone that an entry of a config stands for, in the order of training;
    several are audited one after the other, the last with all before it."""
    called: Callable[[P], str] = _named
    """What the backbone will be called, told from its parameters alone."""
    files: Callable[[P], tuple[Path, ...]] = _no_files
    """The local files that `build` would take weights from, without reading them; those that have
    yet to be fetched are left out. Whether weights changed is told from these."""
    refilled: Callable[[P, Path], Built] | None = None
    """The same architecture with the weights of another file; raises BackboneError."""
    matching: Callable[[str], tuple[dict[str, Any], ...]] | None = None
    """Parameters of every backbone there is whose name, or file, matches a pattern (* and ?);
    None where there is nothing to look through."""


@dataclass(frozen=True)
class Backbone:
    """A frozen module with the layers an audit looks at."""

    module: nn.Module
    record: BackboneRecord
    preprocessing: Preprocessing
    shapes: dict[str, OutputShape]
    """How the output of each layer is to be read."""
    fingerprint: str
    """Changes with weights, architecture overrides and preprocessing."""
    head: LinearHead | None = None
    """The linear layer whose output the backbone returns."""
    without_head: str = "it was not looked for"
    """Why `head` is None."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in order of depth."""
        return tuple(layer.name for layer in self.record.layers)


def load_backbone(
    kind: str, source: BackboneSource[Any], params: BackboneParams, *, pretrained: bool = True
) -> Backbone:
    """Build a backbone, set its overrides, find its layers and take its fingerprint.

    Args:
        kind: The source's name in the config.
        source: Where the backbone comes from.
        params: As validated by the source.
        pretrained: False builds the architecture without weights, to estimate cost.

    Raises:
        BackboneError: Weights, overrides or layers do not fit the architecture.
    """
    built = source.build(params, pretrained)
    module = built.module.eval().requires_grad_(requires_grad=False)
    _override(module, params.overrides)
    preprocessing = _adjusted(built.preprocessing, params.preprocessing)
    seen = trace(
        module,
        (preprocessing.height, preprocessing.width),
        channels_last=getattr(module, "output_fmt", "NCHW") == "NHWC",
        prefix_tokens=getattr(module, "num_prefix_tokens", None),
    )
    layers = resolve_layers(module, params.layers, seen)
    _refuse_unfilled(built, layers[-1][0], seen)
    _refuse_deeper(built, layers[-1][0], seen)
    unfilled = {*built.missing, *built.misshapen}
    size = (preprocessing.height, preprocessing.width)
    searched = find_head(module, size, classes=built.classes, unfilled=unfilled)
    sha256 = weights_sha256_of(module, leave_out=unfilled)
    fingerprint = digest(
        sha256,
        built.architecture,
        structure_of(module),
        json.dumps(dataclasses.asdict(preprocessing), sort_keys=True),
    )
    record = BackboneRecord(
        name=built.name,
        kind=kind,
        architecture=built.architecture,
        weights=built.weights,
        weights_sha256=sha256,
        licence=built.licence,
        preprocessing=dataclasses.asdict(preprocessing),
        layers=tuple(LayerRecord(name=name, n_units=shape.n_units) for name, shape in layers),
        overrides=params.overrides,
        key_problems=_key_problems(built),
        model_kwargs=built.model_kwargs,
        reading=built.reading,
        assumed=built.assumed,
        n_parameters=sum(parameter.numel() for parameter in module.parameters()),
    )
    return Backbone(
        module,
        record,
        preprocessing,
        dict(layers),
        fingerprint,
        head=searched.head,
        without_head=searched.why_not,
    )


def _override(module: nn.Module, overrides: dict[str, Any]) -> None:
    for dotted, value in overrides.items():
        path, _, attribute = dotted.rpartition(".")
        names = [name for name, _ in module.named_modules()]
        if path not in names:
            near = difflib.get_close_matches(path, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BackboneError(f"override {dotted!r}: there is no module {path!r}{hint}")
        target = module.get_submodule(path)
        if not hasattr(target, attribute) or isinstance(
            getattr(target, attribute), torch.Tensor | nn.Module
        ):
            raise BackboneError(
                f"override {dotted!r}: {type(target).__name__} has no plain attribute "
                f"{attribute!r} (it has: {', '.join(_plain_attributes(target))})"
            )
        current = getattr(target, attribute)
        changed = tuple(value) if isinstance(value, list) else value
        if type(changed) is not type(current):
            raise BackboneError(
                f"override {dotted!r}: expected {type(current).__name__} like {current!r}, "
                f"got {value!r}"
            )
        setattr(target, attribute, changed)


def structure_of(module: nn.Module) -> str:
    """What decides how a module computes, beside its weights: kinds and settings of its parts."""
    lines = [
        f"{name}: {type(part).__qualname__}: "
        f"{[(key, getattr(part, key)) for key in _plain_attributes(part)]}"
        for name, part in module.named_modules()
    ]
    return digest(*lines)


def _plain_attributes(module: nn.Module) -> list[str]:
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and _is_plain(value)
    )


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str)


def _adjusted(own: Preprocessing, asked: PreprocessingParams) -> Preprocessing:
    changes: dict[str, Any] = {"resize": asked.resize}
    if asked.size:
        changes |= {"height": asked.size, "width": asked.size}
    for name in ("mean", "std", "interpolation"):
        if getattr(asked, name) is not None:
            changes[name] = getattr(asked, name)
    return dataclasses.replace(own, **changes)


def _refuse_unfilled(built: Built, last: str, seen: Trace) -> None:
    """A weight the audited layers need but the file does not hold is an error, not a default."""
    shapes = [
        f"{name}: {shape}"
        for name, shape in built.misshapen.items()
        if runs_before_end(name.rpartition(".")[0], last, seen)
    ]
    if shapes:
        raise BackboneError(
            f"{built.weights} does not fit {built.architecture}: {len(shapes)} tensors that the "
            f"audited layers need have another shape: {'; '.join(shapes[:MOST_NAMES])}"
            + ("; ..." if len(shapes) > MOST_NAMES else "")
            + "; check the architecture's name and the file"
        )
    needed = [
        name
        for name in built.missing
        if runs_before_end(name.rpartition(".")[0], last, seen)
        and not name.endswith("num_batches_tracked")
    ]
    if needed:
        raise BackboneError(
            f"{built.weights} does not fit {built.architecture}: {len(needed)} weights that the "
            f"audited layers need are missing: {first_names(needed)}"
            + (
                f"; in the file but without a place: {first_names(built.unexpected)}"
                if built.unexpected
                else ""
            )
            + "; check the architecture's name and the file"
        )


def _refuse_deeper(built: Built, last: str, seen: Trace) -> None:
    """Blocks that the file has and the architecture has not: weights of a deeper one."""
    sequences = {
        name
        for name, part in built.module.named_modules()
        if isinstance(part, nn.Sequential | nn.ModuleList) and runs_before_end(name, last, seen)
    }
    more = {
        f"{sequence}.{block}"
        for sequence in sequences
        for name in built.unexpected
        if name.startswith(f"{sequence}.")
        and (block := name.removeprefix(f"{sequence}.").partition(".")[0]).isdigit()
        and int(block) >= len(list(built.module.get_submodule(sequence).children()))
    }
    if more:
        raise BackboneError(
            f"{built.weights} does not fit {built.architecture}: it has {len(more)} blocks more "
            f"({first_names(sorted(more))}), as a deeper architecture has; check the "
            "architecture's name"
        )


def _key_problems(built: Built) -> tuple[str, ...]:
    problems = [f"missing in the weights: {name}" for name in built.missing]
    problems += [f"another shape: {name}: {shape}" for name, shape in built.misshapen.items()]
    problems += [f"no place in the architecture: {name}" for name in built.unexpected]
    return tuple(problems)


def weights_sha256_of(module: nn.Module, *, leave_out: set[str]) -> str:
    """SHA-256 over the names, types, shapes and bytes of a module's tensors.

    Args:
        module: With its weights.
        leave_out: Tensors that no weight filled.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name not in leave_out:
            array = tensor.detach().cpu().contiguous().numpy()
            total.update(f"{name}:{array.dtype}:{array.shape}:".encode())
            total.update(array.tobytes())
    return total.hexdigest()
