"""What all verbs of the command line share: options, output, exit codes."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Console
from rich.markup import escape

from bias_audit.console import ConsoleProgress, JsonLog
from bias_audit.errors import AuditError

EXIT_CRITERION_FAILED: Final = 1
EXIT_INCONCLUSIVE: Final = 3
EXIT_ANALYSIS_FAILED: Final = 4
EXIT_REFUSED: Final = 5
EXIT_DEFECT: Final = 70
"""Python's own code for an uncaught error is 1, which here means that a criterion fails."""
EXIT_INTERRUPTED: Final = 130

LogFormat = Literal["text", "json"]
ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A YAML audit config, or a shipped one's name.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as seed=7; repeatable."),
]
LogOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format", help="text for people; json, one object a line, for a log collector."
    ),
]


@dataclass(frozen=True)
class Output:
    """Where a command says what it does: a terminal, a pipe, or a log collector."""

    console: Console
    log: JsonLog | None = None
    """None where people read."""

    @property
    def progress(self) -> ConsoleProgress | JsonLog:
        """For the stages of an audit."""
        return self.log or ConsoleProgress(self.console)

    def lines(self, lines: Iterable[str]) -> None:
        """Print some lines as they are."""
        for line in lines:
            if self.log:
                self.log.say(line)
            else:
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def result(self, **fields: object) -> None:
        """Give a log collector what came out; people have read it."""
        if self.log:
            self.log.event("result", result=fields)


def typed() -> str:
    """What the user typed, for the provenance; bytes that are no text are written as escapes."""
    command = shlex.join(["bias-audit", *sys.argv[1:]])
    return command.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def verb(log_format: LogFormat = "text") -> Iterator[Output]:
    """The output of a command, which turns what can go wrong into a message and an exit code.

    Warnings of the stages become lines of their own. A log collector's stream is for its lines
    alone; whatever else is printed goes to standard error.
    """
    log = JsonLog(sys.stdout) if log_format == "json" else None
    out = Output(Console(), log)

    def log_error(message: str, code: int, **fields: object) -> None:
        if log:
            log.event("error", level="error", message=message, exit_code=code, **fields)

    with ExitStack() as stack:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        stack.callback(signal.signal, signal.SIGTERM, before or signal.SIG_DFL)
        logger, handler = logging.getLogger("bias_audit"), _Warnings(out)
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        if log:
            stack.enter_context(redirect_stdout(sys.stderr))
        try:
            yield out
        except AuditError as error:
            log_error(str(error), error.exit_code)
            if not log:
                message = f"[red]Error:[/red] {escape(str(error))}"
                Console(stderr=True).print(message, soft_wrap=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            message = "Interrupted. What was computed is kept; rerun to resume."
            log_error(message, EXIT_INTERRUPTED)
            out.lines([] if log else [message])
            raise typer.Exit(EXIT_INTERRUPTED) from error
        except typer.Exit:
            raise
        except Exception as error:  # people see the traceback
            shown = "".join(traceback.format_exception(error))
            log_error(f"{type(error).__name__}: {error}", EXIT_DEFECT, traceback=shown)
            raise


class _Warnings(logging.Handler):
    """Warnings that stages log, among the lines of a command."""

    def __init__(self, out: Output) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        if self._out.log:
            self._out.log.event("message", level="warning", message=record.getMessage())
        else:
            self._out.lines([record.getMessage()])
