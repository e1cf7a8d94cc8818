"""Built-in plugins pass the checks that authors of extensions have, and these see faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from bias_audit import testing
from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES, EXECUTORS, LAYOUTS
from tests.functional import tiny_zoo

FORMS: Final[dict[str, list[dict[str, Any]]]] = {
    "confusions": [{}, {"protocol": "krug_stober_2025", "published": {"epochs": 2}}],
    "attribution": [{"images": 40, "trust_images": 10, "methods": ["saliency"]}],
    "training": [
        {"classes": {"attribute": "age", "outputs": ["young", "middle", "old", *[None] * 4]}}
    ],
    "layout_comparison": [{"layouts": [{"kind": "pca"}, {"kind": "random"}], "repetitions": 3}],
}
"""Parameters of analyses that take long, or that have more than one form."""


@pytest.mark.parametrize("kind", ANALYSES.kinds())
def test_analyses(kind: str) -> None:
    testing.check_analysis(ANALYSES.load(kind), *FORMS.get(kind, [{}]))


@pytest.mark.parametrize(
    "kind",
    [
        # UMAP compiles for half a minute
        pytest.param(kind, marks=[pytest.mark.slow] if kind in {"umap", "published"} else [])
        for kind in LAYOUTS.kinds()
    ],
)
def test_layouts(kind: str) -> None:
    testing.check_layout(LAYOUTS.load(kind))


@pytest.mark.parametrize(
    "kind",
    [
        "local",
        # it starts a cluster
        pytest.param("ray", marks=pytest.mark.slow),
    ],
)
def test_executors(kind: str) -> None:
    testing.check_executor(EXECUTORS.load(kind))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What sources read: faces of noise under the names of data sets, and two small networks."""
    folder = tmp_path_factory.mktemp("sources")
    tiny_zoo.make(folder)
    for place in ("utkface", "fairface/train"):
        (folder / place).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["file,age,gender,race,service_test"]
    for index in range(4):
        noise = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        noise.save(folder / "utkface" / f"2{index}_{index % 2}_{index}_2017.jpg")
        noise.save(folder / "fairface" / "train" / f"{index}.jpg")
        rows.append(f"train/{index}.jpg,20-29,{('Male', 'Female')[index % 2]},White,True")
    (folder / "fairface" / "fairface_label_train.csv").write_text("\n".join(rows) + "\n")
    return folder


def _data(folder: Path) -> dict[str, dict[str, Any]]:
    manifest = dict(tiny_zoo.CONFIG["datasets"][0]["data"])
    del manifest["kind"]
    return {
        "parametric": {},
        "manifest": {**manifest, "file": str(folder / "labels.csv")},
        "utkface": {"root": str(folder / "utkface")},
        "fairface": {"root": str(folder / "fairface")},
    }


def _networks(folder: Path) -> dict[str, dict[str, Any]]:
    small = {"preprocessing": {"size": tiny_zoo.SIDE}}
    of_file = {**small, "architecture": tiny_zoo.ARCHITECTURE, "num_classes": 2}
    files = [str(folder / f"{label}.safetensors") for label in tiny_zoo.LABELS]
    return {
        "bundled": small,
        "checkpoint": {**of_file, "file": files[0]},
        "checkpoints": {**of_file, "files": files},
        "timm": {**small, "name": "test_resnet.r160_in1k"},
        "torchvision": {**small, "name": "resnet18"},
    }


@pytest.mark.parametrize("kind", DATA_SOURCES.kinds())
def test_data_sources(kind: str, folder: Path) -> None:
    testing.check_data_source(DATA_SOURCES.load(kind), _data(folder)[kind])


@pytest.mark.parametrize("kind", BACKBONE_SOURCES.kinds())
def test_backbone_sources(kind: str, folder: Path) -> None:
    is_fetched = kind in {"timm", "torchvision"}
    params = _networks(folder)[kind]
    testing.check_backbone_source(BACKBONE_SOURCES.load(kind), params, pretrained=not is_fetched)
