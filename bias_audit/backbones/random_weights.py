"""The same architecture with weights drawn at random: what its layers show without training.

A random network is far from blind: filters of any kind keep brightness, colour and texture. What
a layer's activations show about a label is due to training only beyond that.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bias_audit.backbones.loading import structure_of
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError
from bias_audit.files import digest
from bias_audit.software import software_of

if TYPE_CHECKING:  # what is only named here takes no part in the fingerprint
    from torch import Tensor, nn

    from bias_audit.backbones.loading import Backbone

Statistics = Mapping[str, npt.NDArray[np.float32]]
_DRAW = "1"
"""Begins the seed of every parameter; another one would give other weights for no reason."""
_EMBEDDING_SCALE = 0.02
"""Standard deviation of tokens and position embeddings, as vision transformers are begun with."""
_PRELU = 0.25
_ONES = ("scale", "gamma", "gain", "alpha")
_ZEROS = ("bias", "beta", "shift")


def with_random_weights(backbone: Backbone, seed: int, *, calibrated_on: str) -> Backbone:
    """Draw new random weights for a copy of a backbone.

    Weights of convolutions and linear layers are He-normal over their inputs (He et al. 2015,
    arXiv:1502.01852), biases are 0, normalisation layers have weight 1 and bias 0, layer scales
    are 1, tokens and position embeddings are normal with standard deviation 0.02. Each parameter
    has a generator of its own, so its values depend on the seed, its name and its shape alone.

    The running statistics of the copy are not usable yet: `estimate_statistics` makes them, from
    images whose fingerprint is `calibrated_on`.
    """
    module = copy.deepcopy(backbone.module)
    with torch.no_grad():
        for path, part in module.named_modules():
            for name, parameter in part.named_parameters(recurse=False):
                full = f"{path}.{name}".removeprefix(".")
                own_seed = int(digest(_DRAW, str(seed), full)[:15], 16)
                generator = torch.Generator().manual_seed(own_seed)
                parameter.copy_(_drawn(part, name, parameter, generator))
    record = backbone.record.model_copy(
        update={
            "name": f"{backbone.record.name}, random weights, seed {seed}",
            "weights": f"random, seed {seed}",
            "weights_sha256": "",
            "key_problems": (),
        }
    )
    return dataclasses.replace(
        backbone,
        module=module,
        record=record,
        fingerprint=_fingerprint(backbone, seed, calibrated_on),
        head=None,
        without_head="its weights are random",
    )


def _fingerprint(backbone: Backbone, seed: int, calibrated_on: str) -> str:
    """Of what decides the values, code included, but not of the trained weights.

    So checkpoints share their control.
    """
    shapes = {name: tuple(each.shape) for name, each in backbone.module.state_dict().items()}
    return digest(
        "random weights",
        software_of(__name__).digest,
        str(seed),
        backbone.record.architecture,
        structure_of(backbone.module),
        json.dumps(dataclasses.asdict(backbone.preprocessing), sort_keys=True),
        json.dumps(shapes, sort_keys=True),
        calibrated_on,
    )


def _drawn(part: nn.Module, name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    """New values for one parameter; what it is for shows in its module, its name and its shape."""
    per_unit = parameter.numel() == max(parameter.shape, default=1)
    if isinstance(part, torch.nn.PReLU):
        return torch.full_like(parameter, _PRELU)
    if any(word in name for word in _ONES) or (per_unit and name == "weight"):
        return torch.ones_like(parameter)
    if per_unit and name.endswith(_ZEROS):
        return torch.zeros_like(parameter)
    scale = _EMBEDDING_SCALE
    if name.endswith("weight") and not isinstance(part, torch.nn.Embedding):
        # He: sqrt(2 / inputs of one output); transposed convolutions list their inputs first
        one_output = parameter[:, 0] if getattr(part, "transposed", False) else parameter[0]
        scale = math.sqrt(2 / one_output.numel())
    return torch.randn(parameter.shape, generator=generator) * scale


def estimate_statistics(backbone: Backbone, batch: Tensor) -> Statistics:
    """Set the running mean and variance of every normalisation layer to those of a batch.

    Initial statistics (mean 0, variance 1) normalise nothing, so that deep activations of random
    weights explode or vanish. The layers are set in the order in which they run, each seeing what
    the ones before it give with theirs. No label takes part.

    Args:
        backbone: Of random weights; its module is changed.
        batch: Input, shape (n, 3, height, width), on the module's device.

    Returns:
        What was set, by name; empty for architectures without running statistics.

    Raises:
        BackboneError: A layer receives values that are not finite.
    """
    with torch.inference_mode(), ExitStack() as hooks:
        for name, part in _with_statistics(backbone.module):
            hooks.enter_context(part.register_forward_pre_hook(partial(_set_from, name)))
        backbone.module(batch)
    kept = _statistics(backbone.module).items()
    return {name: tensor.detach().cpu().float().numpy() for name, tensor in kept}


def _set_from(name: str, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    over = [axis for axis in range(inputs[0].ndim) if axis != 1]
    variance, mean = torch.var_mean(inputs[0].float(), dim=over, correction=0)
    if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
        raise BackboneError(f"with random weights, layer {name!r} receives values not finite")
    for which, values in (("running_mean", mean), ("running_var", variance)):
        getattr(part, which).copy_(values)


def set_statistics(backbone: Backbone, statistics: Statistics) -> None:
    """Set what an earlier `estimate_statistics` returned.

    Raises:
        BackboneError: They belong to another architecture.
    """
    wanted = _statistics(backbone.module)
    fits = wanted.keys() == statistics.keys() and all(
        tensor.shape == statistics[name].shape for name, tensor in wanted.items()
    )
    if not fits:
        raise BackboneError(
            f"{backbone.record.name}: the running statistics are of another architecture; "
            f"expected {len(wanted)} arrays, got {len(statistics)}"
        )
    for name, tensor in wanted.items():
        tensor.copy_(torch.from_numpy(np.array(statistics[name])))


def _with_statistics(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Normalisation layers of any library, found by what they keep."""
    for name, part in module.named_modules():
        kept = (getattr(part, "running_mean", None), getattr(part, "running_var", None))
        if all(isinstance(tensor, torch.Tensor) for tensor in kept):
            yield name, part


def _statistics(module: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{which}": getattr(part, which)
        for name, part in _with_statistics(module)
        for which in ("running_mean", "running_var")
    }
