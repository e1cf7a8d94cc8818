"""What a zoo survives: kill -9, a full disk, damaged stores, a hub that does not answer."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import yaml

from tests.functional import kills, tiny_zoo
from tests.functional.kills import RUN, Bench, Trials
from tests.once import once

pytestmark = pytest.mark.slow

ZOO = Path("runs/tiny")
CACHE = Path("runs/cache")
_SECONDS = 60.0
_TRIALS = 3
_TAG = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def hub() -> Iterator[socket.socket]:
    """A port that refuses connections; once it listens, nobody answers them."""
    with closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved


@pytest.fixture(scope="module")
def huggingface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where weights from hubs are kept."""
    return tmp_path_factory.mktemp("huggingface")


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory,
    stored_self_test: Path,
    hub: socket.socket,
    huggingface: Path,
) -> Iterator[Bench]:
    env = {
        "HF_HOME": str(huggingface),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}",
        "HF_HUB_ETAG_TIMEOUT": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
    }
    with kills.forks(env) as run:
        home = once(
            tmp_path_factory,
            "survival",
            lambda folder: kills.prepare(folder, stored_self_test, run),
        )
        yield kills.opened(home, run)


def test_killed_at_random_points_it_goes_on_and_ends_with_the_same_results(
    bench: Bench, tmp_path: Path
) -> None:
    began, trials = time.monotonic(), Trials()
    while trials.ends < _TRIALS and (not trials.kills or time.monotonic() - began < _SECONDS):
        kills.trial(bench, tmp_path / str(trials.ends), random.Random(trials.ends), trials)
    assert trials.kills


def test_what_killed_writers_leave_does_not_pile_up(bench: Bench, tmp_path: Path) -> None:
    zoo = shutil.copytree(bench.after, tmp_path / "zoo")
    left = [folder / ".x.npz.abc.partial" for folder in (zoo / ZOO, zoo / CACHE / "intermediate")]
    young = zoo / CACHE / "analyses" / ".y.npz.abc.partial"
    for path in (*left, young):
        path.write_bytes(b"half")
    for path in left:
        os.utime(path, (time.time() - 7200,) * 2)
    assert bench.run(*RUN, cwd=zoo).code == 0
    assert [path for path in left if path.exists()] == []
    assert young.exists()  # another zoo may be writing it


def test_a_full_disk_ends_with_5_and_the_next_run_completes(bench: Bench, tmp_path: Path) -> None:
    """Again and again: each run comes further than the one before, until one is done."""
    zoo = shutil.copytree(bench.before, tmp_path / "zoo")
    shares, n_refused = iter([0.05, 0.15, 0.3]), 0
    done = bench.run(*RUN, cwd=zoo, full_at=int(next(shares) * len(bench.changes)))
    while done.code == 5 and n_refused < 12:
        n_refused += 1
        assert "space left" in done.out or "cannot be read or written" in done.out
        done = bench.run(*RUN, cwd=zoo, full_at=int(next(shares, 0.4) * len(bench.changes)))
    assert n_refused >= 3
    assert done.code == 1, done.out
    assert tiny_zoo.found(zoo) == tiny_zoo.found(bench.after)


def test_files_that_may_not_grow_end_with_5(bench: Bench, tmp_path: Path) -> None:
    """The operating system itself refuses; SQLite hears of it as well."""
    zoo = shutil.copytree(bench.before, tmp_path / "zoo")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    refused = bench.run(*RUN, cwd=zoo, before=limit)
    assert refused.code == 5, refused.out
    done = bench.run(*RUN, cwd=zoo)
    assert done.code == 1, done.out
    assert tiny_zoo.found(zoo) == tiny_zoo.found(bench.after)


