"""One audit of a zoo, from its config to its report, in whatever process it runs."""

from __future__ import annotations

import time
from functools import partial

from bias_audit.audit.error_log import keep_error
from bias_audit.audit.run import run
from bias_audit.errors import AuditError, OutputError
from bias_audit.progress import Progress
from bias_audit.report.render import render
from bias_audit.selftest.kept import kept_or_quick
from bias_audit.zoo.executor import Done, Task


def perform(task: Task, progress: Progress) -> Done:
    """Make one audit and write its reports; an error is told, so that the others go on."""
    began = time.monotonic()
    config = task.config
    try:
        run(
            config,
            command=task.command,
            progress=progress,
            selftest=partial(kept_or_quick, config.output.cache, progress),
        )
        render(task.folder, formats=config.output.formats)
    except AuditError as error:
        refused = isinstance(error, OutputError)
        return Done(task.key, time.monotonic() - began, error=str(error), is_refused=refused)
    except Exception as error:  # noqa: BLE001  one backbone must not stop the others
        told = keep_error(error, task.folder)
        return Done(task.key, time.monotonic() - began, error=told)
    return Done(task.key, time.monotonic() - began)
