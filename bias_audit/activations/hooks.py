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

    handles = [hook(layer) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
