"""A device that is none: its tensors are computed here, and refuse those of the processor.

PyTorch reserves a name for devices that others bring ("privateuseone", renamed "fake"). A tensor
on it is a wrapper of one of the processor. Every operation is seen: wrappers are opened, computed
with and wrapped again, and one that meets a plain tensor of more than one value is refused, as by
CUDA. Reading one without a copy to the processor (`.numpy()`) is refused by PyTorch itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "fake"
Named = Mapping[str, Any]


class OnDevice(torch.Tensor):
    """A tensor on the device, around one of the processor."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )
        made.held = inner
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # PyTorch calls it so
        cls,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _computed(func, args, kwargs or {})


class _Device(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what is made on the device from nothing, or moved to it."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _computed(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """Tensors from Python's numbers, which PyTorch makes on a device unseen by the other mode."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Named | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].held.tolist()  # as of every device, after a copy
        device = named.pop("device", None) if func in {torch.tensor, torch.as_tensor} else None
        made = func(*args, **named)
        return made if device is None else made.to(device)


def _computed(func: Any, args: Sequence[Any], kwargs: Named) -> Any:
    name = func._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    wanted = kwargs.get("device")
    is_moved = name in {"aten::_to_copy", "aten::copy_", "aten::_copy_from"}
    if there and not is_moved:
        plain = [t for t in tensors if not isinstance(t, OnDevice) and t.ndim]
        if plain:
            shapes = [tuple(t.shape) for t in plain]
            raise RuntimeError(
                f"{name}: expected all tensors on {NAME}, got some of the processor: {shapes}"
            )
    opened = tree_map_only(OnDevice, lambda tensor: tensor.held, (args, dict(kwargs)))
    if wanted is not None:
        opened[1]["device"] = torch.device("cpu")
    result = func(*opened[0], **opened[1])
    on_device = bool(there) if wanted is None else torch.device(wanted).type == NAME
    if name in {"aten::copy_", "aten::_copy_from"}:
        return args[0]
    if name.endswith("_") or func._schema.is_mutable:
        return _same(args, kwargs, result) if there else result
    return tree_map_only(torch.Tensor, OnDevice, result) if on_device else result


def _same(args: Sequence[Any], kwargs: Named, result: Any) -> Any:
    """What was changed in place is returned as the tensor that was given."""
    leaves = tree_leaves((args, kwargs))
    known = {id(leaf.held): leaf for leaf in leaves if isinstance(leaf, OnDevice)}

    def given(found: torch.Tensor) -> torch.Tensor:
        return known[id(found)] if id(found) in known else OnDevice(found)

    return tree_map_only(torch.Tensor, given, result)


@contextmanager
def fake_device() -> Iterator[str]:
    """Make the device usable, and give its name."""
    if backend_registration._privateuse1_backend_name != NAME:
        backend_registration._setup_privateuseone_for_python_backend(NAME)
        # what forks random numbers of all devices looks for: this one has none of its own
        module = getattr(torch, NAME)
        module.get_rng_state = lambda *_: torch.get_rng_state()
        module.set_rng_state = lambda *_: None
    with _Made(), _Device():  # type: ignore[no-untyped-call]
        yield NAME
