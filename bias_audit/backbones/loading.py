"""From a config's backbone to one that is ready to be audited."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from pydantic import Field

from bias_audit.arrays import Float32Array, IntArray
from bias_audit.backbones.head import Classes, LinearHead, find_head
from bias_audit.backbones.layers import Trace, resolve_layers, runs_before_end, trace
from bias_audit.backbones.pooling import OutputShape, Tokens, read_as
from bias_audit.backbones.zero_shot import EmbedTexts, ZeroShot, add_zero_shot
from bias_audit.config.catalog import first_names, nearest
from bias_audit.config.schema import Strict
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError, some
from bias_audit.files import digest
from bias_audit.results.audit import BackboneRecord, LayerRecord
from bias_audit.software import versions_of

if TYPE_CHECKING:
    from torch import Tensor, nn


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
    channels: Literal["RGB", "BGR"] = "RGB"
    """Order in which the backbone takes them; mean and std are in that order."""


class PreprocessingParams(Strict):
    """What a config may change about the preprocessing that belongs to the weights."""

    resize: Literal["stretch", "crop"] | None = Field(
        default="stretch",
        description="stretch keeps all of a face; crop cuts the border as ImageNet tests do.",
    )
    size: int | None = Field(default=None, ge=16, description="Input side in pixels.")
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None


class OwnPreprocessing(PreprocessingParams):
    """What a config may change where the default is all that belongs to the weights, crops too."""

    resize: Literal["stretch", "crop"] | None = Field(
        default=None,
        description="stretch keeps all of a face; crop cuts the border; default: as the weights "
        "have it.",
    )


class BackboneParams(Strict):
    """What every backbone source understands."""

    layers: Literal["stages", "blocks"] | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default="stages",
        description='"stages", "blocks", or names and patterns over named_modules(): '
        "* matches within one part of a name, ** across parts.",
    )
    preprocessing: PreprocessingParams = PreprocessingParams()
    tokens: Tokens = Field(
        default="patches",
        description="What is read of layers that return tokens: the mean of the patches, the "
        "class token, or the mean of all. An attention pool is a layer: name it in `layers`.",
    )
    zero_shot: ZeroShot | None = Field(
        default=None,
        description="Classes of a backbone that embeds images beside texts, such as CLIP.",
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description='Module attributes to set, such as {"layer2.0.conv1.stride": [2, 2]}.',
    )


class LibraryParams(BackboneParams):
    """What every source understands whose architectures come from a library."""

    model_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Keyword arguments for the library's model, such as {img_size: 224} or "
        "{dynamic_img_size: true} of timm.",
    )


Tensors: TypeAlias = "Mapping[str, Tensor]"
Converter = Callable[[Tensors], Tensors]
"""A library's own renaming and reshaping of the tensors it is given; may raise anything."""


@dataclass(frozen=True)
class Architecture:
    """A module with what its library knows about it, whatever its weights are."""

    module: nn.Module
    title: str
    """Such as "timm resnet50"."""
    preprocessing: Preprocessing
    classes: Classes = field(default_factory=Classes)
    convert: Converter = dict
    """Names and shapes of a file's tensors as the library reads them."""
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments that a config may set, as the library built the module with them."""
    libraries: tuple[str, ...] = ()
    """Distributions that define what the module computes, beside timm and torchvision."""
    n_parameters: int | None = None
    """Where the module does not have them itself."""
    embed_texts: EmbedTexts | None = None
    """The text tower beside the module, where there is one."""


@dataclass(frozen=True)
class Fit:
    """How a file's tensors were put into a module."""

    missing: tuple[str, ...] = ()
    """Entries of the module's state dict that the weights did not fill."""
    unexpected: tuple[str, ...] = ()
    """Entries of the weights that the module has no place for."""
    misshapen: dict[str, str] = field(default_factory=dict)
    """Entries of both that differ in shape, so stay unfilled: "expected (...), got (...)"."""
    reading: tuple[str, ...] = ()
    """How the weights and their preprocessing were found, chosen and converted, in words."""
    assumed: tuple[str, ...] = ()
    """What neither the config nor the files say, in sentences."""

    @property
    def unfilled(self) -> set[str]:
        """Entries of the module's state dict that are as they were before."""
        return {*self.missing, *self.misshapen}


@dataclass(frozen=True)
class Built:
    """What a source hands over: a module with its weights, not yet looked into."""

    architecture: Architecture
    name: str
    """For headings and folder names."""
    weights: str
    licence: str
    fit: Fit = Fit()


