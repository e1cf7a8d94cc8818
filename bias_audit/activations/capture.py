"""What a batch leaves in the files of a pass: every layer reduced as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bias_audit.activations.recording import LayerFile, Values
from bias_audit.backbones.pooling import positions, units
from bias_audit.errors import BackboneError


@contextmanager
def recorded(
    module: nn.Module, layers: Sequence[str], reduce: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `reduce(layer, output)` for every named layer during each forward pass.

    The output is reduced inside the hook, before a later operation may change it in place, and is
    not kept.
    """

    def hook(layer: str) -> RemovableHandle:
        def after(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            reduce(layer, output)

        return module.get_submodule(layer).register_forward_hook(after)

    with _removed_after([hook(layer) for layer in layers]):
        yield


@contextmanager
def received(
    module: nn.Module, layers: Sequence[str], reduce: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `reduce(layer, input)` for every named layer during each forward pass."""

    def hook(layer: str) -> RemovableHandle:
        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            reduce(layer, inputs[0])

        return module.get_submodule(layer).register_forward_pre_hook(before)

    with _removed_after([hook(layer) for layer in layers]):
        yield


@contextmanager
def _removed_after(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


if TYPE_CHECKING:
    from bias_audit.backbones.loading import Backbone


@contextmanager
def captured(
    backbone: Backbone, module: nn.Module, files: Sequence[LayerFile]
) -> Iterator[dict[LayerFile, Values]]:
    """Collect the rows of every file while the module runs; each pass replaces the last.

    Args:
        backbone: How its layers are to be read.
        module: The backbone's module, on its device.
        files: What is wanted of each layer.

    Yields:
        A mapping that holds, after each forward pass, one row per image and file.

    Raises:
        BackboneError: Inside the forward pass, where values are not finite.
    """
    rows: dict[LayerFile, Values] = {}
    returned = [file for file in files if file.of == "output"]
    entering = [file for file in files if file.of == "input"]

    def after(layer: str, output: Tensor) -> None:
        for file in returned:
            if file.layer == layer:
                rows[file] = _finite(_reduced(backbone, file, output), file)

    def before(layer: str, given: Tensor) -> None:
        for file in entering:
            if file.layer == layer:
                rows[file] = _finite(given.float(), file)

    with (
        recorded(module, sorted({file.layer for file in returned}), after),
        received(module, sorted({file.layer for file in entering}), before),
    ):
        yield rows


def _reduced(backbone: Backbone, file: LayerFile, output: Tensor) -> Tensor:
    shape = backbone.shapes[file.layer]
    return units(output, shape) if file.grid is None else positions(output, shape, max(file.grid))


def _finite(values: Tensor, file: LayerFile) -> Values:
    if not torch.isfinite(values).all():
        raise BackboneError(
            f"layer {file.layer!r} {'received' if file.of == 'input' else 'gave'} values that are "
            "not finite; check the weights and the preprocessing"
        )
    array: Values = values.cpu().numpy()
    return array
