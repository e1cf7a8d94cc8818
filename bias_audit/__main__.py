"""`python -m bias_audit`, where the command `bias-audit` is not on the path."""

import sys

from bias_audit import process

_PASSING = (["run"], ["check"], ["zoo", "run"])
"""Commands that let images pass through a backbone."""


def main() -> None:
    """Run the command line, under settings that a process has from its start."""
    if sys.argv[1:2] in _PASSING or sys.argv[1:3] in _PASSING:
        process.restart_with_allocator()
    from bias_audit.cli import main as command_line  # noqa: PLC0415  the restart comes first

    command_line()


if __name__ == "__main__":
    main()
