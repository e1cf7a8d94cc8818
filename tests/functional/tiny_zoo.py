"""A zoo that is complete and takes seconds: two networks of random weights, few bundled faces."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import timm
import torch
import yaml
from torch import nn

from bias_audit.data.sources.parametric import SHIPPED

ARCHITECTURE, SIDE = "test_resnet", 64
LABELS: Final = ("first", "second")
_COLUMNS = ("file", "age", "race", "gender")
_RACES = ("african", "asian")
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "seed": 1,
    "datasets": [
        {
            "name": "faces",
            "data": {
                "kind": "manifest",
                "file": "labels.csv",
                "root": str(SHIPPED),
                "path_column": "file",
                "attributes": {"race": list(_RACES), "gender": ["female", "male"]},
            },
        }
    ],
    "backbones": [
        {
            "kind": "checkpoint",
            "label": label,
            "architecture": ARCHITECTURE,
            "num_classes": 2,
            "file": f"{label}.safetensors",
            "layers": ["layer2", "layer4"],
            "preprocessing": {"size": SIDE},
        }
        for label in LABELS
    ],
    "activations": {"device": "cpu", "batch_size": 16},
    "controls": {"random_weights": 1, "shuffles": 1, "refits": 1},
    "multiplicity": {"draws": 199},
    "analyses": [
        {"kind": "linear_probe", "folds": 3, "targets": ["gender"]},
        {"kind": "confusions", "folds": 3},
    ],
    "criteria": [
        {
            "name": "gender is decodable",
            "quantity": "macro_auc",
            "target": "gender",
            "layer": "last",
            "at_least": 0.01,
            "rationale": "every probe passes this",
        }
    ],
    "changes": {"fail_on": ["changed", "undecided"]},
    "output": {"folder": "runs/tiny", "cache": "runs/cache"},
}
WITHOUT_REPORTS: dict[str, Any] = {**CONFIG, "output": {**CONFIG["output"], "formats": []}}
"""For tests that do not look at the reports of single audits."""


def make(folder: Path, config: dict[str, Any] | None = None) -> None:
    """Write a zoo's config, labels and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zoo.yaml").write_text(yaml.safe_dump(config or CONFIG, sort_keys=False))
    with (SHIPPED / "faces.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["race"] in _RACES]
    taken: Counter[tuple[str, str]] = Counter()
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            cell = (row["race"], row["gender"])
            taken[cell] += 1
            if taken[cell] <= 13:  # as many images in all as no layer has units
                writer.writerow(row)
    for seed, label in enumerate(LABELS):
        write_weights(folder / f"{label}.safetensors", seed)


def write_weights(path: Path, seed: int) -> None:
    """Put random weights into a file."""
    safetensors.torch.save_file(network(seed, n_classes=2).state_dict(), path)


def network(seed: int, n_classes: int) -> nn.Module:
    """A network with random weights."""
    torch.manual_seed(seed)  # noqa: TID251 (layers draw their weights from the global generator)
    module: nn.Module = timm.create_model(ARCHITECTURE, num_classes=n_classes)
    return module


# What one run may say differently from another with the same results.
_PASSING: Final = {
    "seconds",
    "started",
    "command",
    "extraction",
    "costs",
    "arrays",
    "selftest",
    "hardware",
    "folder",
    "audit_sha256",
    "sha256",
}


def found(folder: Path) -> dict[str, Any]:
    """All that a zoo found, without times and places: results, comparisons, history."""
    zoo = folder / "runs" / "tiny"
    results: dict[str, Any] = {"history": _history(zoo / "history.sqlite")}
    for label in LABELS:
        home = zoo / "audits" / "faces" / label
        for number, run in enumerate(sorted(path for path in home.iterdir() if path.is_dir())):
            results[f"{label} {number}"] = plain(json.loads((run / "audit.json").read_text()))
            assert (run / "report.html").is_file(), run
            if number:
                results[f"{label} {number} diff"] = plain(
                    json.loads((run / "diff.json").read_text())
                )
    return results


def plain(value: Any) -> Any:
    """Without what passes with a run."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if name not in _PASSING}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _history(database: Path) -> dict[str, list[Any]]:
    """Rows of the tables that hold results; ids depend on the order of work alone."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        kept = {name for (name,) in tables} - {"runs", "states", "costs"}
        return {
            name: sorted(
                json.dumps({name: row[name] for name in row.keys() if _stays(name)})  # noqa: SIM118
                for row in connection.execute(f"SELECT * FROM {name}")
            )
            for name in kept
        }


def _stays(column: str) -> bool:
    return column not in _PASSING and column != "id" and not column.endswith("_id")


_RUN = re.compile(r"\d{8}T\d{6}Z(-\d+)?|[0-9a-f]{8}-\d\d-\d\d")


def files(folder: Path) -> set[str]:
    """Every file below, with the names of runs and of their arrays replaced."""
    return {
        _RUN.sub("RUN", path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.is_file()
    }
