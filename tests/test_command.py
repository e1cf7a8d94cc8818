"""What every verb does around its work."""

from __future__ import annotations

import os
import signal

import pytest
import typer

from bias_audit.command import EXIT_INTERRUPTED, verb


def test_a_request_to_end_interrupts_the_command_and_is_the_callers_again_afterwards() -> None:
    def of_the_caller(_signal: int, _frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, of_the_caller)
    try:
        with pytest.raises(typer.Exit) as stopped, verb():
            os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.value.exit_code == EXIT_INTERRUPTED
        assert signal.getsignal(signal.SIGTERM) is of_the_caller
        with verb():
            assert signal.getsignal(signal.SIGTERM) is not of_the_caller
        assert signal.getsignal(signal.SIGTERM) is of_the_caller
    finally:
        signal.signal(signal.SIGTERM, before)
