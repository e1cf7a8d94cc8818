"""The extension of the documentation is built, installed beside the tool, and audited with."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bias_audit.data.sources.parametric import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "extension"
PACKAGE = "bias-audit-example 0.1.0"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the example in it."""
    folder = tmp_path_factory.mktemp("extension")
    source, target = folder / "source", folder / "target"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (
        ["wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder), "."],
        ["install", "--no-deps", "--no-compile", "--no-index", "--find-links", str(folder),
         "--target", str(target), "bias-audit-example"],
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", *command],
            cwd=source, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    return target


def _run(
    *arguments: str, cwd: Path, beside: Path, module: str = "bias_audit"
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(beside), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _audit(folder: Path) -> dict[str, Any]:
    """The example's own config, of few of the bundled faces; it is written, too."""
    with (SHIPPED / "faces.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for gender in ("female", "male"):
        (folder / "faces" / gender).mkdir(parents=True)
        for row in [row for row in rows if row["gender"] == gender][::12]:
            name = Path(row["file"]).name
            shutil.copyfile(SHIPPED / row["file"], folder / "faces" / gender / name)
    config: dict[str, Any] = yaml.safe_load((EXAMPLE / "audit.yaml").read_text())
    config["backbones"][0]["preprocessing"] = {"size": 64}
    config["output"] = {"formats": ["html"]}
    (folder / "audit.yaml").write_text(yaml.safe_dump(config))
    return config


@pytest.mark.slow
def test_an_audit_with_an_installed_extension(installed: Path, tmp_path: Path) -> None:
    def bias_audit(*arguments: str) -> subprocess.CompletedProcess[str]:
        return _run(*arguments, cwd=tmp_path, beside=installed)

    listed = bias_audit("kinds")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert f"data source face_folders: folders of faces ({PACKAGE}, digest " in listed.stdout
    config = _audit(tmp_path)
    first = bias_audit("run", "audit.yaml")
    assert first.returncode == 0, first.stdout + first.stderr
    run = tmp_path / "runs" / config["name"]
    audit = json.loads((run / "audit.json").read_text())
    (analysis,) = audit["subjects"][0]["analyses"]
    assert (analysis["kind"], analysis["status"]) == ("active_units", "done")
    assert audit["verdicts"][0]["outcome"] == "PASS"
    extensions = audit["provenance"]["extensions"]
    assert extensions.keys() == {"data source face_folders", "analysis active_units"}
    assert all(identity.startswith(f"{PACKAGE}, digest ") for identity in extensions.values())
    page = (run / "report.html").read_text()
    assert extensions["analysis active_units"] in page
    assert "How many units of blocks.5 are active, by gender?" in page
    (run / ".state.json").unlink()  # else the run is left as it is
    assert "reused from cache" in bias_audit("run", "audit.yaml").stdout.split("Active units")[1]

    source = installed / "bias_audit_example" / "face_folders.py"  # the analysis imports it not
    text = source.read_text()
    source.write_text(text + "\n# a change of the package\n")
    again = bias_audit("run", "audit.yaml")
    source.write_text(text)
    assert again.returncode == 0
    assert "Active units, reused" not in again.stdout
    changed = json.loads((run / "audit.json").read_text())["provenance"]
    assert changed["extensions"] != extensions
    assert changed["fingerprints"]["code"] != audit["provenance"]["fingerprints"]["code"]


@pytest.mark.slow
def test_the_extension_passes_its_own_tests(installed: Path) -> None:
    tests = installed.parent / "source" / "tests"
    own = ("-q", "-p", "no:cacheprovider", str(tests))
    done = _run(*own, cwd=tests, beside=installed, module="pytest")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_is_as_the_documents_say() -> None:
    """Its config is that of its README; every file of the table is there."""
    readme = (EXAMPLE / "README.md").read_text()
    for line in readme.splitlines():
        if line.startswith("| `"):
            assert (EXAMPLE / line.split("`")[1]).is_file()