class Given(Protocol):
    """Activations that were computed elsewhere, in place of a network."""

    @property
    def record(self) -> BackboneRecord:
        """What is known of the backbone behind them."""

    @property
    def shapes(self) -> dict[str, OutputShape]:
        """How each layer was read."""

    @property
    def head(self) -> LinearHead | None:
        """The classification layer, if its weights and inputs were given too."""

    @property
    def fingerprint(self) -> str:
        """Changes with any value."""

    def rows_of(self, images: Sequence[str], labels: Sequence[str]) -> IntArray:
        """Row of each image, by the SHA-256 of its file or by its name, shape (n_images,).

        Raises:
            BackboneError: An image is missing, or its name stands for several rows.
        """

    def values(
        self, layer: str, of: Literal["output", "input"], described: str | None, rows: IntArray
    ) -> Float32Array:
        """Some rows of a layer: its units, or the positions reduced as described.

        Raises:
            BackboneError: They were not given, or are not finite.
        """


Gives = Literal["network", "forward pass", "activations"]
"""What a source hands over: a network with gradients and weights, one whose outputs can be read
alone, or only what its layers returned."""

P = TypeVar("P", bound=BackboneParams)


@dataclass(frozen=True)
class BackboneSource(Generic[P]):
    """A place backbones come from."""

    title: str
    params_type: type[P]
    build: Callable[[P, bool], Built]
    """`build(params, pretrained)`; without weights it builds the architecture alone, offline.
    Raises BackboneError."""
    steps: Callable[[P], tuple[P, ...]] = field(default=lambda params: (params,))
    """Parameters of each backbone that an entry of a config names, in the order of training;
    several are audited one after the other, the last with all before it."""
    called: Callable[[P], str] = attrgetter("name")
    """What the backbone will be called, which its parameters alone decide."""
    files: Callable[[P], tuple[Path, ...]] = field(default=lambda _params: ())
    """The local files that `build` would take weights from, without reading them; those that have
    yet to be fetched are left out. These show whether weights changed."""
    refilled: Callable[[P, Path], Built] | None = None
    """The same architecture with the weights of another file; raises BackboneError."""
    matching: Callable[[str], tuple[dict[str, Any], ...]] | None = None
    """Parameters of every backbone there is whose name, or file, matches a pattern (* and ?);
    None where there is nothing to look through."""
    gives: Gives = "network"
    given: Callable[[P], Given] | None = None
    """Activations in place of a network, without `build`; raises BackboneError."""


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
    gives: Gives = "network"
    given: Given | None = None
    """Activations that stand in for a pass, whose module computes nothing."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in order of depth."""
        return tuple(layer.name for layer in self.record.layers)


def load_backbone(
    kind: str, source: BackboneSource[Any], params: BackboneParams, *, pretrained: bool = True
) -> Backbone:
    """Build a backbone, set its overrides, find its layers and take its fingerprint.

    Without `pretrained` weights it is the architecture alone, to estimate cost.

    Raises:
        BackboneError: Weights, overrides or layers do not fit the architecture.
    """
    if source.given is not None:
        return _given(source.given(params))
    built = source.build(params, pretrained)
    architecture, fit = built.architecture, built.fit
    module = architecture.module.eval().requires_grad_(requires_grad=False)
    _override(module, params.overrides)
    classes, reading = architecture.classes, fit.reading
    zero_shot = params.zero_shot if pretrained else None
    if zero_shot is not None:
        classes, how = add_zero_shot(module, zero_shot, architecture.embed_texts)
        reading = (*reading, how)
    wanted = params.preprocessing.model_dump(exclude={"size"}, exclude_none=True)
    if params.preprocessing.size:
        wanted |= dict.fromkeys(("height", "width"), params.preprocessing.size)
    preprocessing = dataclasses.replace(architecture.preprocessing, **wanted)
    size = (preprocessing.height, preprocessing.width)
    seen = trace(
        module,
        size,
        channels_last=getattr(module, "output_fmt", "NCHW") == "NHWC",
        prefix_tokens=getattr(module, "num_prefix_tokens", None),
        advice="set preprocessing.size to the side that it was made for"
        + (", or its size with model_kwargs" if isinstance(params, LibraryParams) else ""),
    )
    layers = resolve_layers(module, params.layers, seen)
    _refuse_misfit(built, layers[-1][0], seen)
    lacking = _unfilled_before(list(seen.outputs)[-1], fit, seen)
    if zero_shot is not None and lacking:
        raise BackboneError(
            f"zero_shot: {built.weights} lacks weights that the embedding of images needs: "
            f"{first_names(lacking)}; name the whole model, or remove zero_shot"
        )
    shapes = {name: read_as(name, shape, params.tokens) for name, shape in layers}
    head = find_head(module, size, classes=classes, unfilled=lacking)
    sha256 = weights_sha256_of(module, leave_out=fit.unfilled)
    settings = dataclasses.asdict(preprocessing)
    record = BackboneRecord(
        name=built.name,
        kind=kind,
        architecture=architecture.title,
        weights=built.weights,
        weights_sha256=sha256,
        licence=built.licence,
        preprocessing=settings,
        layers=tuple(
            LayerRecord(name=name, n_units=shape.n_units, read=shape.read)
            for name, shape in shapes.items()
        ),
        overrides=params.overrides,
        key_problems=(
            *(f"missing in the weights: {name}" for name in fit.missing),
            *(f"another shape: {name}: {shape}" for name, shape in fit.misshapen.items()),
            *(f"no place in the architecture: {name}" for name in fit.unexpected),
        ),
        model_kwargs=architecture.model_kwargs,
        reading=reading,
        assumed=fit.assumed,
        n_parameters=sum(parameter.numel() for parameter in module.parameters())
        if architecture.n_parameters is None
        else architecture.n_parameters,
    )
    described = json.dumps(settings, sort_keys=True)
    return Backbone(
        module,
        record,
        preprocessing,
        shapes,
        fingerprint=digest(
            sha256,
            architecture.title,
            structure_of(module),
            described,
            params.tokens,
            json.dumps(versions_of(*architecture.libraries)),
        ),
        head=head if isinstance(head, LinearHead) else None,
        without_head="" if isinstance(head, LinearHead) else head,
        gives=source.gives,
    )


