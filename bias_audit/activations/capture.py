"""What a batch leaves in the files of a pass: every layer reduced as it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bias_audit.activations.recording import LayerFile, Values
from bias_audit.backbones.pooling import positions, units
from bias_audit.errors import BackboneError

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

    def hook(layer: str, own: Sequence[LayerFile]) -> RemovableHandle:
        def after(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            # Reduced here, before a later operation may change the output in place.
            shape = backbone.shapes[layer]
            for file in own:
                if file.grid is None:
                    rows[file] = _finite(units(output, shape), file)
                else:
                    rows[file] = _finite(positions(output, shape, max(file.grid)), file)

        return module.get_submodule(layer).register_forward_hook(after)

    def hook_before(file: LayerFile) -> RemovableHandle:
        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows[file] = _finite(inputs[0].float(), file)

        return module.get_submodule(file.layer).register_forward_pre_hook(before)

    returned = [file for file in files if file.of == "output"]
    with ExitStack() as hooks:
        for layer in sorted({file.layer for file in returned}):
            own = [file for file in returned if file.layer == layer]
            hooks.enter_context(hook(layer, own))
        for file in files:
            if file.of == "input":
                hooks.enter_context(hook_before(file))
        yield rows


def _finite(values: Tensor, file: LayerFile) -> Values:
    if not torch.isfinite(values).all():
        raise BackboneError(
            f"layer {file.layer!r} {'received' if file.of == 'input' else 'gave'} values that are "
            "not finite; check the weights and the preprocessing"
        )
    array: Values = values.cpu().numpy()
    return array
