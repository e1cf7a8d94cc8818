"""What an analysis is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.activations.likeness import Likeness
from bias_audit.activations.moments import Moments
from bias_audit.arrays import IntArray
from bias_audit.backbones.loading import Preprocessing
from bias_audit.backbones.pooling import OutputShape
from bias_audit.cache import Arrays, Cache, Cached, CacheEntry, Input
from bias_audit.config.schema import Component, Multiplicity, SmallGroups, Strict
from bias_audit.data.faces import Faces, FaceTable
from bias_audit.files import digest
from bias_audit.groups import Attribute
from bias_audit.parallel import side_by_side
from bias_audit.progress import Progress, Silent
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.contributions import MeasureKey
from bias_audit.results.finding import Finding, Question
from bias_audit.shapes.shape import Block
from bias_audit.statistics.inference import Measured

if TYPE_CHECKING:
    from torch import Tensor, nn

Coverage = Annotated[float, Field(gt=0.5, lt=1, description="Coverage of the intervals.")]
BootstrapDraws = Annotated[
    int, Field(ge=100, le=100_000, description="Draws behind each interval.")
]
OneLayer = Annotated[
    str | None, Field(description="Default: the layer at which intersections separate best.")
]


P = TypeVar("P", bound=Strict)
T = TypeVar("T")
R = TypeVar("R")
Messages = tuple[str, ...]


class LayerActivations(Protocol):
    """Activations of one backbone on one set of faces, read from disk on demand."""

    @property
    def fingerprint(self) -> str:
        """Changes with weights, preprocessing, images and their order."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in order of depth."""

    @property
    def reduced(self) -> str:
        """How feature maps were reduced to positions, in words; empty without positions."""

    def units(self, layer: str) -> npt.NDArray[np.float32]:
        """Spatial mean per unit, shape (n_images, n_units), memory-mapped, read-only."""

    def positions(self, layer: str) -> npt.NDArray[np.float32]:
        """Feature maps at reduced resolution, shape (n_images, n_units, n_positions), as `units`.

        Raises:
            KeyError: They were not recorded: `activations.positions` was 0.
        """

    def moments(self, layer: str, *, positions: bool = False) -> Moments:
        """Moments of the units per intersection, as `groups.intersections` orders them.

        With `positions`, at every one of these: shape (n_groups, n_units, n_positions).

        Raises:
            KeyError: Positions were not recorded.
        """


class Control(Protocol):
    """Other numbers about the same images, to probe just as the activations are."""

    @property
    def kind(self) -> str:
        """Controls of one kind are averaged: "random weights", "image quality", "pixels"."""

    @property
    def name(self) -> str:
        """Such as "random weights, seed 2"."""

    @property
    def fingerprint(self) -> str:
        """Changes with its numbers."""

    @property
    def by_layer(self) -> bool:
        """Whether `units` depends on the layer; if not, one probe serves all layers."""

    def units(self, layer: str) -> npt.NDArray[np.float32]:
        """Shape (n_images, n_units), read-only."""


@dataclass(frozen=True)
class Head:
    """The last linear layer of a backbone: how its own decisions follow from its activations."""

    name: str
    """Module name, such as "fc"."""
    weight: npt.NDArray[np.float32]
    """Shape (n_classes, n_units)."""
    bias: npt.NDArray[np.float32]
    """Shape (n_classes,)."""
    inputs: npt.NDArray[np.float32]
    """What the layer receives for each image, shape (n_images, n_units)."""
    reference: npt.NDArray[np.float32] | None = None
    """The same for the reference images of the config, shape (n_reference, n_units)."""


class Network(Protocol):
    """The backbone itself, and images as it takes them."""

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, the preprocessing, and the code that brings images here."""

    @property
    def module(self) -> nn.Module:
        """In evaluation mode, on its device, without gradients of weights; not to be changed."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes an input."""

    @property
    def shapes(self) -> Mapping[str, OutputShape]:
        """How the output of each layer is to be read."""

    @property
    def without_classes(self) -> str | None:
        """Why what the module returns are no class scores; None where they are."""

    @property
    def data(self) -> Component:
        """Where the images come from, as the config says."""

    def batches(self, images: IntArray, size: int) -> Iterator[Tensor]:
        """Some of the subject's images, preprocessed, on the device, at most `size` at a time."""


