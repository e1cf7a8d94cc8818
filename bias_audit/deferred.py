"""Libraries that take seconds to load, loaded where one of their names is first used.

What only validates, compares or prints imports modules that compute, and does without these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["imagehash", "pyarrow", "pyarrow_parquet", "timm", "torch", "torchvision"]

if TYPE_CHECKING:
    import imagehash
    import pyarrow
    import pyarrow.parquet as pyarrow_parquet
    import timm
    import torch
    import torchvision
else:

    class _Deferred:
        def __init__(self, name: str) -> None:
            self._name = name
            self._module: Any = None

        def __getattr__(self, name: str) -> Any:
            if self._module is None:
                self._module = import_module(self._name)
            return getattr(self._module, name)

    imagehash, pyarrow, pyarrow_parquet, timm, torch, torchvision = (
        _Deferred(name.replace("_", ".")) for name in __all__
    )
