"""What a zoo survives: kill -9, a full disk, damaged stores, a hub that does not answer."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import yaml
from filelock import FileLock

from tests.functional import tiny_zoo, zoo_kills
from tests.functional.forking import Ended, forks
from tests.functional.zoo_kills import RUN, Bench, Trials
from tests.once import once

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
    with forks(env) as run:
        home = once(
            tmp_path_factory,
            "survival",
            lambda folder: zoo_kills.prepare(folder, stored_self_test, run),
        )
        yield zoo_kills.opened(home, run)


def test_killed_at_random_points_it_goes_on_and_ends_with_the_same_results(
    bench: Bench, tmp_path: Path
) -> None:
    began, trials = time.monotonic(), Trials()
    while trials.ends < _TRIALS and (not trials.kills or time.monotonic() - began < _SECONDS):
        zoo_kills.trial(bench, tmp_path / str(trials.ends), random.Random(trials.ends), trials)
    assert trials.kills


def test_what_killed_writers_leave_does_not_pile_up(bench: Bench, tmp_path: Path) -> None:
    zoo = tiny_zoo.copied(bench.after, tmp_path / "zoo")
    left = [folder / ".x.npz.abc.partial" for folder in (zoo / ZOO, zoo / CACHE / "intermediate")]
    young = zoo / CACHE / "analyses" / ".y.npz.abc.partial"
    for path in (*left, young):
        path.write_bytes(b"half")
    for path in left:
        _aged(path, hours=2)
    assert bench.run(*RUN, cwd=zoo).code == 0
    assert [path for path in left if path.exists()] == []
    assert young.exists()  # another zoo may be writing it


def _aged(path: Path, *, hours: float) -> None:
    import os

    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_a_full_disk_ends_with_5_and_the_next_run_completes(bench: Bench, tmp_path: Path) -> None:
    """Again and again: each run comes further than the one before, until one is done."""
    zoo = tiny_zoo.copied(bench.before, tmp_path / "zoo")
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
    zoo = tiny_zoo.copied(bench.before, tmp_path / "zoo")
    refused = bench.run(*RUN, cwd=zoo, limits={"RLIMIT_FSIZE": (20_000, 20_000)})
    assert refused.code == 5, refused.out
    _completes(bench, zoo)


def _completes(bench: Bench, zoo: Path) -> Ended:
    done = bench.run(*RUN, cwd=zoo)
    assert done.code == 1, done.out
    assert tiny_zoo.found(zoo) == tiny_zoo.found(bench.after)
    return done


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
    zoo = tiny_zoo.copied(bench.after, tmp_path / "zoo")
    spoilt = {kind: _files(zoo, kind) for kind in DAMAGED if kind != spared}
    for paths in spoilt.values():
        for path in paths:
            _spoil(path, how)
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


def _files(zoo: Path, kind: str) -> list[Path]:
    found = [path for path in sorted((zoo / CACHE).glob(DAMAGED[kind])) if path.is_file()]
    assert found, kind
    return found


def _spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    else:
        place = len(content) // 2
        content[place] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", ["flipped", "cut", "other"])
def test_a_damaged_history_is_put_aside_and_made_again(
    bench: Bench, tmp_path: Path, how: str
) -> None:
    zoo = tiny_zoo.copied(bench.after, tmp_path / "zoo")
    database = zoo / ZOO / "history.sqlite"
    if how == "flipped":
        content = bytearray(database.read_bytes())
        content[4096 : 4096 * 3] = bytes(4096 * 2)
        database.write_bytes(bytes(content))
    elif how == "cut":
        database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    else:
        database.write_bytes(b"no database at all" * 400)
    spoilt = database.read_bytes()
    done = bench.run(*RUN, cwd=zoo)
    assert "history.sqlite is damaged" in done.out, done.out
    (aside,) = database.parent.glob("history.sqlite.damaged-*")
    assert aside.read_bytes() == spoilt
    assert "0 of 2 audits to make" in done.out
    tables = tiny_zoo.found(zoo)["history"]
    expected = tiny_zoo.found(bench.after)["history"]
    assert tables["estimates"] == expected["estimates"]
    assert tables["verdicts"] == expected["verdicts"]
    assert tables["changes"] == expected["changes"]  # of the newest audits


def test_a_damaged_result_is_made_again(bench: Bench, tmp_path: Path) -> None:
    zoo = tiny_zoo.copied(bench.after, tmp_path / "zoo")
    newest = sorted((zoo / ZOO / "audits/faces/first").iterdir())[-1]
    _spoil(newest / "audit.json", "cut")
    done = bench.run(*RUN, cwd=zoo)
    assert done.code == 0, done.out
    assert "1 of 2 audits to make" in done.out
    again = sorted((zoo / ZOO / "audits/faces/first").iterdir())[-1]
    assert again != newest
    found = json.loads((again / "audit.json").read_text())
    expected = json.loads((_newest(bench.after) / "audit.json").read_text())
    assert tiny_zoo.plain(found["subjects"]) == tiny_zoo.plain(expected["subjects"])


def _newest(zoo: Path, label: str = "first") -> Path:
    return sorted((zoo / ZOO / "audits/faces" / label).iterdir())[-1]


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
    assert (_newest(zoo, "second") / "report.html").is_file()
    place = _hub_file(huggingface)
    try:
        done = bench.run(*RUN, cwd=zoo)
        assert done.code == 0, done.out
        assert "1 of 2 audits to make" in done.out
        assert (_newest(zoo) / "report.html").is_file()
    finally:
        shutil.rmtree(place)


def _hub_file(home: Path) -> Path:
    """Put weights where timm's hub would put them."""
    module = timm.create_model(_TAG, pretrained=False)
    known = timm.get_pretrained_cfg(_TAG)
    assert known is not None and known.hf_hub_id
    repository = known.hf_hub_id.replace("/", "--")
    place = home / "hub" / f"models--{repository}"
    snapshot = place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(module.state_dict(), snapshot / "model.safetensors")
    return place


