"""Exported graphs as modules: every named value passes a submodule, where hooks can see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bias_audit.backbones.extras import first_line
from bias_audit.config.catalog import shortened
from bias_audit.errors import BackboneError

Compute = Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]]
"""Values by name, of a batch in the layout and type that the graph takes."""


@dataclass(frozen=True)
class GraphInput:
    """What a graph takes."""

    height: int | None
    """None: any."""
    width: int | None
    batch: int | None = None
    """Images that it takes at once; None: any number."""
    channels_last: bool = False
    dtype: torch.dtype = torch.float32
    """Of whole numbers: from 0 to 255."""


@dataclass(frozen=True)
class ReadGraph:
    """An exported graph that was read from a file."""

    compute: Compute
    taken: GraphInput
    values: tuple[str, ...]
    """Names of what can be read, in the order of computation."""
    output: str
    blocks: tuple[str, ...]
    """Names of sums of two branches, or else of activation functions."""
    n_parameters: int
    head: tuple[str, Tensor, Tensor | None] | None = None
    """Value that a last linear layer receives, its weight and its bias."""


class _Value(nn.Module):
    """A value of a graph, as it is."""

    def forward(self, value: Tensor) -> Tensor:
        """The same."""
        return value


class Graph(nn.Module):
    """A module around an exported graph; only values with hooks are computed."""

    def __init__(self, graph: ReadGraph, fingerprint: Tensor) -> None:
        """`fingerprint` stands for the weights in the module's state."""
        super().__init__()
        self._graph = graph
        self.register_buffer("fingerprint", fingerprint)
        self._places = {name: place for name in graph.values if (place := self._placed(name))}
        self.building_blocks = tuple(name for name in graph.blocks if name in self._places)
        self.output_fmt = "NHWC" if graph.taken.channels_last else "NCHW"
        # Modules inside one that is called so must stay where hooks can see them.
        self._last = "head_" if any(name.startswith("head.") for name in self._places) else "head"
        if graph.head is not None:
            _, weight, bias = graph.head
            last = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
            last.load_state_dict(
                {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
            )
            setattr(self, self._last, last)

    def _placed(self, name: str) -> _Value | None:
        """Make the submodule of a value; None where a name cannot be one of a module."""
        part: nn.Module = self
        for step in name.split("."):
            known = part._modules.get(step)
            if known is None and (not step or hasattr(part, step)):
                return None
            if known is None:
                part.add_module(step, _Value())
            part = part.get_submodule(step)
        return part if isinstance(part, _Value) else None

    def forward(self, images: Tensor) -> Tensor:
        """What the graph returns for images, shape (n, 3, height, width).

        Raises:
            BackboneError: It cannot be computed for that many images.
        """
        graph, head = self._graph, self._graph.head
        wanted = [name for name, place in self._places.items() if place._forward_hooks]
        last = graph.output if head is None else head[0]
        names = tuple(dict.fromkeys([*wanted, last]))
        found = self._computed(images, names)
        for name in wanted:
            if name in found:
                self._places[name](found[name])
        if head is None:
            return found[last]
        answer: Tensor = self.get_submodule(self._last)(found[last].flatten(1).float())
        return answer

    def _computed(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        taken = self._graph.taken
        size = taken.batch or len(images)
        given = images.permute(0, 2, 3, 1) if taken.channels_last else images
        if not taken.dtype.is_floating_point:
            given = (given * 255).round()
        parts = []
        for batch in torch.split(given.to(taken.dtype), size):
            short = size - len(batch)  # the last image is repeated up to what the graph takes
            whole = torch.cat([batch, batch[-1:].expand(short, *batch.shape[1:])])
            try:
                found = self._graph.compute(whole.contiguous(), names)
            except Exception as error:  # what engines raise is not bounded
                raise BackboneError(
                    f"the exported graph cannot be computed for {size} images of "
                    f"{' x '.join(map(str, images.shape[2:]))} pixels "
                    f"({shortened(first_line(error))}); "
                    "export it for any number of images, or for one"
                ) from error
            rows = {n: v for n, v in found.items() if v.ndim and v.is_floating_point()}
            parts.append({name: value[: len(batch)] for name, value in rows.items()})
        return {n: torch.cat([part[n] for part in parts]).to(images.device) for n in parts[0]}
