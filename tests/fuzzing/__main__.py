"""Many mutations of one kind of input: `python -m tests.fuzzing weights 33000`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzzing import KINDS

_SHOWN = 10


def main() -> int:
    """Try mutations; print those that end in anything but a declared error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0, help="Seed of the first.")
    asked = parser.parse_args()
    one, failed = KINDS[asked.kind], 0
    for seed in range(asked.first, asked.first + asked.count):
        with tempfile.TemporaryDirectory() as folder:
            try:
                one(random.Random(seed), Path(folder))
            except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
                failed += 1
                if failed <= _SHOWN:
                    sys.stderr.write(f"seed {seed}\n{traceback.format_exc()}\n")
    sys.stdout.write(f"{asked.kind}: {asked.count} mutations, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