def _given(given: Given) -> Backbone:
    """Activations in place of a network: no image passes, so the input has no size."""
    return Backbone(
        torch.nn.Identity(),
        given.record,
        Preprocessing(1, 1, "stretch", 1.0, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        given.shapes,
        fingerprint=given.fingerprint,
        head=given.head,
        without_head="" if given.head else "its weights and inputs are not among the activations",
        gives="activations",
        given=given,
    )


def _override(module: nn.Module, overrides: dict[str, Any]) -> None:
    for dotted, value in overrides.items():
        path, _, attribute = dotted.rpartition(".")
        names = [name for name, _ in module.named_modules()]
        if path not in names:
            near = nearest(path, names)
            hint = f"; did you mean {near!r}?" if near else ""
            raise BackboneError(f"override {dotted!r}: there is no module {path!r}{hint}")
        target = module.get_submodule(path)
        if not hasattr(target, attribute) or isinstance(
            getattr(target, attribute), torch.Tensor | torch.nn.Module
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
    values = value if isinstance(value, tuple) else ()
    return isinstance(value, int | float | str | tuple) and all(map(_is_plain, values))


def _unfilled_before(last: str, fit: Fit, seen: Trace) -> list[str]:
    """What the weights did not fill, and the output of layer `last` needs."""
    return [
        name
        for name in sorted(fit.unfilled)
        if runs_before_end(name.rpartition(".")[0], last, seen)
        and not name.endswith("num_batches_tracked")
    ]


def _refuse_misfit(built: Built, last: str, seen: Trace) -> None:
    """A weight that the audited layers need and the file lacks is an error; no default is used.

    Blocks that the file has and the architecture has not are weights of a deeper one.
    """
    module, fit = built.architecture.module, built.fit
    unfilled = _unfilled_before(last, fit, seen)
    shapes = [f"{name}: {shape}" for name, shape in fit.misshapen.items() if name in unfilled]
    needed = [name for name in fit.missing if name in unfilled]
    deeper = {
        f"{sequence}.{block}"
        for sequence, part in module.named_modules()
        if isinstance(part, torch.nn.Sequential | torch.nn.ModuleList)
        and runs_before_end(sequence, last, seen)
        for name in fit.unexpected
        if name.startswith(f"{sequence}.")
        and (block := name.removeprefix(f"{sequence}.").partition(".")[0]).isdigit()
        and int(block) >= len(part)
    }
    if shapes:
        problem = (
            f"{len(shapes)} tensors that the audited layers need have another shape: "
            f"{some(shapes, '; ')}; check the architecture's name and the file"
        )
    elif needed:
        others = first_names(fit.unexpected)
        problem = (
            f"{len(needed)} weights that the audited layers need are missing: "
            f"{first_names(needed)}"
            f"{f'; in the file but without a place: {others}' if others else ''}"
            "; check the architecture's name and the file"
        )
    elif deeper:
        problem = (
            f"it has {len(deeper)} blocks more ({first_names(sorted(deeper))}), as a deeper "
            "architecture has; check the architecture's name"
        )
    else:
        return
    raise BackboneError(f"{built.weights} does not fit {built.architecture.title}: {problem}")


def weights_sha256_of(module: nn.Module, *, leave_out: set[str]) -> str:
    """SHA-256 over the names, types, shapes and bytes of a module's tensors, but some left out."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name not in leave_out:
            array = tensor.detach().cpu().contiguous().numpy()
            total.update(f"{name}:{array.dtype}:{array.shape}:".encode())
            total.update(array.tobytes())
    return total.hexdigest()
