"""An audit that still stands is left as it is; whatever it rests on, a change is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bias_audit import finished as finishing
from bias_audit.data.sources.parametric import SHIPPED
from bias_audit.progress import Silent
from bias_audit.selftest.run import keep, self_test
from bias_audit.selftest.trials import Sizes
from tests.functional import tiny_zoo
from tests.functional.conftest import Audit, bias_audit

STANDS = "results and reports stay as they are"
RENDERED = "its reports alone are written again"
Change = Callable[[Audit], object]


@pytest.fixture
def again(tmp_path: Path, finished: Path) -> Audit:
    """The finished audit in a folder of this test, with images of its own."""
    folder = Path(shutil.copytree(finished, tmp_path / "again"))
    shutil.copytree(SHIPPED, folder / "faces")
    audit = object.__new__(Audit)
    audit.folder, audit.run = folder, folder / "runs" / "small"
    config = folder / "audit.yaml"
    config.write_text(config.read_text().replace(str(SHIPPED), "faces"))
    assert run(audit, "--replace").returncode == 0
    return audit


def run(audit: Audit, *options: str) -> subprocess.CompletedProcess[str]:
    return bias_audit("run", "audit.yaml", *options, cwd=audit.folder)


def states(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each file was written, and what is in it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_what_stands_is_not_touched(again: Audit) -> None:
    before = states(again.run)
    first, second = run(again), run(again)
    assert STANDS in first.stdout and first.stdout == second.stdout
    assert first.returncode == 0
    assert "Verdicts: " in first.stdout and "Report: " in first.stdout
    assert states(again.run) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda audit: (audit.run / "report.html").write_text("edited"),
        lambda audit: (audit.run / "report.html").unlink(),
        lambda audit: next((audit.run / "figures").glob("*.csv")).write_text("edited"),
        lambda audit: shutil.rmtree(audit.run / "exports"),
    ],
    ids=["edited", "deleted", "figure", "exports"],
)
def test_a_damaged_report_alone_is_written_again(again: Audit, change: Change) -> None:
    before = states(again.run)
    change(again)
    done = run(again)
    assert RENDERED in done.stdout, done.stdout
    after = states(again.run)
    assert {path: content for path, (_, content) in after.items()} == {
        path: content for path, (_, content) in before.items()
    }
    assert after[again.run / "audit.json"] == before[again.run / "audit.json"]
    assert STANDS in run(again).stdout


def _other_label(audit: Audit) -> None:
    path = audit.folder / "labels.csv"
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, first.replace("female", "male"), *rest]) + "\n")


def _other_image(audit: Audit) -> None:
    first, second = sorted((audit.folder / "faces").rglob("*african*.*"))[:2]
    shutil.copyfile(first, second)


def _another_self_test(audit: Audit) -> None:
    sizes = Sizes((0.95,), 2, 1, 1, ((10, 2),), 2, 2, 1)
    found = self_test("quick", seed=0, progress=Silent(), sizes=sizes)
    keep(audit.folder / "runs" / "cache", found.model_copy(update={"mode": "full"}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        _other_label,
        _other_image,
        _another_self_test,
        lambda audit: tiny_zoo.write_weights(audit.folder / "first.safetensors", seed=7),
        lambda audit: (audit.run / "audit.json").write_text("{}"),
        lambda audit: (audit.run / "config.yaml").unlink(),
        lambda audit: shutil.rmtree(audit.folder / "runs" / "cache" / "contributions"),
        lambda audit: (audit.run / ".state.json").write_text("[]"),
        lambda audit: (audit.folder / "audit.yaml").write_text(
            (audit.folder / "audit.yaml").read_text().replace("seed: 1", "seed: 2")
        ),
    ],
    ids=[
        *("label", "image", "self-test", "weights", "result"),
        *("config file", "contributions", "state", "seed"),
    ],
)
def test_any_other_change_makes_the_audit_again(again: Audit, change: Change) -> None:
    started = again.result.provenance.started
    os.utime(again.folder / "audit.yaml")  # the time of the config itself says nothing
    change(again)
    done = run(again, "--replace")
    assert STANDS not in done.stdout and RENDERED not in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert again.result.provenance.started >= started
    assert STANDS in run(again).stdout


def test_another_release_makes_the_audit_again(
    again: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "installed", lambda: "another release")
    done = run(again)
    assert STANDS not in done.stdout and RENDERED not in done.stdout
    assert STANDS in run(again).stdout


def test_a_failed_analysis_is_tried_again(again: Audit) -> None:
    result = again.result
    assert finishing._is_whole(result)
    (subject,) = result.subjects
    failed = subject.analyses[0].model_copy(update={"status": "failed", "error": "of a test"})
    subject = subject.model_copy(update={"analyses": (failed, *subject.analyses[1:])})
    assert not finishing._is_whole(result.model_copy(update={"subjects": (subject,)}))
