"""Classes by texts: scores are cosines, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from bias_audit.errors import BackboneError
from tests.backbones.test_sources import load
from tests.backbones.test_transformers import DECLARED, clip

transformers = pytest.importorskip("transformers")
VECTORS = torch.randn(3, 24, generator=torch.Generator().manual_seed(5))
NAMES = ("smiling", "serious", "sad")


def embeddings(folder: Path, *, kind: str = "safetensors") -> dict[str, Any]:
    path = folder / f"texts.{kind}"
    if kind == "npy":
        np.save(path, VECTORS.numpy())
        return {"embeddings": path, "classes": NAMES}
    save_file({name: vector.clone() for name, vector in zip(NAMES, VECTORS, strict=True)}, path)
    return {"embeddings": path, "classes": NAMES}


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_scores_are_scaled_cosines(kind: str, tmp_path: Path) -> None:
    clip(tmp_path)
    plain = load("transformers", name=str(tmp_path), preprocessing=DECLARED)
    settings = {**embeddings(tmp_path, kind=kind), "scale": 10}
    backbone = load("transformers", name=str(tmp_path), preprocessing=DECLARED, zero_shot=settings)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embedded, scores = plain.module(images), backbone.module(images)
    expected = torch.cosine_similarity(embedded[:, None], VECTORS[None], dim=2) * 10
    assert torch.allclose(scores, expected, atol=1e-4)
    assert backbone.head is not None
    assert (backbone.head.name, backbone.head.weight.shape) == ("zero_shot", (3, 24))
    assert plain.head is None
    assert plain.layers == backbone.layers
    assert plain.fingerprint != backbone.fingerprint
    assert "zero-shot classes smiling, serious, sad" in backbone.record.reading[-1]


def test_prompts_need_a_text_tower(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="this source has no text tower"):
        load("bundled", zero_shot={"prompts": {"a": ["one"], "b": ["two"]}})
    clip(tmp_path)
    prompts = {"prompts": {"a": ["one"], "b": ["two"]}}
    with pytest.raises(BackboneError, match="its tokenizer has"):
        load("transformers", name=str(tmp_path), preprocessing=DECLARED, zero_shot=prompts)


def test_texts_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="1000 units of an image's, got 24"):
        load("bundled", zero_shot=embeddings(tmp_path))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(("smiling", "glad"), "no tensor for glad"), (("smiling",), "two classes or more, got 1")],
)
def test_classes_that_do_not_fit(classes: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=expected):
        load("bundled", zero_shot={**embeddings(tmp_path), "classes": classes})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    settings = {"embeddings": tmp_path / "none.npy", "classes": NAMES}
    with pytest.raises(BackboneError, match="not found"):
        load("bundled", zero_shot=settings)
    np.save(tmp_path / "none.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BackboneError, match=r"neither \.npy nor a safetensors file"):
        load("bundled", zero_shot=settings)
    np.save(tmp_path / "none.npy", VECTORS[:2].numpy())
    with pytest.raises(BackboneError, match="one row for each of the 3 names"):
        load("bundled", zero_shot=settings)


def test_prompts_or_embeddings() -> None:
    with pytest.raises(ValidationError, match="either prompts or embeddings"):
        load("bundled", zero_shot={})


@pytest.mark.parametrize(
    ("other", "expected"),
    [(3.0, "a text of its own for every class"), (0.0, "that are not all zero, got others for b")],
)
def test_a_class_that_no_image_could_be_nearest_to(
    other: float, expected: str, tmp_path: Path
) -> None:
    vector = torch.arange(1.0, 1001.0)
    save_file({"a": vector, "b": other * vector}, tmp_path / "texts.safetensors")
    with pytest.raises(BackboneError, match=expected):
        load("bundled", zero_shot={"embeddings": tmp_path / "texts.safetensors"})
