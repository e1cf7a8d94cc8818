"""One audit after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bias_audit.config.schema import Strict
from bias_audit.progress import Progress
from bias_audit.zoo.executor import Done, Executor, Task, Work


class Params(Strict):
    """Nothing to choose: PyTorch itself uses all cores."""


def _run(work: Work, tasks: Sequence[Task], _params: Params, progress: Progress) -> Iterator[Done]:
    for place, task in enumerate(tasks, start=1):
        progress.say(f"Audit {place} of {len(tasks)}: {task.label}")
        yield work(task, progress)


PLUGIN = Executor(title="this machine", params_type=Params, run=_run)
