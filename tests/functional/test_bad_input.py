"""What users get wrong, and what machines refuse: the message, the exit code, nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from bias_audit import cli
from bias_audit.results.store import read_audit
from tests.functional.conftest import Audit, bias_audit


def use_images(audit: Audit, shapes: Sequence[str], *more_rows: str) -> None:
    """Random colours stand for images, not for faces; half of them are of one "person"."""
    rows = ["path,shape,tone,person"]
    for index, shape in enumerate(shapes):
        noise = Image.effect_noise((64, 64), 60)
        noise = noise.point([(value + 40 * (index % 2)) % 256 for value in range(256)])
        noise.convert("RGB").save(audit.folder / f"{index}.png")
        person = "Mx Doe" if index < len(shapes) / 2 else f"p{index}"
        rows.append(f"{index}.png,{shape},light,{person}")
    (audit.folder / "labels.csv").write_text("\n".join([*rows, *more_rows]) + "\n")
    audit.config["data"] = {
        "kind": "manifest",
        "file": "labels.csv",
        "identity_column": "person",
        "attributes": {"shape": ["round", "long"], "tone": ["light", "dark"]},
    }
    audit.config["analyses"] = [{"kind": "linear_probe", "folds": 3}]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seeds": 3}, "unknown key 'seeds'; did you mean 'seed'?"),
        ({"data": {"kind": "fairface", "root": "absent"}}, "absent"),
        ({"backbones": [{"kind": "bundled", "layers": ["blocks.99"]}]}, "unknown layer"),
        ({"analyses": [{"kind": "linear_probe", "targets": ["gendr"]}]}, "did you mean 'gender'"),
        ({"activations": {"device": "cuda:99"}}, "activations.device"),
        ({"output": {"cache": "~nouser"}}, "output.cache"),
    ],
)
def test_what_the_user_can_correct_exits_2(tiny: Audit, change: Any, expected: str) -> None:
    tiny.config |= change
    done = tiny("run")
    assert done.returncode == 2, done.stdout
    assert expected in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert not (tiny.run / "audit.json").exists()


@pytest.mark.parametrize(
    ("verb", "shapes", "expected"),
    [
        ("run", ["round", "long"], "expected at most as many folds as images"),
        ("run", ["round", "long", "long"] * 2, "two levels of at least 3 images each"),
        ("check", ["round", "long", "long"] * 2, "two levels of at least 3 images each"),
    ],
)
def test_too_few_images_for_the_folds_exit_2(
    tiny: Audit, verb: str, shapes: list[str], expected: str
) -> None:
    use_images(tiny, shapes)
    done = tiny(verb)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("a bug"), 70)]
)
def test_a_command_that_breaks_off_does_not_look_like_a_failed_criterion(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert str(error) in capsys.readouterr().err


def test_bad_rows_reach_the_ledger_and_the_audit_goes_on_and_names_no_person(tiny: Audit) -> None:
    jpeg = tiny.folder / "cut.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes()[:400])
    (tiny.folder / "text.jpg").write_text("this is not an image")
    paths = ("text.jpg", "cut.jpg", "../outside.png", "absent.png")
    use_images(
        tiny,
        ["round", "long"] * 12,  # "dark" stays empty
        *(f"{path},round,light,a{path}" for path in paths),
        "0.png,<script>alert(1)</script>,light,b",
        '1.png,"=cmd()",light,c',
    )
    done = tiny("run")
    assert done.returncode == 0, done.stdout + done.stderr
    data = tiny.result.data
    assert (data.n_images, data.n_clusters, data.n_without_identity) == (24, 13, 0)
    assert sum(reason.count for reason in data.exclusions) >= 6
    assert {c.group.levels[1][1] for c in data.cells if c.used == 0} == {"dark"}
    html = (tiny.run / "report.html").read_text()
    assert "<script>alert" not in html
    ledger = (tiny.run / "exclusions.csv").read_text()
    assert "text.jpg" in ledger
    for line in ledger.splitlines():
        assert not any(cell.startswith(("=", "+", "@")) for cell in line.split(","))
    caution = "one identity has 50 % of the images (12 of 24)"
    assert f"warning: {caution}" in done.stdout.replace("\n", " ")
    assert caution in html
    assert "effective number of clusters: 1.2, fewer than 30" in html
    for text in (html, (tiny.run / "audit.json").read_text(), done.stdout, done.stderr):
        assert "mx doe" not in text.lower()


def test_every_defect_is_logged_until_a_run_has_none(
    tiny: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.config["analyses"] = tiny.config["analyses"][:2]
    tiny.config["output"]["formats"] = []

    def broken(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError("of ours")

    with monkeypatch.context() as patched:
        patched.setattr("bias_audit.analyses.probing.probes.cross_fit", broken)
        assert tiny("run").returncode == 4
    said = [analysis.error for analysis in tiny.result.failed]
    assert said == ["ZeroDivisionError: of ours (see errors.log)"] * 2
    log = tiny.run / "errors.log"
    assert log.read_text().count("ZeroDivisionError: of ours") == 2
    done = tiny("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not log.exists()
    assert "Results: runs/small/audit.json; bias-audit render runs/small" in done.stdout


def test_two_runs_into_one_folder(tiny: Audit) -> None:
    tiny.run.mkdir(parents=True)
    with FileLock(tiny.run / ".lock"):
        done = tiny("run")
    assert done.returncode == 5
    assert "another run is writing" in done.stderr


def test_another_audit_in_the_folder_is_not_written_over(tiny: Audit, finished: Path) -> None:
    tiny.config["seed"] = 99
    shutil.copytree(finished / "runs" / "small", tiny.run)
    before = (tiny.run / "audit.json").read_bytes()
    done = tiny("run")
    assert done.returncode == 2
    assert "--replace" in done.stderr
    assert (tiny.run / "audit.json").read_bytes() == before


@pytest.mark.parametrize("key", ["output.folder", "output.cache"])
def test_a_place_that_cannot_be_written_exits_5_but_a_look_needs_none(
    tiny: Audit, key: str
) -> None:
    elsewhere = ("--set", f"{key}=/proc/nowhere")
    done = tiny("run", *elsewhere)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "cannot write" in done.stderr
    assert tiny("data check", *elsewhere).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("render", "."), "no audit.json"),
        (("export", "audit.yaml"), "expected a finished run's folder, got a file"),
        (("diff", "x", "."), "nothing is there"),
        (("render", "runs/small", "--format", "docx"), "--format: "),
    ],
)
def test_what_is_no_run_exits_2(finished: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = bias_audit(*arguments, cwd=finished)
    assert done.returncode == 2
    assert expected in done.stderr


STAGES = {
    "scan": "bias_audit.audit.plan.prepare",
    "forward pass": "bias_audit.activations.extract.forward_input",
    "image controls": "bias_audit.data.image_features.quality",
    "statistics of random weights": "bias_audit.audit.controls.estimate_statistics",
    "random weights": "bias_audit.audit.controls.extract",
    "probes": "bias_audit.analyses.probing.probes.cross_fit",
    "map": "bias_audit.analyses.mapping.group_maps.UnitMap",
    "report": "bias_audit.report.render.write_text",
}
AFTER_THE_PASSES = {"probes", "map", "report"}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_in_each_stage_loses_nothing(
    tiny: Audit, finished: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    if stage != "report":
        tiny.config["output"]["formats"] = []
    if stage in AFTER_THE_PASSES:  # which need not be made again
        for part in ("activations", "images", "random_weights"):
            place = Path("runs/cache") / part
            shutil.copytree(finished / place, tiny.folder / place)
    calls = 0

    def interrupt(*_args: object, **_kwargs: object) -> None:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(STAGES[stage], interrupt)
        stopped = tiny("run")
    assert calls, f"the stage was not reached: {stopped.stdout}{stopped.stderr}"
    assert stopped.returncode == 130, stopped.stdout
    assert "rerun to resume" in stopped.stdout + stopped.stderr
    done = tiny("run")
    assert done.returncode == 0, done.stdout
    whole = read_audit(finished / "runs" / "small")
    again, expected = (r.subjects[0].analyses for r in (tiny.result, whole))
    assert [a.blocks for a in again] == [a.blocks for a in expected]


@pytest.mark.slow
def test_a_real_interrupt_signal(small: Audit) -> None:
    small.config |= {"sampling": {}, "controls": {"image": False, "random_weights": 0}}
    # Ctrl-C is ignored by what a shell starts in the background, and by the children of that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "bias_audit", "run", small.written()],
        cwd=small.folder,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Forward pass"):
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "rerun to resume" in rest
