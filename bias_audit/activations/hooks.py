"""Reading named layers while a backbone runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


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
