"""The check of executors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from bias_audit.config.catalog import EXECUTORS
from bias_audit.config.schema import AuditConfig, Component, Output
from bias_audit.progress import Progress, Silent
from bias_audit.testing.checking import declared_params, expect
from bias_audit.zoo.executor import Done, Executor, Task

_FAILS: Final = "fails"
_SECONDS: Final = 1.5
_ERROR: Final = "as it should"


def _work(task: Task, progress: Progress) -> Done:
    """Stands for an audit: writes a result, or fails."""
    progress.say(f"at work on {task.label}")
    if task.key[1] == _FAILS:
        return Done(task.key, _SECONDS, error=_ERROR)
    task.folder.mkdir(parents=True)
    (task.folder / "audit.json").write_text("{}", encoding="utf-8")
    return Done(task.key, _SECONDS)


def check_executor(
    plugin: Executor[Any], params: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Check that an executor does every task once, and says what came of each.

    It is given three tasks, of which one fails. Tasks stand for audits: they write a file into
    their folders.

    Raises:
        AssertionError: A task is missing, was done twice, or its outcome is another one.
    """
    valid = declared_params(plugin, EXECUTORS, params)
    with tempfile.TemporaryDirectory() as folder:
        tasks = [_task(Path(folder), name) for name in ("one", _FAILS, "other")]
        found = list(plugin.run(_work, tasks, valid, Silent()))
        expect(
            all(isinstance(done, Done) for done in found),
            f"expected an object of the class Done for every task, got {found!r}",
        )
        given, done = sorted(task.key for task in tasks), sorted(each.key for each in found)
        expect(given == done, f"expected the outcome of each task once, {given}, got {done}")
        for each, task in ((e, t) for e in found for t in tasks if e.key == t.key):
            has_result = (task.folder / "audit.json").is_file()
            wanted = _ERROR if task.key[1] == _FAILS else None
            expect(
                each.error == wanted and has_result == (wanted is None),
                f"task {task.label}: expected the outcome that the work returned (error: "
                f"{wanted!r}), got error: {each.error!r}",
            )


def _task(folder: Path, name: str) -> Task:
    part = Component(kind="checked")
    output = Output(folder=folder / name, cache=folder / "cache")
    config = AuditConfig(
        name="checked", data=part, backbones=(part,), analyses=(part,), output=output
    )
    return Task(("made-up faces", name), config, "a check of an executor")
