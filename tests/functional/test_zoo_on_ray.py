"""A zoo on a Ray cluster of two nodes: the same results, also when workers die."""

from __future__ import annotations

import ast
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bias_audit.config.schema import AuditConfig
from bias_audit.errors import OutputError
from bias_audit.progress import Silent
from bias_audit.zoo.executor import Done, Task
from bias_audit.zoo.executors import ray as executor
from tests.functional import kills, tiny_zoo
from tests.functional.conftest import bias_audit
from tests.functional.ray_cluster import cluster
from tests.once import once

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
_WAIT = 300.0
LABEL = tiny_zoo.LABELS[0]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("ray")
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """A zoo that was never audited."""
    home = tmp_path_factory.mktemp("ray") / "start"
    tiny_zoo.make(home)
    shutil.copytree(stored_self_test, home / "runs" / "cache")
    return home


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """The same zoo, audited here."""

    def make(folder: Path) -> None:
        with kills.forks() as run:
            kills.prepare(folder, stored_self_test, run)

    return once(tmp_path_factory, "survival", make) / "before"


def _begun(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bias_audit", *kills.RUN, *arguments],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def _close(one: Any, other: Any) -> bool:
    """Equal, numbers within the tolerance of other summation orders."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-5)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return bool(one == other)


def _subjects(home: Path, labels: Sequence[str] = tiny_zoo.LABELS) -> dict[str, Any]:
    found = {}
    for label in labels:
        (run,) = (home / "runs/tiny/audits/faces" / label).iterdir()
        found[label] = tiny_zoo.plain(json.loads((run / "audit.json").read_text())["subjects"])
        assert (run / "report.html").is_file()
    return found


def _workers(home: Path) -> list[int]:
    """Processes of the cluster that work in a zoo's folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            is_there = (place / "cwd").resolve(strict=True) == home.resolve()
            name = (place / "cmdline").read_bytes().partition(b"\0")[0]
        except OSError:
            continue
        if is_there and name.startswith(b"ray::"):
            found.append(int(place.name))
    return found


def _wait_for_workers(home: Path, process: subprocess.Popen[str]) -> list[int]:
    end = time.monotonic() + _WAIT
    while time.monotonic() < end and process.poll() is None:
        if found := _workers(home):
            return found
        time.sleep(0.05)
    raise AssertionError(process.communicate(timeout=600)[0])


def test_a_cluster_gives_what_this_machine_gives_also_when_a_worker_is_killed(
    address: str, start: Path, local: Path, tmp_path: Path
) -> None:
    home = shutil.copytree(start, tmp_path / "zoo")
    process = _begun(home, "--executor", "ray", "--address", address)
    victim = _wait_for_workers(home, process)[0]
    time.sleep(1.0)  # so that it is amid its audit
    os.kill(victim, signal.SIGKILL)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert "2 audits handed to the cluster" in out
    assert _close(_subjects(home), _subjects(local))
    assert not _workers(home)
    again = bias_audit("zoo", "run", "zoo.yaml", cwd=home)
    assert "0 of 2 audits to make" in again.stdout  # whoever made them


def test_a_command_that_is_interrupted_is_continued_by_the_next(
    address: str, start: Path, local: Path, tmp_path: Path
) -> None:
    home = shutil.copytree(start, tmp_path / "zoo")
    one = ("--executor", "ray", "--address", address, "--only", LABEL)
    process = _begun(home, *one)
    _wait_for_workers(home, process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 130, out
    assert "rerun to resume" in out
    end = time.monotonic() + 30
    while _workers(home) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _workers(home)
    again = _begun(home, *one)
    out, _ = again.communicate(timeout=600)
    assert again.returncode == 0, out
    assert _close(_subjects(home, [LABEL]), _subjects(local, [LABEL]))


def test_a_cluster_that_is_not_there_is_named_at_once() -> None:
    with closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    for address in (f"10.255.255.1.invalid:{port}", f"ray://127.0.0.1:{port}", "nowhere"):
        began = time.monotonic()
        with pytest.raises(OutputError, match="no cluster could be reached at") as refused:
            next(executor.PLUGIN.run(_never, [], executor.Params(address=address), Silent()))
        assert "--address" in str(refused.value)
        assert time.monotonic() - began < 60


def test_without_an_address_a_cluster_of_its_own_is_started_beside_others(address: str) -> None:
    said: list[str] = []
    progress = Silent()
    progress.say = said.append  # type: ignore[assignment, method-assign]
    assert [*executor.PLUGIN.run(_never, [], executor.Params(), progress)] == []
    assert "Starting a cluster on this machine" in said


def test_nodes_without_a_shared_disk_work_through_a_store(
    address: str, start: Path, local: Path, tmp_path: Path
) -> None:
    home = shutil.copytree(start, tmp_path / "zoo")
    store, own = tmp_path / "store", tmp_path / "node"
    asked = (
        f"executor={{kind: ray, address: '{address}', store: 'file://{store}', "
        f"store_cache: '{own}'}}"
    )
    process = _begun(home, "--set", asked)
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "2 audits handed to the cluster" in line:
            (home / "labels.csv").unlink()  # no worker may need what lies here
            for label in tiny_zoo.LABELS:
                (home / f"{label}.safetensors").unlink()
    process.communicate(timeout=600)
    assert process.returncode == 0, "".join(lines)
    assert _close(_subjects(home), _subjects(local))
    assert len([*(own / "inputs").iterdir()]) == len(tiny_zoo.LABELS)
    assert not [*(own / "inputs").glob("*/runs/tiny/audits/*/*/*")]
    contributions = {path.name for path in (home / "runs/cache/contributions").iterdir()}
    assert contributions == {path.name for path in (own / "cache/contributions").iterdir()}


def test_results_outside_the_folder_of_the_command_are_refused_with_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="below the folder of the command"):
        executor._relative(Path("/elsewhere"))
    assert executor._relative(tmp_path / "runs") == Path("runs")


@pytest.mark.parametrize(("gpus", "together"), [(0.25, 4), (1.0, 1)])
def test_a_share_of_a_gpu_is_what_an_audit_gets(
    address: str, tmp_path: Path, gpus: float, together: int
) -> None:
    program = (
        "import sys\n"
        "from tests.functional.test_zoo_on_ray import four_on_a_gpu\n"
        "print(four_on_a_gpu(sys.argv[1], sys.argv[2], float(sys.argv[3])))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, address, str(tmp_path), str(gpus)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert out.returncode == 0, out.stderr
    ((devices, at_once),) = ast.literal_eval(out.stdout.splitlines()[-1])
    assert devices == ["0"]
    # a busy machine starts the last of four when the first is done
    assert min(2, together) <= at_once <= together


def four_on_a_gpu(address: str, folder: str, gpus: float) -> list[tuple[list[str], int]]:
    """Which GPU each of four audits had, and how many had one at a time at most."""
    config = AuditConfig.model_validate(
        {
            "name": "gpu",
            "data": {"kind": "parametric"},
            "backbones": [{"kind": "bundled"}],
            "analyses": [{"kind": "group_profiles"}],
            "output": {"folder": folder},
        }
    )
    tasks = [Task(("faces", str(number)), config, "") for number in range(4)]
    params = executor.Params(address=address, cpus=0.1, gpus=gpus)
    done = [*executor.PLUGIN.run(_with_a_gpu, tasks, params, Silent())]
    assert all((each.error or "").startswith("[[") for each in done), done
    found = [json.loads(each.error or "") for each in done]
    spans = [(began, ended) for _, began, ended in found]
    most = max(sum(b <= began < e for b, e in spans) for began, _ in spans)
    return [(gpu, most) for gpu in [["0"]] if all(ids == gpu for ids, _, _ in found)]


def _with_a_gpu(task: Task, _progress: Any) -> Done:
    import ray

    began = time.time()
    time.sleep(3.0 if len(ray.get_gpu_ids()) else 0.0)
    told = [[str(each) for each in ray.get_gpu_ids()], began, time.time()]
    return Done(task.key, 0.0, error=json.dumps(told))


def _never(task: Any, progress: Any) -> Any:
    raise AssertionError


def test_audits_that_no_node_can_hold_are_said_to_wait(
    address: str, start: Path, tmp_path: Path
) -> None:
    home = shutil.copytree(start, tmp_path / "zoo")
    asked = f"executor={{kind: ray, address: '{address}', cpus: 1, gpus: 2}}"
    process = _begun(home, "--set", asked)
    assert process.stdout
    for line in process.stdout:
        if "No node of the cluster has 1 cores and 2 GPUs" in line:
            break
    else:
        raise AssertionError("the command ended")
    assert not _workers(home)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == 130
