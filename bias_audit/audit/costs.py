"""What every stage took: seconds, images, bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bias_audit.activations.extract import Extraction
from bias_audit.results.audit import StageCost


class Costs:
    """A list that stages write themselves into as they end."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._stages: list[StageCost] = []

    @contextmanager
    def stage(self, name: str, *, images: int | None = None) -> Iterator[None]:
        """Time one stage; one that fails is not written down."""
        began = time.monotonic()
        yield
        self.add(StageCost(stage=name, seconds=_seconds(began), images=images))

    def forward_pass(self, extraction: Extraction) -> None:
        """Write down the pass that gave a backbone's activations."""
        passed, size = extraction.forward_images, extraction.activations.size
        self.passes("forward pass", extraction.seconds, images=passed, size=size)

    def passes(self, stage: str, seconds: float, *, images: int, size: int) -> None:
        """Write down passes of images through a backbone, and the activations they left."""
        self.add(
            StageCost(
                stage=stage,
                seconds=round(seconds, 2),
                images=images,
                bytes=size,
                reused=images == 0,
            )
        )

    def add(self, cost: StageCost) -> None:
        """Write down a stage that was timed elsewhere."""
        self._stages.append(cost)

    @property
    def stages(self) -> tuple[StageCost, ...]:
        """In the order in which they ended."""
        return tuple(self._stages)


def _seconds(began: float) -> float:
    return round(time.monotonic() - began, 2)
