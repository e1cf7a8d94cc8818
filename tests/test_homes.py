"""Libraries that keep files between runs, where the user's home takes none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bias_audit import homes

PROGRAM = (
    "from bias_audit import homes; homes.prepare()\n"
    "import os, matplotlib.font_manager, numba, huggingface_hub.constants\n"
    "import umap.layouts\n"
    "from pathlib import Path\n"
    "print(os.environ['MPLCONFIGDIR']); print(huggingface_hub.constants.HF_HOME)\n"
    "assert not Path('~').exists()\n"
)


@pytest.mark.parametrize("home", [f"{os.devnull}/home", None])
def test_no_home_is_no_trouble(tmp_path: Path, home: str | None) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    if home is not None:
        env["HOME"] = home
    else:  # as for a user whom the system does not know
        env["XDG_CACHE_HOME"] = env["XDG_CONFIG_HOME"] = f"{os.devnull}/x"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    kept, weights = done.stdout.splitlines()
    assert not Path(kept).exists()  # it goes with the process
    assert weights.startswith(os.devnull)


def test_a_home_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    program = (
        "import os; before = dict(os.environ)\n"
        "from bias_audit import homes; homes.prepare()\n"
        "assert dict(os.environ) == before\n"
    )
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", program], env=env, check=False)
    assert done.returncode == 0


def test_nowhere_to_write_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_named: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr("bias_audit.homes._is_writable", lambda _path: False)
    homes.prepare()
