"""A process that has imported everything, and forks for each command: a trial takes a second.

Run as a script it reads one request a line, a JSON object, and answers each with two lines: the
id of the process that was forked, and its exit code once it has ended.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "sqlite3.connect"}
_POLL = 0.002


@dataclass(frozen=True)
class Ended:
    """What came of one command."""

    code: int
    """Of its exit; negative: the signal that ended it."""
    out: str
    """Standard output and standard error, together."""
    where: str
    """Traceback at the moment it was killed; empty if it was not."""
    seconds: float
    changes: tuple[str, ...]
    """To the file system, if they were asked for: the stack of each, innermost call first."""


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
        count: bool = False,
        limits: dict[str, tuple[int, int]] | None = None,
        before: str = "",
        errors: Path | None = None,
    ) -> Ended:
        """Run one command of bias-audit.

        Args:
            arguments: Of the command line.
            cwd: Where it runs.
            kill_after: Seconds to SIGKILL; None: let it end.
            die_at: SIGKILL just before the change of this number to the file system.
            full_at: From the change of this number on, the disk is full.
            count: Note the changes to the file system.
            limits: As `resource.setrlimit` takes them, by name.
            before: Python that is run first.
            errors: File for standard error; default: among the output.
        """
        began = time.monotonic()
        log, where = cwd / ".log", cwd / ".where"
        for path in (log, where):
            path.write_text("")
        request = {
            "arguments": arguments,
            "cwd": str(cwd),
            "log": str(log),
            "where": str(where),
            "after": kill_after,
            "die_at": die_at,
            "full_at": full_at,
            "count": count,
            "errors": str(errors) if errors else None,
            "limits": limits or {},
            "before": before,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        pid = int(stdout.readline())
        if kill_after is not None:
            _kill_when_told(pid, where)
        code = int(stdout.readline())
        told = where.read_text() if code == -signal.SIGKILL else ""
        changes = tuple(where.read_text().split("\n\n")[:-1]) if count else ()
        out = log.read_text()
        log.unlink()
        where.unlink()
        return Ended(code, out, told, time.monotonic() - began, changes)


@contextmanager
def forks(env: dict[str, str] | None = None) -> Iterator[Forks]:
    """Start the server, with these variables besides; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.functional.forking"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
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


def _kill_when_told(pid: int, where: Path) -> None:
    """Kill a command once it has written where it is; it may end before."""
    while not where.stat().st_size:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(_POLL)
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
    os.kill(pid, signal.SIGKILL)


def _serve() -> None:
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _command(request)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        # It is reaped only once nobody looks at it any more.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        time.sleep(2 * _POLL)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _import_everything() -> None:
    import bias_audit.cli
    import bias_audit.report.zoo.page
    import bias_audit.report.zoo.summary
    import bias_audit.zoo.run  # noqa: F401
    from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES

    ANALYSES.load("linear_probe")
    ANALYSES.load("confusions")
    BACKBONE_SOURCES.load("checkpoint")
    BACKBONE_SOURCES.load("timm")
    DATA_SOURCES.load("manifest")


def _command(request: dict[str, Any]) -> NoReturn:
    import resource

    from bias_audit import cli

    os.chdir(request["cwd"])
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    errors = request["errors"]
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT) if errors else log, 2)
    where = Path(request["where"]).open("w")  # noqa: SIM115 (it is written to at the end)
    if request["after"] is not None:
        main = threading.main_thread().ident
        assert main is not None
        threading.Thread(
            target=_tell_later, args=(main, request["after"], where), daemon=True
        ).start()
    changes = _Changes(where, request["count"], request["die_at"], request["full_at"])
    if request["count"] or request["die_at"] or request["full_at"]:
        sys.addaudithook(changes.look)
    for name, value in request["limits"].items():
        resource.setrlimit(getattr(resource, name), tuple(value))
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


def _tell_later(thread: int, seconds: float, where: IO[str]) -> None:
    time.sleep(seconds)
    _tell(sys._current_frames()[thread], where)


def _tell(frame: FrameType | None, where: IO[str]) -> None:
    """Write down a stack, innermost call first; whoever waits for it then kills."""
    lines = []
    while frame is not None:
        code = frame.f_code
        lines.append(f'File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n')
        frame = frame.f_back
    where.write("".join(lines))
    where.flush()


class _Changes:
    """Notes changes to the file system, and does what is due at one of them."""

    def __init__(
        self, where: IO[str], count: bool, die_at: int | None, full_at: int | None
    ) -> None:
        self.number = 0
        self._where, self._count, self._die_at, self._full_at = where, count, die_at, full_at

    def look(self, event: str, arguments: tuple[object, ...]) -> None:
        """As `sys.addaudithook` calls it."""
        if event not in _CHANGES and not (event == "open" and _writes(arguments)):
            return
        self.number += 1
        if self._count:
            _tell(sys._getframe(), self._where)
            self._where.write("\n")
            self._where.flush()
        if self.number == self._die_at:
            _tell(sys._getframe(), self._where)
            os.kill(os.getpid(), signal.SIGKILL)
        if self._full_at is not None and self.number >= self._full_at and event == "open":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


if __name__ == "__main__":
    _serve()
