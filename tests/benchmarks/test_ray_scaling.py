"""How the work of a zoo scales with the workers of a Ray cluster; no time passes or fails.

Run with `make benchmark`. A machine of two cores shows two workers that compute. Tasks that wait
show what handing out, starting and collecting cost with more of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bias_audit.config.schema import AuditConfig
from bias_audit.progress import Silent
from bias_audit.zoo.executor import Done, Task, Work
from bias_audit.zoo.executors import ray as executor

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
TASKS = 16


def waits(task: Task, _progress: Any) -> Done:
    """One second, as an audit on a processor of its own."""
    time.sleep(1.0)
    return Done(task.key, 1.0, error="none")


def computes(task: Task, _progress: Any) -> Done:
    """Networks of one thread, for about a second."""
    import torch

    layer, values = torch.nn.Linear(1024, 1024), torch.ones(256, 1024)
    with torch.inference_mode():
        for _ in range(250):
            layer(values)
    return Done(task.key, 1.0, error="none")


def seconds(work: Work, workers: int) -> float:
    """Of 16 tasks on so many workers that are already started."""
    import ray

    config = AuditConfig.model_validate(
        {
            "name": "scaling",
            "data": {"kind": "parametric"},
            "backbones": [{"kind": "bundled"}],
            "analyses": [{"kind": "group_profiles"}],
        }
    )
    ray.init(num_cpus=workers, include_dashboard=False, object_store_memory=100 * 2**20)
    try:
        tasks = [Task(("faces", str(number)), config, "") for number in range(TASKS)]
        taken = []
        for _ in range(2):  # the first time, workers start
            began = time.monotonic()
            done = [*executor.PLUGIN.run(work, tasks, executor.Params(), Silent())]
            assert len(done) == TASKS
            taken.append(time.monotonic() - began)
        return taken[-1]
    finally:
        ray.shutdown()


@pytest.mark.parametrize(("work", "most"), [("waits", 8), ("computes", 2)])
def test_work_scales_with_workers(
    work: str, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = {}
    for workers in (1, most):
        program = (
            f"from tests.benchmarks.test_ray_scaling import *\nprint(seconds({work}, {workers}))"
        )
        out = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        taken[workers] = json.loads(out.stdout.splitlines()[-1])
    ratio = taken[1] / taken[most]
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{TASKS} tasks, each of which {work}: {most} workers are {ratio:.2f} times as fast "
            f"as one ({taken[1]:.1f} s, {taken[most]:.1f} s)",
            end="",
        )
    assert ratio > most / 2
