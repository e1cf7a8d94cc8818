"""Any text on any stream, and any home, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit import process
from bias_audit.console import JsonLog
from bias_audit.process import readable

BOX = "┌──┬─┐ │ ╭╮╰╯ ┃ ├┼┤ ╋"
SAY = (
    "import sys\n"
    "from bias_audit import process\n"
    "process.prepare_streams()\n"
    "from rich.console import Console\n"
    "for n in range(int(sys.argv[1])):\n"
    "    Console().print('\u22120.02 [0.1, 0.2] ● HOLDS → „Größe“ 東京 \\udce9 …', "
    "highlight=False)\n"
    "sys.exit(5 if process.lost_output() else 0)\n"
)


@given(st.text())
def test_what_is_readable_is_ascii(text: str) -> None:
    assert readable(text).isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u22120.02 \u2013 1…", "-0.02 - 1..."),
        ("● HOLDS", "* HOLDS"),
        (BOX, "+--+-+ | ++++ | +++ +"),
        ("Größe, Łódź, Ñandú", "Grosse, Lodz, Nandu"),
        ("½ m²", "1/2 m2"),
        ("東", "\\u6771"),
        ("a\u00a0b\u200b", "a b"),
    ],
)
def test_signs_have_a_plain_form(text: str, expected: str) -> None:
    assert readable(text) == expected


def say(
    *shell: str, lines: int = 1, env: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[bytes]:
    command = f'"{sys.executable}" -c "$SAY" {lines} {" ".join(shell)}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "SAY": SAY.encode("ascii", "backslashreplace").decode(), **env},
    )


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "cp437"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"},
        {"PYTHONIOENCODING": "utf-8", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "20"},
    ],
)
def test_every_encoding_takes_every_text(env: dict[str, str]) -> None:
    done = say(env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    encoding = env.get("PYTHONIOENCODING", "ascii")
    told = done.stdout.decode(encoding).replace("\n", " ")
    assert ("\u22120.02" if encoding == "utf-8" else "-0.02") in told
    assert "\\udce9" in told


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        ((">&-",), 0),
        (("2>&-", ">/dev/null"), 0),
        ((">&-", "2>&-", "<&-"), 0),
        (("| head -1",), 0),
        ((">/dev/full",), 5),
    ],
)
def test_closed_and_full_streams(redirected: tuple[str, ...], code: int) -> None:
    done = say(*redirected, lines=3000)
    assert done.returncode == code, done.stderr
    assert done.stderr == b""


def test_a_file_opened_later_is_not_taken_for_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "from bias_audit import process; process.prepare_streams()\n"
        f"file = open({str(tmp_path / 'results')!r}, 'w'); assert file.fileno() > 2\n"
        "import os; os.write(1, b'from a library')\n"
    )
    command = f'"{sys.executable}" -c "$PROGRAM" <&- >&- 2>&-'
    env = {**os.environ, "PROGRAM": program}
    assert subprocess.run(["bash", "-c", command], check=False, env=env).returncode == 0
    assert (tmp_path / "results").read_bytes() == b""


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "utf-8"])
def test_log_lines_stay_json(encoding: str) -> None:
    raw = BytesIO()
    stream = TextIOWrapper(raw, encoding=encoding)
    JsonLog(stream).say("\u2212Größe東\udce9\x07")
    stream.flush()
    line = json.loads(raw.getvalue().decode("utf-8"))
    assert line["message"] == "\u2212Größe東?\x07"


def run(program: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Without any variable of the environment but those that a process needs to start."""
    needed = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=folder, env=needed | env, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "env",
    [
        {"HOME": f"{os.devnull}/home"},
        # as for a user whom the system does not know
        dict.fromkeys(("XDG_CACHE_HOME", "XDG_CONFIG_HOME"), f"{os.devnull}/x"),
    ],
)
def test_no_home_is_no_trouble(tmp_path: Path, env: dict[str, str]) -> None:
    done = run(
        "from bias_audit import process; process.prepare_caches()\n"
        "import os, matplotlib.font_manager, numba, huggingface_hub.constants\n"
        "import umap.layouts\n"
        "from pathlib import Path\n"
        "print(os.environ['MPLCONFIGDIR']); print(huggingface_hub.constants.HF_HOME)\n"
        "assert not Path('~').exists()\n",
        tmp_path,
        **env,
    )
    assert (done.returncode, done.stderr) == (0, "")
    kept, weights = done.stdout.splitlines()
    assert not Path(kept).exists()  # it goes with the process
    assert weights.startswith(os.devnull)


def test_a_home_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    done = run(
        "import os; before = dict(os.environ)\n"
        "from bias_audit import process; process.prepare_caches()\n"
        "assert dict(os.environ) == before\n",
        tmp_path,
        HOME=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr


def test_nowhere_to_write_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_named: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr("bias_audit.process._is_writable", lambda _path: False)
    process.prepare_caches()
