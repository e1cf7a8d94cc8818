"""Checks for those who write plugins: each runs one on small made-up inputs.

Every check raises an `AssertionError` that says what was expected and what came; what the plugin
itself raises passes through. The built-in plugins pass the same checks.
"""

from __future__ import annotations

from bias_audit.testing.analyses import check_analysis, made_up_subject
from bias_audit.testing.layouts import check_layout
from bias_audit.testing.network import FakeNetwork, SmallNet
from bias_audit.testing.sources import check_backbone_source, check_data_source
from bias_audit.testing.tasks import check_executor

__all__ = [
    "FakeNetwork",
    "SmallNet",
    "check_analysis",
    "check_backbone_source",
    "check_data_source",
    "check_executor",
    "check_layout",
    "made_up_subject",
]
