"""A backbone ready to be audited, and what a source of backbones is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field
from torch import nn

from bias_audit.backbones.head import NO_CLASSES, Classes, LinearHead
from bias_audit.backbones.pooling import OutputShape
from bias_audit.config.schema import Strict
from bias_audit.results.audit import BackboneRecord


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
