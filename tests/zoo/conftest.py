"""A zoo of tiny backbones on a few of the bundled faces, whose audits take about a second."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from safetensors.torch import load_file, save_file

from bias_audit.config.load import load_zoo
from bias_audit.config.zoo import ZooConfig
from bias_audit.data.sources.parametric import SHIPPED
from bias_audit.progress import Silent
from bias_audit.results.differing.shapes import AuditDiff
from bias_audit.results.store import read_audit
from bias_audit.zoo import entries as entry_work
from bias_audit.zoo import recovery, status
from bias_audit.zoo.entries import entries
from bias_audit.zoo.run import ZooRun, run_zoo

SETTINGS = """
name: tiny
seed: 1
datasets:
  - name: faces
    data: {kind: manifest, file: FOLDER/faces.csv, root: SHIPPED, path_column: file}
backbones:
  - kind: checkpoint
    architecture: test_resnet
    match: FOLDER/*.safetensors
    layers: [layer2, layer4]
    preprocessing: {size: 64}
activations: {device: cpu}
controls: {random_weights: 0, image: false, shuffles: 1, refits: 1}
multiplicity: {draws: 199}
analyses:
  - {kind: linear_probe, folds: 3, shrinkage: 0.3}
  - {kind: group_profiles, folds: 3}
output: {folder: FOLDER/out, cache: FOLDER/cache}
"""


class Zoo:
    """A zoo's files, which tests change as its users would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "zoo.yaml"
        self.manifest = folder / "faces.csv"
        for name in ("one", "two"):
            module = timm.create_model("test_resnet", pretrained=False)
            save_file(module.state_dict(), self.weights(name))
        with (SHIPPED / "faces.csv").open() as file:
            rows = list(csv.DictReader(file))
        self.write_rows(rows[::12])
        levels = {name: sorted({row[name] for row in rows}) for name in ("age", "gender")}
        text = SETTINGS.replace("FOLDER", str(folder)).replace("SHIPPED", str(SHIPPED))
        self.settings: dict[str, Any] = yaml.safe_load(text)
        self.settings["datasets"][0]["data"]["attributes"] = levels

    def weights(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def rows(self) -> list[dict[str, str]]:
        with self.manifest.open() as file:
            return list(csv.DictReader(file))

    def write_rows(self, rows: Sequence[dict[str, str]]) -> None:
        with self.manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def change_weights(self, name: str) -> None:
        """Other weights under the same name."""
        state = load_file(self.weights(name))
        save_file({key: value * 1.5 for key, value in state.items()}, self.weights(name))

    def load(self) -> ZooConfig:
        self.config.write_text(yaml.safe_dump(self.settings))
        return load_zoo(self.config)

    def run(self, *, force: bool = False) -> ZooRun:
        zoo = self.load()
        return run_zoo(zoo, entries(zoo), command="test", progress=Silent(), force=force)


@pytest.fixture
def zoo_with_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Without self-tests, which take most of the time of so small an audit."""
    monkeypatch.setattr(entry_work, "kept_or_quick", lambda *_args, **_options: None)
    return Zoo(tmp_path)


@pytest.fixture
def zoo(zoo_with_pages: Zoo, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Without pages as well."""
    for module in (entry_work, recovery):  # which makes reports that are missing
        monkeypatch.setattr(module, "render", _empty_report)
    monkeypatch.setattr(status, "write_diff", _write_data)
    return zoo_with_pages


def _empty_report(folder: Path, *, formats: Sequence[str]) -> None:
    read_audit(folder)
    for name in formats:
        (folder / f"report.{name}").touch()


def _write_data(found: AuditDiff, folder: Path) -> None:
    (folder / "diff.json").write_text(found.model_dump_json())
