"""How strongly an attribute must be encoded to be found, by the number of images."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from bias_audit.progress import Progress
from bias_audit.results.selftest import PowerCurve, PowerPoint
from bias_audit.selftest.checks.planted import Effect, claims
from bias_audit.selftest.processes import processes_for, started
from bias_audit.selftest.sizes import Mode
from bias_audit.selftest.tally import share
from bias_audit.selftest.trials import Trials

PER_GROUP: Final = (10, 30, 100)
AUCS: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TRIALS: Final[dict[Mode, int]] = {"full": 40, "quick": 4}


def power_curves(
    mode: Mode, *, seed: int, progress: Progress, processes: int | None = None
) -> tuple[PowerCurve, ...]:
    """Share of simulated audits that claim a planted attribute, by its strength.

    Args:
        mode: "full" makes ten times as many audits as "quick".
        seed: Of all simulated audits.
        progress: Where to report.
        processes: On how many to make them; default: by mode.
    """
    n = TRIALS[mode]
    total = n * len(PER_GROUP) * len(AUCS)
    with (
        started(processes_for(mode) if processes is None else processes) as executor,
        progress.step("Power of the audit", total=total, unit="simulation") as step,
    ):
        trials = Trials(seed, step, executor)
        return tuple(
            PowerCurve(
                per_group=size,
                points=tuple(_point(Effect(auc, size), n, trials) for auc in AUCS),
            )
            for size in PER_GROUP
        )


def _point(effect: Effect, n: int, trials: Trials) -> PowerPoint:
    made = trials.run(partial(claims, effect), n, "power", str(effect.per_group), str(effect.auc))
    return PowerPoint(auc=effect.auc, claimed=share(np.array(made)))