def test_two_schedules_never_collide(bench: Bench, tmp_path: Path) -> None:
    zoo = tiny_zoo.copied(bench.after, tmp_path / "zoo")
    before = tiny_zoo.files(zoo)
    with FileLock(zoo / ZOO / ".lock"):
        done = bench.run(*RUN, cwd=zoo)
    assert done.code == 5
    assert "another command is at work" in done.out
    assert tiny_zoo.files(zoo) == before
    assert bench.run(*RUN, cwd=zoo).code == 0


def test_of_two_runs_at_once_one_ends_at_once(stored_self_test: Path, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    tiny_zoo.make(zoo, tiny_zoo.WITHOUT_REPORTS)
    shutil.copytree(stored_self_test, zoo / CACHE)
    command = [sys.executable, "-m", "bias_audit.cli", *RUN]
    runs = [
        subprocess.Popen(command, cwd=zoo, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    out: dict[int, str] = {}

    def wait(place: int) -> None:
        out[place] = runs[place].communicate()[0].decode()

    threads = [threading.Thread(target=wait, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = [run.returncode for run in runs]
    assert sorted(codes) == [0, 5], out
    assert "another command is at work" in out[codes.index(5)]


def _lines(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert {"time", "level", "event"} <= line.keys()
        assert line["level"] in {"info", "warning", "error"}
    return lines


def test_every_line_of_a_json_log_parses(bench: Bench, tmp_path: Path) -> None:
    zoo = tiny_zoo.copied(bench.before, tmp_path / "zoo")
    lines = _lines(bench.run(*RUN, "--log-format", "json", cwd=zoo).out)
    assert {line["event"] for line in lines} >= {"message", "step_begins", "step_ends", "result"}
    assert lines[-1]["result"]["exit_code"] == 1
    assert lines[-1]["result"]["states"] == {"audited": 2}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("zoo", "run", "zoo.yaml", "--set", "backbones=[]"), 2),
        (("zoo", "run", "absent.yaml"), 2),
        (("run", "zoo.yaml"), 2),
        (("zoo", "status", "zoo.yaml", "--only", "nobody"), 2),
    ],
)
def test_errors_are_lines_of_a_json_log(
    bench: Bench, arguments: tuple[str, ...], code: int
) -> None:
    done = bench.run(*arguments, "--log-format", "json", cwd=bench.after)
    (line,) = _lines(done.out)
    assert done.code == code
    assert (line["level"], line["event"], line["exit_code"]) == ("error", "error", code)


@pytest.mark.parametrize("verb", [("zoo", "run", "zoo.yaml"), ("run", "audit.yaml")])
def test_a_defect_leaves_the_json_log_whole(
    bench: Bench, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    zoo = tiny_zoo.copied(bench.before, tmp_path / "zoo")
    (newest,) = (zoo / ZOO / "audits/faces/first").iterdir()
    shutil.copy(newest / "config.yaml", zoo / "audit.yaml")
    broken = (
        "import bias_audit.data.scan as m\n"
        "def f(*a, **k):\n"
        "    print('a library that prints')\n"
        "    raise ZeroDivisionError('of ours')\n"
        "import bias_audit.data.sampling as s\n"
        "s.scan = f\n"
    )
    errors = zoo / "stderr.txt"
    arguments = (*verb, "--log-format", "json", "--set", "output.folder=elsewhere")
    done = bench.run(*arguments, cwd=zoo, before=broken, errors=errors)
    assert done.code == 70
    last = _lines(done.out)[-1]
    assert (last["event"], last["exit_code"]) == ("error", 70)
    assert "ZeroDivisionError: of ours" in last["message"]
    assert "Traceback" in errors.read_text() and "a library that prints" in errors.read_text()
