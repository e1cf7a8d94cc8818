"""Audits on this machine, several at a time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from bias_audit.config.schema import AuditConfig
from bias_audit.progress import Progress, Silent
from bias_audit.zoo.executor import Done, Task
from bias_audit.zoo.executors import local


def _tasks(n: int, folder: Path) -> list[Task]:
    config = AuditConfig.model_validate(
        {
            "name": "local",
            "data": {"kind": "parametric"},
            "backbones": [{"kind": "bundled"}],
            "analyses": [{"kind": "group_profiles"}],
            "output": {"folder": str(folder)},
        }
    )
    return [Task(("faces", str(number)), config, "") for number in range(n)]


def _meet(task: Task, _progress: Progress) -> Done:
    """Wait for another process to be at work, and say where this was done."""
    mine = task.folder / str(os.getpid())
    mine.touch()
    end = time.monotonic() + 60
    while len([*task.folder.iterdir()]) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    return Done(task.key, 0.0, error=f"{os.getpid()} {torch.get_num_threads()}")


def _die(task: Task, _progress: Progress) -> Done:
    os._exit(9)


def test_audits_run_in_processes_of_their_own_at_once(tmp_path: Path) -> None:
    params = local.Params(processes=2)
    done = [*local.PLUGIN.run(_meet, _tasks(2, tmp_path), params, Silent())]
    assert {each.key[1] for each in done} == {"0", "1"}
    found = [(each.error or "").split() for each in done]
    assert len({process for process, _ in found} - {str(os.getpid())}) == 2
    threads = max(1, (os.cpu_count() or 1) // 2)
    assert {number for _, number in found} == {str(threads)}


def test_a_process_that_is_lost_ends_its_audit_alone(tmp_path: Path) -> None:
    params = local.Params(processes=2)
    done = [*local.PLUGIN.run(_die, _tasks(2, tmp_path), params, Silent())]
    assert [each.error or "" for each in done] == [
        "its process was lost, perhaps for want of memory; rerun to resume"
    ] * 2


@pytest.mark.parametrize(
    ("cores", "memory", "wanted"), [(64, 2**36, 8), (64, 2**34, 2), (4, 2**40, 1)]
)
def test_processes_follow_cores_and_memory(
    cores: int, memory: int, wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(local, "_memory", lambda: memory)
    seen = []

    def at_once(
        _work: object, _tasks: object, n: int, threads: int, _progress: object
    ) -> list[Done]:
        seen.append((n, threads))
        return []

    monkeypatch.setattr(local, "_at_once", at_once)
    here = lambda task, _progress: Done(task.key, 0.0)  # noqa: E731
    assert len([*local.PLUGIN.run(here, _tasks(9, tmp_path), local.Params(), Silent())]) == (
        9 if wanted == 1 else 0
    )
    assert seen == ([] if wanted == 1 else [(wanted, cores // wanted)])