@dataclass(frozen=True)
class Step:
    """One checkpoint of a training, seen through the subject's faces."""

    name: str
    activations: LayerActivations
    head: Head | None


@dataclass(frozen=True)
class Training:
    """The checkpoints up to the subject."""

    steps: tuple[Step, ...]
    """In order; the last one is the subject itself."""
    n_steps: int
    """Of the whole training."""

    @property
    def is_last(self) -> bool:
        """Whether no checkpoint follows."""
        return len(self.steps) == self.n_steps


@dataclass(frozen=True)
class Subject:
    """One backbone seen through one dataset."""

    name: str
    faces: Faces
    activations: LayerActivations
    cache: Cache
    """To be used through `cached` and `resumed`."""
    seed: int
    progress: Progress
    controls: tuple[Control, ...] = ()
    head: Head | None = None
    without_head: str = "the backbone was loaded without its classification layer"
    """Why `head` is None."""
    shuffles: int = 3
    """Refits of every probe to shuffled labels."""
    refits: int = 0
    """Fits of every probe to the same labels with other folds: how much numbers move by chance."""
    multiplicity: Multiplicity = field(default_factory=Multiplicity)
    small_groups: SmallGroups = field(default_factory=SmallGroups)
    training: Training | None = None
    """None where the backbone is no checkpoint of a training."""
    architecture: str = ""
    """Of the backbone; empty for simulated activations."""
    weights_sha256: str = ""
    network: Network | None = None
    """None where no analysis needs another pass through the backbone."""
    device: str = "cpu"
    """Of `activations.device` in the config: tensor work runs on `device.device_for(it)`."""
    likeness: Likeness | None = None
    """Which images may show one person; None where identity is recorded, or not looked for."""

    def rng(self, *purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose: results do not depend on the order of work."""
        return np.random.default_rng([self.seed, int(digest(*purpose)[:16], 16)])

    def counted(
        self, items: Sequence[T], title: str, *, unit: str, is_quick: bool = False
    ) -> Iterator[T]:
        """The items one after the other, as a step that says how far it is; silent if quick."""
        progress = Silent() if is_quick else self.progress
        with progress.step(f"{title} {self.name}", total=len(items), unit=unit) as step:
            for item in items:
                yield item
                step.advance()

    def mapped(
        self,
        work: Callable[[T], R],
        items: Sequence[T],
        title: str,
        *,
        unit: str,
        workers: int,
        is_quick: bool = False,
    ) -> list[R]:
        """What `work` gives for every item, several at a time; else as `counted`."""
        counted = self.counted(items, title, unit=unit, is_quick=is_quick)
        results = side_by_side(work, items, workers)
        return [result for _, result in zip(counted, results, strict=True)]

    def cached(self, purpose: str, *inputs: Input, compute: Callable[[], Arrays]) -> Cached:
        """An intermediate result that survives an interruption and serves other analyses.

        It is computed again after any change behind it, as `cache.CacheEntry` says. `purpose`
        names it among those of the same inputs, which are everything that `compute` uses, but for
        the seed; `compute` is a function, or a `partial` of one, of the module that does the work.
        """
        kept = CacheEntry(self.cache, purpose, (str(self.seed), *inputs), compute)
        return Cached(kept, compute)

    def resumed(
        self, purpose: str, *inputs: Input, compute: Callable[[Arrays | None], Iterator[Arrays]]
    ) -> Arrays:
        """The same of work in many pieces; see `cache.CacheEntry.resumed`.

        Raises:
            ValueError: There was no work.
        """
        kept = CacheEntry(self.cache, purpose, (str(self.seed), *inputs), compute)
        found = kept.resumed(compute)
        if found is None:
            raise ValueError(f"{purpose}: expected at least one piece of work, got none")
        return found


@dataclass(frozen=True)
class Outcome:
    """What an analysis found."""

    blocks: tuple[Block, ...]
    arrays: Arrays = field(default_factory=dict)
    """By the keys that the blocks hold; keys are file names: letters, digits, ".", "_", "-"."""
    findings: tuple[Finding, ...] = ()
    method: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    measures: Mapping[MeasureKey, Measured] = field(default_factory=dict)
    """What single images contribute to the numbers of the blocks, so that a later audit can be
    compared with this one image by image; never part of a run folder."""


def together(parts: Sequence[Outcome]) -> Outcome:
    """All that several outcomes hold, one after the other."""
    return Outcome(
        blocks=tuple(block for part in parts for block in part.blocks),
        arrays={key: array for part in parts for key, array in part.arrays.items()},
        findings=tuple(finding for part in parts for finding in part.findings),
        method=tuple(sentence for part in parts for sentence in part.method),
        limits=tuple(sentence for part in parts for sentence in part.limits),
        measures={key: found for part in parts for key, found in part.measures.items()},
    )


@dataclass(frozen=True)
class Workload:
    """The size of what an analysis will be given."""

    n_images: int
    n_units: Mapping[str, int]
    """By layer."""
    attributes: tuple[Attribute, ...]
    positions: int = 1
    """Values recorded of a unit, at most."""
    shuffles: int = 0
    """Refits of every probe to shuffled labels."""
    refits: int = 0
    """Fits of every probe to the same labels with other folds."""
    label_sets: Mapping[str, int] = field(default_factory=dict)
    """Sets of labels by one annotator of each face, by target."""
    layer_controls: int = 0
    """Controls that have every layer: draws of random weights."""
    other_controls: tuple[int, ...] = ()
    """Units of each control that is the same at every layer."""
    multiplicity: Multiplicity = field(default_factory=Multiplicity)


@dataclass(frozen=True, kw_only=True)
class Declared(Generic[P]):
    """What an analysis says of itself before it is made."""

    title: str
    params_type: type[P]
    question: Question
    """Under which the report prints it."""
    problems: Callable[[P, FaceTable, tuple[str, ...] | None], Messages] = lambda *_: ()
    """What the parameters need that these faces or layers do not have. Checked before images are
    opened, after they are drawn, and again with the layers once these are known."""
    too_few_draws: Callable[[P, Multiplicity, Sequence[Attribute]], Messages] = lambda *_: ()
    """Why so few draws as the parameters ask for could never reject anything, and how many do."""
    families: Callable[[P, Sequence[Attribute]], int] = lambda *_: 0
    """How many families of tests decide what its findings claim of one backbone (or of all
    together), at most: each has the error rate `Subject.multiplicity.alpha`. Intervals that a
    sentence prints "each by itself" belong to none."""
    fits: Callable[[P, Workload], float] = lambda *_: 0
    """Work of the analysis, in the unit of `probe_work`, for an estimate of the time."""
    needs_positions: Callable[[P], bool] = lambda *_: False
    """Whether `LayerActivations.positions` is needed; a config without them is refused."""
    reads: Callable[[P], tuple[Path, ...]] = lambda *_: ()
    """Folders of other runs that the result depends on."""
    quantities: tuple[str, ...] = ()
    """What criteria can name: every `quantity` that its blocks may hold."""
    other_targets: tuple[str, ...] = ()
    """Names that a parameter `targets` may hold beside those of attributes."""
    needs_head: bool = False
    """Whether `Subject.head` is needed; what the layer receives is then recorded as well."""
    needs_controls: bool = False
    """Whether `Subject.controls` are needed; without such an analysis they are not made."""
    needs_network: bool = False
    """Whether `Subject.network` is needed."""
    is_once: bool = False
    """Whether an audit may have one of its kind alone: its groups are not those of the labels, and
    single images would follow from what differs between two such sets of groups."""
    passes: Callable[[P, Workload], float] = lambda *_: 0
    """Images that the analysis passes through the backbone beyond the recording of activations,
    for an estimate of the time; a backward pass counts as two."""
    is_joint: ClassVar[bool] = False
    """Whether it is made once, of all backbones together."""


@dataclass(frozen=True, kw_only=True)
class Analysis(Declared[P]):
    """A question about every subject."""

    run: Callable[[Subject, P], Outcome]
    """Raises AnalysisError when it cannot be computed."""


@dataclass(frozen=True)
class Member:
    """One backbone of several that are looked at together."""

    subject: Subject
    """Without its network and controls."""
    results: tuple[AnalysisResult, ...]
    """Of the analyses of this backbone."""


@dataclass(frozen=True, kw_only=True)
class JointAnalysis(Declared[P]):
    """A question about all backbones of an audit together.

    All members look at the same faces in the same order.
    """

    run: Callable[[Sequence[Member], P], Outcome]
    """Raises AnalysisError when it cannot be computed."""
    is_joint: ClassVar[bool] = True
