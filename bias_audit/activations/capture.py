"""What the layers of a backbone return while a batch passes, reduced to a row per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

from bias_audit.activations.recording import LayerFile, Values
from bias_audit.backbones.pooling import OutputShape, hidden, units
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError

if TYPE_CHECKING:  # what is only named here takes no part in what activations are made by
    from torch import Tensor, nn

    from bias_audit.backbones.loading import Backbone


class Capture:
    """One row per image and file; each batch replaces the last.

    Where positions are aligned, the graph of one batch is kept for a backward pass.
    """

    def __init__(
        self, module: nn.Module, shapes: Mapping[str, OutputShape], files: Sequence[LayerFile]
    ) -> None:
        """Nothing is captured before the hooks of `captured` are there."""
        self.run: Callable[[Tensor], Tensor] = module
        """The backbone, which others may replace by what computes the same faster."""
        self._shapes = shapes
        self._files = files
        self._rows: dict[LayerFile, Tensor] = {}
        self._outputs: dict[LayerFile, Tensor] = {}
        """Of the layers whose positions are aligned, until the gradient is there."""

    def passed(self, batch: Tensor) -> Mapping[LayerFile, Values]:
        """Pass a batch, shape (n, 3, height, width).

        Raises:
            BackboneError: Values are not finite, or not of one row for each image.
        """
        self._rows.clear()
        if any(map(_needs_gradient, self._files)):
            self._pass_back(batch)
        else:
            with torch.inference_mode():
                self.run(batch)
        # Copied once all layers are computed: a device is waited for once, not at every layer.
        rows = {file: self._rows[file].detach().to("cpu").numpy() for file in self._files}
        for file, values in rows.items():
            _refuse(values, file, n_images=len(batch))
        return rows

    def _pass_back(self, batch: Tensor) -> None:
        scores = self.run(batch.requires_grad_())
        # Each image's largest score depends on that image alone: the sum serves all of them.
        gradients = torch.autograd.grad(
            scores.amax(dim=1).sum(),
            list(self._outputs.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        for (file, output), gradient in zip(self._outputs.items(), gradients, strict=True):
            self._keep(file, output.detach(), gradient)
        self._outputs.clear()

    def returned(
        self, layer: str, _module: nn.Module, _inputs: object, returned: object
    ) -> object | None:
        """A hook after a layer: reduced here, before a later operation may change the output."""
        later, output = False, cast("Tensor", hidden(returned))
        for file in self._files:
            if file.layer != layer or file.of != "output":
                continue
            if _needs_gradient(file):
                self._outputs[file] = output
                later = True
            else:
                self._keep(file, output)
        if not later:
            return None
        # What a later operation changes in place is a copy.
        if isinstance(returned, tuple) and returned[0] is output:
            return (output.clone(), *returned[1:])
        return output.clone() if isinstance(returned, torch.Tensor) else None

    def received(self, file: LayerFile, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """A hook before a layer."""
        self._rows[file] = inputs[0].to(torch.float32, copy=True)

    def _keep(self, file: LayerFile, output: Tensor, gradient: Tensor | None = None) -> None:
        shape = self._shapes[file.layer]
        if file.reduction is None:
            values = units(output, shape)
        else:
            values = file.reduction.of(output, shape, gradient)
        self._rows[file] = values.clone()  # it may be a view of what is changed in place later


@contextmanager
def captured(
    backbone: Backbone, module: nn.Module, files: Sequence[LayerFile]
) -> Iterator[Capture]:
    """Hooks on the layers of a backbone, taken away at the end."""
    capture = Capture(module, backbone.shapes, files)
    with ExitStack() as hooks:
        for layer in sorted({file.layer for file in files if file.of == "output"}):
            after = partial(capture.returned, layer)
            hooks.enter_context(module.get_submodule(layer).register_forward_hook(after))
        for file in files:
            if file.of == "input":
                before = partial(capture.received, file)
                part = module.get_submodule(file.layer)
                hooks.enter_context(part.register_forward_pre_hook(before))
        yield capture


def _needs_gradient(file: LayerFile) -> bool:
    """Whether its positions are aligned; a layer without positions has none to shift."""
    return file.reduction is not None and file.reduction.is_aligned and file.grid != (1, 1)


def _refuse(values: Values, file: LayerFile, *, n_images: int) -> None:
    if len(values) != n_images:
        raise BackboneError(
            f"layer {file.layer!r} returns {len(values)} rows for {n_images} images, expected one "
            "per image; choose the module around it"
        )
    if not np.isfinite(values).all():
        raise BackboneError(
            f"layer {file.layer!r} {'received' if file.of == 'input' else 'gave'} values that are "
            "not finite; check the weights and the preprocessing"
        )
