"""Audits of what pretrained image backbones encode about people.

From Python, `run` makes an audit, `open` reads a finished one, `diff` compares two, and `numbers`
gives every number of one as a table. All are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bias_audit.api import Audit, diff, numbers, open, run

    __version__: str

__all__ = ["Audit", "__version__", "diff", "numbers", "open", "run"]


def __getattr__(name: str) -> object:
    """The version, or what `bias_audit.api` has of that name."""
    if name == "__version__":
        return import_module("importlib.metadata").version("bias-audit")
    if name in __all__:
        return getattr(import_module("bias_audit.api"), name)
    raise AttributeError(f"module 'bias_audit' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
