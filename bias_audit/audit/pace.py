"""How long the rest of an audit takes: from the estimate, corrected by what was done so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from bias_audit.audit.estimate import Cost

FORWARD = "forward passes"


class Pace:
    """Where an audit is among its stages."""

    def __init__(self, costs: Callable[[], Sequence[Cost]]) -> None:
        """Begin; `costs` gives those of the backbones, and is called only for the time left."""
        self._costs = costs
        self._stage: tuple[int, str] | None = None
        self._began = 0.0
        self._seen: dict[tuple[int, str], float] = {}

    @cached_property
    def _planned(self) -> dict[tuple[int, str], float] | None:
        """Seconds by backbone and stage, in order; analyses of one kind are one stage."""
        try:
            costs = self._costs()
        except Exception:  # noqa: BLE001  what cannot be estimated can be audited nevertheless
            return None
        planned: dict[tuple[int, str], float] = {}
        for place, cost in enumerate(costs):
            planned[place, FORWARD] = cost.forward_seconds
            for kind, seconds in cost.analysis_seconds:
                planned[place, kind] = planned.get((place, kind), 0.0) + seconds
        return planned

    @contextmanager
    def stage(self, backbone: int, name: str) -> Iterator[None]:
        """What is done of one backbone while the context lasts."""
        self._stage, self._began = (backbone, name), time.monotonic()
        try:
            yield
        finally:
            spent = self._seen.get((backbone, name), 0.0)
            self._seen[backbone, name] = spent + time.monotonic() - self._began
            self._stage = None

    def left(self, of_step: float) -> float | None:
        """Seconds left to the audit, of which the step that runs takes `of_step` at least.

        Stages to come take as much longer or shorter than estimated as those before did. None
        where no estimate can be made, as `check` would say.
        """
        planned, now = self._planned, self._stage
        if planned is None:
            return None
        running = 0.0 if now is None else time.monotonic() - self._began
        seen = {stage: spent for stage, spent in self._seen.items() if planned.get(stage)}
        taken, expected = sum(seen.values()), sum(planned[stage] for stage in seen)
        factor = taken / expected if expected else 1.0
        whole = 0.0 if now is None else factor * planned.get(now, 0.0)
        to_come = sum(
            seconds for stage, seconds in planned.items() if stage not in seen and stage != now
        )
        return max(of_step, whole - running) + factor * to_come