DAMAGED = {
    "activations": "activations/*/pass-*/*.npy",
    "state of a pass": "activations/*/pass-*/state.json",
    "random weights": "random_weights/*",
    "analyses": "analyses/*.npz",
    "probes": "intermediate/*.npz",
    "scan": "scan/*.npz",
    "images": "images/*.npz",
    "self-test": "selftest/*.npz",
    "digests of weights": "weights/*.npz",
    "contributions": "contributions/*.npz",
}
_SHORT_SELF_TEST = (
    "from bias_audit.selftest import trials\n"
    "trials.SIZES['quick'] = trials.Sizes((0.95,), 2, 1, 1, ((10, 2),), 2, 2, 1)\n"
)


@pytest.mark.parametrize("spared", ["activations", "state of a pass"])
@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_damaged_stores_are_noticed_and_made_again(
    bench: Bench, tmp_path: Path, spared: str, how: str
) -> None:
    """All of them at once, but where the damage of one hides that of another."""
    zoo = shutil.copytree(bench.after, tmp_path / "zoo")
    spoilt = {
        kind: [path for path in sorted((zoo / CACHE).glob(pattern)) if path.is_file()]
        for kind, pattern in DAMAGED.items()
        if kind != spared
    }
    for kind, paths in spoilt.items():
        assert paths, kind
        for path in paths:
            content = bytearray(path.read_bytes())
            if how == "cut":
                del content[len(content) // 2 :]
            else:
                content[len(content) // 2] ^= 0xFF
            path.write_bytes(content)
    done = bench.run(*RUN, "--force", cwd=zoo, before=_SHORT_SELF_TEST)
    assert done.code == 0, done.out
    for kind, paths in spoilt.items():
        told = [f"{path.relative_to(zoo)} is damaged" for path in paths]
        if kind == "activations" and how == "flipped":
            told = ["stored activations of layer layer2 were damaged"]
        assert any(words in done.out for words in told), (kind, done.out)
    again = tiny_zoo.found(zoo)
    for label in tiny_zoo.LABELS:
        assert again[f"{label} 2"]["subjects"] == again[f"{label} 1"]["subjects"]
        assert again[f"{label} 2"]["verdicts"] == again[f"{label} 1"]["verdicts"]


@pytest.mark.parametrize("how", ["flipped", "cut", "other"])
def test_a_damaged_history_is_put_aside_and_made_again(
    bench: Bench, tmp_path: Path, how: str
) -> None:
    zoo = shutil.copytree(bench.after, tmp_path / "zoo")
    database = zoo / ZOO / "history.sqlite"
    content = database.read_bytes()
    database.write_bytes(
        {
            "flipped": content[:4096] + bytes(4096 * 2) + content[4096 * 3 :],
            "cut": content[: len(content) // 2],
            "other": b"no database at all" * 400,
        }[how]
    )
    spoilt = database.read_bytes()
    done = bench.run(*RUN, cwd=zoo)
    assert "history.sqlite is damaged" in done.out, done.out
    (aside,) = database.parent.glob("history.sqlite.damaged-*")
    assert aside.read_bytes() == spoilt
    assert "0 of 2 audits to make" in done.out
    tables = tiny_zoo.found(zoo)["history"]
    expected = tiny_zoo.found(bench.after)["history"]
    for name in ("estimates", "verdicts", "changes"):  # changes of the newest audits
        assert tables[name] == expected[name]


def test_a_hub_that_does_not_answer_stops_one_backbone_alone(
    bench: Bench, tmp_path: Path, hub: socket.socket, huggingface: Path
) -> None:
    zoo = tmp_path / "zoo"
    config: dict[str, Any] = yaml.safe_load(yaml.safe_dump(tiny_zoo.CONFIG))
    config["backbones"][0] = {
        "kind": "timm",
        "label": "first",
        "name": _TAG,
        "layers": ["layer2", "layer4"],
        "preprocessing": {"size": tiny_zoo.SIDE},
    }
    tiny_zoo.make(zoo, config)
    shutil.copytree(bench.before / CACHE / "selftest", zoo / CACHE / "selftest")
    for way in ("refused", "slow"):
        if way == "slow":
            hub.listen()
        done = bench.run(*RUN, cwd=zoo)
        assert done.code == 4, (way, done.out)
        assert "neither in the local cache nor could they be fetched" in done.out, way
    assert [*zoo.glob(f"{ZOO}/audits/faces/second/*/report.html")]
    known = timm.get_pretrained_cfg(_TAG)
    assert known is not None and known.hf_hub_id
    place = huggingface / "hub" / f"models--{known.hf_hub_id.replace('/', '--')}"
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    module = tiny_zoo.network(0, known.num_classes)
    safetensors.torch.save_file(module.state_dict(), snapshot / "model.safetensors")
    done = bench.run(*RUN, cwd=zoo)
    assert done.code == 0, done.out
    assert "1 of 2 audits to make" in done.out
    assert [*zoo.glob(f"{ZOO}/audits/faces/first/*/report.html")]


def test_of_two_runs_at_once_one_ends_at_once(stored_self_test: Path, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    tiny_zoo.make(zoo, tiny_zoo.WITHOUT_REPORTS)
    shutil.copytree(stored_self_test, zoo / CACHE)
    command = [sys.executable, "-m", "bias_audit", *RUN]
    runs = [
        subprocess.Popen(
            command, cwd=zoo, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    out = {run.communicate()[0]: run.returncode for run in runs}
    assert sorted(out.values()) == [0, 5], out
    assert "another command is at work" in next(text for text, code in out.items() if code)


def _lines(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert {"time", "level", "event"} <= line.keys()
        assert line["level"] in {"info", "warning", "error"}
    return lines


def test_every_line_of_a_json_log_parses(bench: Bench, tmp_path: Path) -> None:
    zoo = shutil.copytree(bench.before, tmp_path / "zoo")
    lines = _lines(bench.run(*RUN, "--log-format", "json", cwd=zoo).out)
    assert {line["event"] for line in lines} >= {"message", "step_begins", "step_ends", "result"}
    assert lines[-1]["result"]["exit_code"] == 1
    assert lines[-1]["result"]["states"] == {"audited": 2}


@pytest.mark.parametrize(
    "command",
    [
        "zoo run zoo.yaml --set backbones=[]",
        "zoo run absent.yaml",
        "run zoo.yaml",
        "zoo status zoo.yaml --only nobody",
    ],
)
def test_errors_are_lines_of_a_json_log(bench: Bench, command: str) -> None:
    done = bench.run(*command.split(), "--log-format", "json", cwd=bench.after)
    (line,) = _lines(done.out)
    assert (done.code, line["exit_code"]) == (2, 2)
    assert (line["level"], line["event"]) == ("error", "error")


@pytest.mark.parametrize("verb", [("zoo", "run", "zoo.yaml"), ("run", "audit.yaml")])
def test_a_defect_leaves_the_json_log_whole(
    bench: Bench, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    zoo = shutil.copytree(bench.before, tmp_path / "zoo")
    (config,) = zoo.glob(f"{ZOO}/audits/faces/first/*/config.yaml")
    shutil.copy(config, zoo / "audit.yaml")
    broken = (
        "def f(*a, **k):\n"
        "    print('a library that prints')\n"
        "    raise ZeroDivisionError('of ours')\n"
        "from bias_audit.data import sampling\n"
        "sampling.scan = f\n"
    )
    errors = zoo / "stderr.txt"
    arguments = (*verb, "--log-format", "json", "--set", "output.folder=elsewhere")
    done = bench.run(*arguments, cwd=zoo, before=broken, errors=errors)
    assert done.code == 70
    last = _lines(done.out)[-1]
    assert (last["event"], last["exit_code"]) == ("error", 70)
    assert "ZeroDivisionError: of ours" in last["message"]
    assert "Traceback" in errors.read_text() and "a library that prints" in errors.read_text()
