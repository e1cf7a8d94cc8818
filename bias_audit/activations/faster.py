"""Forward passes in reduced precision, or compiled, and the check that they find the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from bias_audit.activations.capture import Capture, captured
from bias_audit.activations.recording import LayerFile, Values
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError

if TYPE_CHECKING:  # what is only named here takes no part in what activations are made by
    from torch import Tensor, nn

    from bias_audit.backbones.loading import Backbone
    from bias_audit.config.schema import Activations


@contextmanager
def faster_capture(
    backbone: Backbone, module: nn.Module, files: Sequence[LayerFile], settings: Activations
) -> Iterator[Capture]:
    """A capture whose backbone runs as the config says: compiled, or in reduced precision.

    What was compiled contains the hooks, and is forgotten with them at the end.
    """
    with captured(backbone, module, files) as capture:
        run: Callable[[Tensor], Tensor] = module
        if settings.precision != "float32":
            run = _in_precision(run, getattr(torch, settings.precision))
        if not settings.compiled:
            capture.run = run
            yield capture
            return
        # Weights are constants then: normalisation is folded into the convolutions before it.
        made = torch.compile(run, dynamic=False, options={"freezing": True})
        capture.run = _without_gradients(made)
        try:
            yield capture
        finally:
            torch.compiler.reset()


def _in_precision(
    run: Callable[[Tensor], Tensor], precision: torch.dtype
) -> Callable[[Tensor], Tensor]:
    def reduced(batch: Tensor) -> Tensor:
        with torch.autocast(batch.device.type, dtype=precision):
            return run(batch)

    return reduced


def _without_gradients(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Compiled code takes no tensors of the inference mode, which keep less than it asks for."""

    def passed(batch: Tensor) -> Tensor:
        with torch.inference_mode(mode=False), torch.no_grad():
            return run(batch.clone())

    return passed


def agreement(
    plain: Mapping[LayerFile, Values], faster: Mapping[LayerFile, Values]
) -> dict[str, float]:
    """Error of each layer, as a share of how much its activations differ between images.

    Root mean squares over images, units and positions, of the difference of both passes and of
    the difference to the mean image: findings are about what differs between images, so that an
    error counts by its size there. 0 where both passes gave the same; infinity where only the
    images do not differ.
    """
    found: dict[str, float] = {}
    for file, values in plain.items():
        error = float(np.square(faster[file] - values, dtype=np.float64).mean())
        spread = float(np.square(values - values.mean(axis=0), dtype=np.float64).mean())
        share = float(np.sqrt(error / spread)) if spread else float("inf") if error else 0.0
        found[file.layer] = max(found.get(file.layer, 0.0), share)
    return found


def checked(
    backbone: Backbone,
    module: nn.Module,
    files: Sequence[LayerFile],
    settings: Activations,
    batch: Tensor,
) -> dict[str, float]:
    """`agreement` of the pass as the config says with the plain float32 pass, on some images.

    Raises:
        BackboneError: The backbone cannot be compiled, or a layer is beyond the tolerance.
    """
    with captured(backbone, module, files) as capture:
        plain = capture.passed(batch)
    with faster_capture(backbone, module, files, settings) as capture:
        try:
            faster = capture.passed(batch)
        except BackboneError:
            raise
        except Exception as error:  # what compilers raise is not bounded
            if not settings.compiled:
                raise
            first = (str(error) or type(error).__name__).strip().splitlines()[0]
            raise BackboneError(
                f"activations.compiled: {backbone.record.name} cannot be compiled here "
                f"({first[:200]}); set compiled: false"
            ) from error
    found = agreement(plain, faster)
    worst = max(found, key=lambda layer: found[layer])
    if not found[worst] <= settings.tolerance:
        raise BackboneError(
            f"activations: with {settings.forward}, layer {worst!r} of {backbone.record.name} is "
            f"off by {found[worst]:.2g} of what differs between images, which is more than the "
            f"tolerance of {settings.tolerance:g}; leave out precision and compiled"
        )
    return found
