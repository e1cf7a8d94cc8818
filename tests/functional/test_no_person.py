"""Nothing in a run folder rests on fewer people than the config allows, nor follows from what is.

Whoever reads a run folder may combine all its numbers. Activations are many enough here that every
row of numbers with one value per unit shows by itself how much of each image is in it: least
squares finds the weights. Nothing but the files is used, so that it does not matter which analysis
wrote a row, or what it calls it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from bias_audit.analyses.analysis import Subject
from bias_audit.arrays import FloatArray
from bias_audit.audit.analysing import analyses_of
from bias_audit.config.catalog import ANALYSES
from bias_audit.report.render import render
from tests.functional.conftest import Audit
from tests.once import once

pytestmark = pytest.mark.slow

FEWEST: Final = 5
LAYERS: Final = ("blocks.5", "blocks.6")
AGES, HAIR = ("young", "middle", "old"), ("fair", "dark")
COUNTS: Final = (1, 2, 3, 4, 5, 24, 16, 28, 26, 1, 18, 24)
"""Images by age, gender and hair."""
PCA: Final = {"kind": "pca"}
BOX: Final = {"shape": "box", "left": 0.1, "top": 0.1, "right": 0.9, "bottom": 0.9}
PARAMS: Final[dict[str, dict[str, Any]]] = {
    "attribution": {
        "targets": ["gender"],
        "images": 20,
        "trust_images": 10,
        "methods": ["saliency"],
        "layer": "blocks.5",
        "template": {"regions": [{"name": "middle", "areas": [BOX]}]},
    },
    "confusions": {
        "protocol": "krug_stober_2025",
        "published": {"epochs": 1, "training_share": 0.6},
        "layer": "blocks.5",
    },
    "layout_comparison": {"layouts": [PCA], "repetitions": 3, "refine_steps": [0]},
    "topomap": {
        "layout": PCA,
        "layers": LAYERS,
        "bootstrap_draws": 100,
        "differences": {"pairs": [{"attribute": "age", "levels": ["young", "old"]}]},
    },
    "outcome_profiles": {
        "layout": PCA,
        "bootstrap_draws": 100,
        "layer": LAYERS[0],
        "shrinkage": 1.0,  # so that enough is confused
    },
    "training": {"layout": PCA, "layer": LAYERS[0]},
    "group_profiles": {"bootstrap_draws": 100, "layers": LAYERS},
    "group_geometry": {"bootstrap_draws": 100},
    "group_clusters": {"bootstrap_draws": 100, "permutations": 19, "splits": 2},
    "concept_map": {"bootstrap_draws": 100},
}
"""What makes an analysis quick, or makes it publish more; of a new one, the defaults."""


def _faces(folder: Path) -> None:
    """Pictures of nothing, in colours that depend a little on their labels."""
    rng = np.random.default_rng(0)
    rows: list[tuple[str, ...]] = []
    for cell, n in zip(product(AGES, ("female", "male"), HAIR), COUNTS, strict=True):
        for _ in range(n):
            tint = np.array([AGES.index(cell[0]), 2 * (cell[1] == "male"), cell[2] == "dark"])
            noise = rng.random((8, 8, 3)) * 160 + 30 * tint
            name = f"{len(rows)}.png"
            picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            picture.resize((64, 64), Image.Resampling.BICUBIC).save(folder / name)
            rows.append((name, *cell))
    columns = ["file", "age", "gender", "hair"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "faces.csv", index=False)


def _config() -> dict[str, Any]:
    analyses = []
    for kind in ANALYSES.kinds():
        settings = dict(PARAMS.get(kind, {}))
        settings |= {"folds": 3} if "folds" in ANALYSES.load(kind).params_type.model_fields else {}
        analyses.append({"kind": kind, **settings})
    return {
        "name": "few",
        "seed": 1,
        "data": {
            "kind": "manifest",
            "file": "faces.csv",
            "path_column": "file",
            "attributes": {"age": list(AGES), "gender": ["female", "male"], "hair": list(HAIR)},
        },
        "sampling": {"near_duplicates": False},
        "backbones": [
            {"kind": "bundled", "layers": list(LAYERS), "preprocessing": {"size": size}}
            for size in (64, 96)
        ],
        "activations": {"device": "cpu", "positions": 2},
        "controls": {"random_weights": 0, "shuffles": 2, "refits": 0, "image": False},
        "multiplicity": {"draws": 499},
        "small_groups": {"suppress_below": FEWEST},
        "analyses": analyses,
        "output": {"formats": []},
    }


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory, stored_self_test: Path) -> Path:
    """A folder with a run of all analyses, its exports, and what was seen of each image."""
    seen: dict[str, npt.NDArray[Any]] = {}

    def remembered(subject: Subject, *rest: Any) -> Iterator[Any]:
        for layer in LAYERS:
            seen[f"{len(seen)}-{layer}"] = np.array(subject.activations.units(layer))
        seen["cells"] = subject.faces.table.cells
        return analyses_of(subject, *rest)

    def make(folder: Path) -> None:
        _faces(folder)
        audit = Audit(folder, _config(), stored_self_test)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("bias_audit.audit.run.analyses_of", remembered)
            ran = audit("run")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        render(audit.run, formats=())
        np.savez(folder / "seen.npz", allow_pickle=False, **seen)

    return once(tmp_path_factory, "no_person", make)


def _tables(run: Path) -> Iterator[tuple[str, FloatArray]]:
    """Every array of numbers in the run folder, and every column of every table."""
    for path in sorted(run.rglob("*.npy")):
        array = np.load(path)
        if np.issubdtype(array.dtype, np.number):
            yield path.name, array.astype(np.float64)
    for path in sorted(run.rglob("*.csv")):
        for name, column in pd.read_csv(path, dtype=str).items():
            numbers = pd.to_numeric(column, errors="coerce")
            yield f"{path.name} {name}", numbers.to_numpy(np.float64)


def _rows(array: FloatArray, n_units: int) -> Iterator[FloatArray]:
    """Whatever has one value per unit, in whichever order it was written."""
    for axis in range(array.ndim):
        if array.shape[axis] == n_units:
            yield from np.moveaxis(array, axis, -1).reshape(-1, n_units)
    if array.ndim == 1 and array.size > n_units and array.size % n_units == 0:
        yield from array.reshape(-1, n_units)
        yield from array.reshape(n_units, -1).T


def _weights(run: Path, units: FloatArray, scale: FloatArray) -> dict[str, FloatArray]:
    """How much of every image is in every row that is a sum over images, by file."""
    inverse = np.linalg.pinv(units)
    found: dict[str, list[FloatArray]] = {}
    for name, array in _tables(run):
        for row in _rows(array, units.shape[1]):
            for values in (np.nan_to_num(row), np.nan_to_num(row * scale)):
                weights = values @ inverse
                rest = np.linalg.norm(values - weights @ units)
                is_sum = rest < 1e-3 * np.linalg.norm(values)
                if is_sum and np.linalg.norm(weights) > 0:
                    found.setdefault(name, []).append(weights)
    return {name: np.array(rows) for name, rows in found.items()}


def _share_of_one(weights: FloatArray) -> FloatArray:
    """The largest share that an image has in any combination of the rows, shape (n_images,)."""
    _, sizes, right = np.linalg.svd(weights, full_matrices=False)
    return np.asarray((right[sizes > 1e-3 * sizes[0]] ** 2).sum(axis=0))


@pytest.mark.parametrize("layer", LAYERS)
def test_no_combination_of_published_numbers_rests_on_few_people(
    audited: Path, layer: str
) -> None:
    """One that rests on m images gives one of them a share of at least 1 / m."""
    with np.load(audited / "seen.npz") as seen:
        units = {n: v.astype(np.float64) for n, v in seen.items() if n.endswith(layer)}
        cells = seen["cells"]
    assert len(units) == 2
    for name, values in units.items():
        assert np.linalg.matrix_rank(values) == len(values) < values.shape[1], name
        centred = values - np.array([values[cells == cell].mean(axis=0) for cell in cells])
        scale = np.sqrt((centred**2).sum(axis=0) / (len(cells) - len(np.unique(cells))))
        weights = _weights(audited / "runs/few", values, scale)
        assert {"means.npy", "values.npy"} <= {file.rpartition("-")[2] for file in weights}
        assert layer != LAYERS[0] or any("confusions" in file for file in weights)
        shares = _share_of_one(np.concatenate(list(weights.values())))
        alone = {
            file: float(_share_of_one(rows).max())
            for file, rows in weights.items()
            if _share_of_one(rows).max() >= 1 / (FEWEST - 1)
        }
        assert shares.max() < 1 / (FEWEST - 1) - 1e-6, (name, alone, shares.max())


# Of these, n counts something else: repetitions, or wrong predictions of all images.
_OF_OTHER_THINGS: Final = ("robustness_curves", "mean rank", "classes")


def _estimates(value: Any, where: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        if {"value", "lower", "upper", "n"} <= set(value):
            yield where, value["n"]
        if value.get("block") in _OF_OTHER_THINGS or value.get("rests_on") == "repetitions":
            return
        for name, part in value.items():
            if name not in _OF_OTHER_THINGS:
                yield from _estimates(part, f"{where}.{value.get('title', '')}{name}")
    if isinstance(value, list):
        for part in value:
            yield from _estimates(part, where)


def test_no_number_of_any_analysis_rests_on_few_people(audited: Path) -> None:
    audit = json.loads((audited / "runs/few/audit.json").read_text())
    made = {a["kind"] for a in [*audit["subjects"][0]["analyses"], *audit["together"]]}
    assert made == set(ANALYSES.kinds())
    assert not [a["error"] for s in audit["subjects"] for a in s["analyses"] if a["error"]]
    found = list(_estimates([audit["subjects"], audit["together"]]))
    assert len(found) > 200
    assert [(where, n) for where, n in found if n < FEWEST] == []
