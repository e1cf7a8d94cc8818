"""Audits of what pretrained image backbones encode about people."""

from importlib.metadata import version

__version__ = version("bias-audit")
