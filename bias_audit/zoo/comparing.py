"""A new audit beside the one before it."""

from __future__ import annotations

from pathlib import Path

from bias_audit.config.zoo import ZooConfig
from bias_audit.progress import Progress
from bias_audit.zoo.standing import Standing


def compare(
    zoo: ZooConfig, standing: Standing, folder: Path, audit_id: int, progress: Progress
) -> tuple[str, ...]:
    """Write what changed since the audit before, and tell why that stops a pipeline.

    Raises:
        OutputError: The disk refuses.
    """
    return ()
