"""What users get wrong, and what machines refuse: the message, the exit code, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from bias_audit.config.load import load_config
from bias_audit.results.audit import SCHEMA_VERSION
from bias_audit.results.store import read_audit
from tests.functional.conftest import bias_audit, bias_audit_process

Write = Callable[[dict[str, Any]], Path]


def manifest(folder: Path, rows: list[str], small: dict[str, Any], **params: Any) -> None:
    """Point a config at faces of its own: random colours stand for images, not for faces."""
    (folder / "labels.csv").write_text("\n".join(["path,shape,tone", *rows]) + "\n")
    small["data"] = {
        "kind": "manifest",
        "file": str(folder / "labels.csv"),
        "attributes": {"shape": ["round", "long"], "tone": ["light", "dark"]},
        **params,
    }
    small["sampling"] = {}


def blank(folder: Path, name: str, level: int) -> None:
    pixels = Image.effect_noise((64, 64), 60).point(lambda value: (value + level) % 256)
    pixels.convert("RGB").save(folder / name)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seeds": 3}, "unknown key 'seeds'; did you mean 'seed'?"),
        ({"seed": "many"}, "seed"),
        ({"data": {"kind": "fair_face"}}, "did you mean 'fairface'"),
        ({"data": {"kind": "fairface", "root": "absent"}}, "absent"),
        ({"backbones": [{"kind": "bundled", "layers": ["blocks.99"]}]}, "unknown layer"),
        ({"analyses": [{"kind": "linear_probe", "targets": ["gendr"]}]}, "did you mean 'gender'"),
        ({"analyses": [{"kind": "topomap", "layout": {"kind": "umapp"}}]}, "did you mean 'umap'"),
        ({"activations": {"device": "cuda:99"}}, "activations.device"),
    ],
)
def test_what_the_user_can_correct_exits_2(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path, change: Any, expected: str
) -> None:
    done = bias_audit("run", write_config({**tiny, **change}), cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert expected in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "small" / "audit.json").exists()


def test_fewer_images_than_folds_exits_2(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    rows = []
    for index in range(2):
        blank(tmp_path, f"{index}.png", index)
        rows.append(f"{index}.png,{['round', 'long'][index]},light")
    manifest(tmp_path, rows, tiny)
    done = bias_audit_process("run", write_config(tiny), cwd=tmp_path)
    assert done.returncode == 2
    assert "expected at most as many folds as images" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("verb", ["run", "check"])
def test_groups_all_smaller_than_the_folds_exit_2(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path, verb: str
) -> None:
    rows = []
    for index in range(6):
        blank(tmp_path, f"{index}.png", index)
        rows.append(f"{index}.png,{['round', 'long', 'long'][index % 3]},light")
    manifest(tmp_path, rows, tiny)
    done = bias_audit(verb, write_config(tiny), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    told = done.stderr.replace("\n", " ")
    assert "two levels of at least 3 images each" in told
    assert "shape, tone" in told


def test_an_interrupt_outside_of_a_command_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    from bias_audit import cli

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130


def test_a_home_that_is_not_there_exits_2(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    done = bias_audit("check", write_config(tiny), "--set", "output.cache=~nouser", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--set output.cache" in done.stderr


def test_bad_images_and_labels_reach_the_ledger_and_the_audit_goes_on(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    rows = []
    for index in range(24):
        blank(tmp_path, f"{index}.png", 40 * (index % 2))
        rows.append(f"{index}.png,{['round', 'long'][index % 2]},light")  # "dark" stays empty
    (tmp_path / "text.jpg").write_text("this is not an image")
    jpeg = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes()[:400])
    rows += [
        "text.jpg,round,light",
        "cut.jpg,round,light",
        "../outside.png,round,light",
        "absent.png,round,light",
        "0.png,<script>alert(1)</script>,light",
        '1.png,"=cmd()",light',
    ]
    manifest(tmp_path, rows, tiny)
    tiny["analyses"] = [{"kind": "linear_probe", "folds": 3}]
    done = bias_audit("run", write_config(tiny), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_audit(tmp_path / "runs" / "small")
    assert result.data.n_images == 24
    assert sum(reason.count for reason in result.data.exclusions) >= 6
    empty = [cell for cell in result.data.cells if cell.used == 0]
    assert {cell.group.levels[1][1] for cell in empty} == {"dark"}
    html = (tmp_path / "runs" / "small" / "report.html").read_text()
    assert "<script>alert" not in html
    ledger = (tmp_path / "runs" / "small" / "exclusions.csv").read_text()
    assert "text.jpg" in ledger
    for line in ledger.splitlines():
        assert not any(cell.startswith(("=", "+", "@")) for cell in line.split(","))


def test_an_identity_with_many_images_is_a_caution_that_does_not_name_it(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    rows = []
    for index in range(24):
        blank(tmp_path, f"{index}.png", 40 * (index % 2))
        who = "Mx Doe" if index < 12 else f"p{index}"
        rows.append(f"{index}.png,{['round', 'long'][index % 2]},light,{who}")
    manifest(tmp_path, rows, tiny, identity_column="person")
    header, *lines = (tmp_path / "labels.csv").read_text().splitlines()
    (tmp_path / "labels.csv").write_text("\n".join([f"{header},person", *lines]))
    tiny["analyses"] = [{"kind": "linear_probe", "folds": 3}]
    done = bias_audit("run", write_config(tiny), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = "one identity holds 50 % of the images (12 of 24)"
    assert f"warning: {expected}" in done.stdout.replace("\n", " ")
    folder = tmp_path / "runs" / "small"
    data = read_audit(folder).data
    assert (data.n_clusters, data.n_without_identity) == (13, 0)
    html = (folder / "report.html").read_text()
    assert expected in html
    assert "effective number of clusters: 1.2, fewer than 30" in html
    for text in (html, (folder / "audit.json").read_text(), done.stdout, done.stderr):
        assert "mx doe" not in text.lower()


def test_a_failed_analysis_is_reported_and_exits_4(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["analyses"] = [{"kind": "linear_probe", "folds": 3}, {"kind": "confusions", "folds": 20}]
    done = bias_audit("run", write_config(tiny), cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Attention: could not be computed" in done.stdout
    result = read_audit(tmp_path / "runs" / "small")
    assert [analysis.status for analysis in result.subjects[0].analyses] == ["done", "failed"]
    assert result.failed[0].error
    assert "could not be computed" in (tmp_path / "runs" / "small" / "report.html").read_text()


def test_every_defect_is_logged_until_a_run_has_none(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["analyses"] = [{"kind": "linear_probe", "folds": 3}, {"kind": "confusions", "folds": 3}]
    tiny["output"]["formats"] = []
    config = write_config(tiny)

    def broken(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError("of ours")

    with monkeypatch.context() as patched:
        patched.setattr("bias_audit.analyses.probing.probes.cross_fit", broken)
        done = bias_audit("run", config, cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    result = read_audit(tmp_path / "runs" / "small")
    assert [a.error for a in result.failed] == ["ZeroDivisionError: of ours (see errors.log)"] * 2
    log = tmp_path / "runs" / "small" / "errors.log"
    assert log.read_text().count("ZeroDivisionError: of ours") == 2
    done = bias_audit("run", config, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not log.exists()
    assert "Results: runs/small/audit.json; bias-audit render runs/small" in done.stdout


def test_two_runs_into_one_folder(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "small"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        done = bias_audit("run", write_config(tiny), cwd=tmp_path)
    assert done.returncode == 5
    assert "another run is writing" in done.stderr


def test_another_audit_in_the_folder_is_not_written_over(
    tiny: dict[str, Any], write_config: Write, tiny_finished: Path
) -> None:
    config = write_config({**tiny, "seed": 99})
    before = (tiny_finished / "runs" / "small" / "audit.json").read_bytes()
    done = bias_audit("run", config, cwd=tiny_finished)
    assert done.returncode == 2
    assert "--replace" in done.stderr
    assert (tiny_finished / "runs" / "small" / "audit.json").read_bytes() == before


@pytest.mark.parametrize("key", ["output.folder", "output.cache"])
def test_a_place_that_cannot_be_written_exits_5(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path, key: str
) -> None:
    done = bias_audit("run", write_config(tiny), "--set", f"{key}=/proc/nowhere", cwd=tmp_path)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "cannot write" in done.stderr


def test_a_look_needs_no_cache_that_can_be_written(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    output = ["--set", "output.cache=/proc/nowhere", "--set", "output.folder=/proc/nowhere"]
    done = bias_audit("data", "check", write_config(tiny), *output, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "notice: /proc/nowhere cannot be written" in done.stdout


def test_problems_after_loading_name_the_file_and_come_together(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    backbones = [{"kind": "timm", "name": "resnet18x"}]
    config = write_config({**tiny, "backbones": backbones, "output": {"fonts": ["no.ttf"]}})
    done = bias_audit("check", config, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"{config}: 2 problems" in done.stderr
    assert "no.ttf" in done.stderr
    assert "resnet18x" in done.stderr


def test_render_of_what_is_no_run(tmp_path: Path) -> None:
    done = bias_audit("render", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "no audit.json" in done.stderr
    (tmp_path / "c.yaml").touch()
    done = bias_audit("export", tmp_path / "c.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected a finished run's folder, got a file" in done.stderr
    done = bias_audit("diff", tmp_path / "x", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing is there" in done.stderr


@pytest.mark.parametrize(
    ("verb", "option", "value"),
    [("render", "--font", "no.ttf"), ("render", "--format", "docx"), ("export", "--format", "x")],
)
def test_an_option_that_cannot_be_used_exits_2(
    tiny_finished: Path, verb: str, option: str, value: str
) -> None:
    done = bias_audit(verb, "runs/small", option, value, cwd=tiny_finished)
    assert done.returncode == 2, done.stderr
    assert f"{option}: " in done.stderr


def test_render_of_another_schema_version(tiny_finished: Path, tmp_path: Path) -> None:
    raw = json.loads((tiny_finished / "runs" / "small" / "audit.json").read_text())
    raw["schema_version"] = 99
    (tmp_path / "audit.json").write_text(json.dumps(raw))
    done = bias_audit("render", tmp_path, cwd=tmp_path)
    assert done.returncode == 5
    assert f"expected schema_version {SCHEMA_VERSION}, got 99" in done.stderr


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
    tiny: dict[str, Any],
    write_config: Write,
    tiny_finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    from typer.testing import CliRunner

    from bias_audit.cli import app

    if stage != "report":
        tiny["output"]["formats"] = []
    config = write_config(tiny)
    if stage in AFTER_THE_PASSES:  # which need not be made again
        for part in ("activations", "images", "random_weights"):
            shutil.copytree(tiny_finished / "runs/cache" / part, tmp_path / "runs/cache" / part)
    monkeypatch.chdir(tmp_path)
    calls = [0]

    def interrupt(*_args: object, **_kwargs: object) -> None:
        calls[0] += 1
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(STAGES[stage], interrupt)
        stopped = CliRunner().invoke(app, ["run", str(config)])
    assert calls[0], f"the stage was not reached: {stopped.output}{stopped.exception!r}"
    assert stopped.exit_code == 130, stopped.output
    assert "rerun to resume" in stopped.output
    done = CliRunner().invoke(app, ["run", str(config)])
    assert done.exit_code == 0, done.output
    again, whole = (
        read_audit(folder / "runs" / "small").subjects[0].analyses
        for folder in (tmp_path, tiny_finished)
    )
    assert [a.blocks for a in again] == [a.blocks for a in whole]


def test_a_real_interrupt_signal(
    small: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    small |= {"sampling": {}, "controls": {"image": False, "random_weights": 0}}
    config = write_config(small)
    # Ctrl-C is ignored by what a shell starts in the background, and by the children of that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "bias_audit.cli", "run", str(config)],
        cwd=tmp_path,
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


def test_json_keys_in_the_run_config_load_again(tiny_finished: Path) -> None:
    config = load_config(tiny_finished / "runs" / "small" / "config.yaml")
    assert config.name == "small"


def test_a_disk_that_fills_up_exits_5_and_the_run_goes_on_later(
    tiny: dict[str, Any], write_config: Write, tmp_path: Path
) -> None:
    """The kernel refuses files over a size, as it refuses them on a full disk."""
    program = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from bias_audit.cli import main\n"
        "sys.argv = ['bias-audit', 'run', sys.argv[1]]\n"
        "main()\n"
    )
    config = write_config(tiny)
    full = subprocess.run(
        [sys.executable, "-c", program, str(config)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 5, full.stdout + full.stderr
    assert "no space left" in full.stderr
    assert not (tmp_path / "runs" / "small" / "audit.json").exists()
    assert bias_audit("run", config, cwd=tmp_path).returncode == 0
