"""Runs of a zoo that are killed at random, continued, and compared with one that was not.

Each command is forked off a process that has imported everything, so that it takes a second. Run
as a script, this is that process: it reads one request a line, a JSON object, and answers each
with the exit code of the command.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from tests.functional import tiny_zoo

RUN: Final = ("zoo", "run", "zoo.yaml")
_ROOT: Final = Path(__file__).parents[2]
_LOG, _NOTED, _WHOLE = ".log", ".changes", "whole.json"
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "sqlite3.connect"}


@dataclass(frozen=True)
class Ended:
    """What came of one command."""

    code: int
    """Of its exit; negative: the signal that ended it."""
    out: str
    """Standard output and standard error, together."""
    seconds: float


class Forks:
    """The other side of a running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(
        self,
        *arguments: str,
        cwd: Path,
        kill_after: float | None = None,
        die_at: int | None = None,
        full_at: int | None = None,
        noted: Path | None = None,
        errors: Path | None = None,
        before: str = "",
    ) -> Ended:
        """Run one command of bias-audit.

        Args:
            arguments: Of the command line.
            cwd: Where it runs.
            kill_after: Seconds to SIGKILL; None: let it end.
            die_at: SIGKILL just before the change of this number to the file system.
            full_at: From the change of this number on, the disk is full.
            noted: File for the module that makes each change to the file system, one a line.
            errors: File for standard error; default: among the output.
            before: Python that is run first.
        """
        began = time.monotonic()
        request = {
            "arguments": arguments,
            "cwd": str(cwd),
            "kill_after": kill_after,
            "die_at": die_at,
            "full_at": full_at,
            "noted": noted and str(noted),
            "errors": errors and str(errors),
            "before": before,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        code = int(stdout.readline())
        out = (cwd / _LOG).read_text()
        (cwd / _LOG).unlink()
        return Ended(code, out, time.monotonic() - began)


@contextmanager
def forks(env: dict[str, str] | None = None) -> Iterator[Forks]:
    """Start the server, with these variables besides; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.functional.kills"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        # Threads do not survive a fork, so that the server may not have started any.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **(env or {})},
    )
    try:
        yield Forks(process)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@dataclass(frozen=True)
class Bench:
    """A zoo that is about to be audited again, and what an uninterrupted run makes of it."""

    run: Forks
    before: Path
    after: Path
    seconds: float
    """Of the uninterrupted run."""
    changes: tuple[str, ...]
    """It makes to the file system: the module behind each."""


@dataclass
class Trials:
    """What was tried."""

    kills: int = 0
    ends: int = 0
    places: Counter[str] = field(default_factory=Counter)


def prepare(home: Path, self_test: Path, run: Forks) -> None:
    """Audit a zoo once, change its weights and labels, and audit a copy again.

    Args:
        home: An empty folder.
        self_test: A cache that holds a self-test.
        run: Of the commands.
    """
    before, after = home / "before", home / "after"
    tiny_zoo.make(before)
    shutil.copytree(self_test, before / "runs" / "cache")
    assert run(*RUN, cwd=before).code == 0
    for number, label in enumerate(tiny_zoo.LABELS):
        tiny_zoo.write_weights(before / f"{label}.safetensors", 10 + number)
    # So that faces are opened, described and drawn again as well.
    for name in ("scan", "images"):
        shutil.rmtree(before / "runs" / "cache" / name)
    shutil.copytree(before, after)
    whole = run(*RUN, cwd=after, noted=home / _NOTED)
    assert whole.code == 1, whole.out  # the config stops where anything changed
    (home / _WHOLE).write_text(json.dumps(whole.seconds))


def opened(home: Path, run: Forks) -> Bench:
    """What was prepared in a folder."""
    seconds = json.loads((home / _WHOLE).read_text())
    changes = (home / _NOTED).read_text().splitlines()
    return Bench(run, home / "before", home / "after", seconds, tuple(changes))


def trial(bench: Bench, home: Path, rng: random.Random, trials: Trials) -> None:
    """Kill a run, and often its continuations, until one ends; then compare all it left."""
    shutil.copytree(bench.before, home)
    ended = _killed(bench, home, rng, trials)
    while ended.code == -signal.SIGKILL:
        trials.kills += 1
        again = rng.random() < 0.6
        ended = _killed(bench, home, rng, trials) if again else bench.run(*RUN, cwd=home)
    trials.ends += 1
    assert ended.code == 1, (ended.code, ended.out)
    assert tiny_zoo.found(home) == tiny_zoo.found(bench.after)
    left = {name for name in tiny_zoo.files(home) if not name.endswith(".partial")}
    assert left == tiny_zoo.files(bench.after)


def _killed(bench: Bench, home: Path, rng: random.Random, trials: Trials) -> Ended:
    """At a random time, or before a change that a module makes which was seldom hit."""
    if rng.random() < 0.5:
        return bench.run(*RUN, cwd=home, kill_after=rng.uniform(0.05, bench.seconds))
    fewest = min(trials.places[name] for name in bench.changes)
    chosen = rng.choice([n for n in sorted({*bench.changes}) if trials.places[n] == fewest])
    trials.places[chosen] += 1
    numbers = [number for number, name in enumerate(bench.changes, start=1) if name == chosen]
    return bench.run(*RUN, cwd=home, die_at=rng.choice(numbers))


def _serve() -> None:
    import bias_audit.cli
    import bias_audit.report.zoo.page
    import bias_audit.report.zoo.summary
    import bias_audit.zoo.run  # noqa: F401
    from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES

    for catalog, kind in (
        (ANALYSES, "linear_probe"),
        (ANALYSES, "confusions"),
        (BACKBONE_SOURCES, "checkpoint"),
        (BACKBONE_SOURCES, "timm"),
        (DATA_SOURCES, "manifest"),
    ):
        catalog.load(kind)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _command(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _command(request: dict[str, Any]) -> NoReturn:
    from bias_audit import cli

    os.chdir(request["cwd"])
    log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(log, 1)
    errors = request["errors"]
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT) if errors else log, 2)
    if request["kill_after"] is not None:
        timer = threading.Timer(request["kill_after"], _die)
        timer.daemon = True
        timer.start()
    if request["noted"] or request["die_at"] or request["full_at"]:
        _watch_changes(request)
    exec(request["before"], {})
    sys.argv = ["bias-audit", *request["arguments"]]
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _watch_changes(request: dict[str, Any]) -> None:
    """Note changes to the file system, or do what is due at one of them."""
    noted = Path(request["noted"] or os.devnull).open("w")  # noqa: SIM115 (open until the end)
    number = 0

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal number
        flags = arguments[2] if event == "open" else 0
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        if event not in _CHANGES and not writes:
            return
        number += 1
        noted.write(f"{_module(sys._getframe())}\n")
        noted.flush()
        if number == request["die_at"]:
            _die()
        if request["full_at"] is not None and number >= request["full_at"] and event == "open":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(look)


def _module(frame: FrameType | None) -> str:
    """Of the package: that of the innermost call which does more than write a file."""
    package = str(_ROOT / "bias_audit")
    while frame is not None:
        place = frame.f_code.co_filename
        if place.startswith(package) and not place.endswith("/files.py"):
            return place.removeprefix(package)
        frame = frame.f_back
    return "start"


if __name__ == "__main__":
    _serve()
