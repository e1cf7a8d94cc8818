"""Image towers of OpenCLIP: a tiny pair in a folder, as the library saves one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bias_audit.backbones.loading import Backbone
from bias_audit.errors import BackboneError
from tests.backbones.test_sources import load

open_clip = pytest.importorskip("open_clip")

MODEL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESSING = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic"}
PREPROCESSING |= {"resize_mode": "shortest"}


def saved(folder: Path, **settings: Any) -> Any:
    """The pair, whose weights and config are written."""
    folder.mkdir(exist_ok=True)
    config = {"model_cfg": MODEL, "preprocess_cfg": {**PREPROCESSING, **settings}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(3)
        model = open_clip.CLIP(**MODEL).eval()
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return model


def tower(folder: Path, **params: Any) -> Backbone:
    return load("open_clip", name=f"local-dir:{folder}", **params)


def test_the_image_tower_gives_what_the_pair_gives(tmp_path: Path) -> None:
    model = saved(tmp_path)
    backbone = tower(tmp_path, layers="blocks")
    assert backbone.layers == tuple(f"transformer.resblocks.{n}" for n in range(3))
    assert {layer.read for layer in backbone.record.layers} == {"the mean of 4 x 4 patches"}
    assert not backbone.record.key_problems
    found = backbone.record.preprocessing
    assert (found["height"], found["resize"], found["mean"]) == (64, "crop", (0.4, 0.5, 0.6))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(backbone.module(images), model.encode_image(images), atol=1e-6)


def test_prompts_become_classes(tmp_path: Path) -> None:
    model = saved(tmp_path)
    prompts = {"smiling": ["a smiling face", "a glad face"], "serious": ["a serious face"]}
    backbone = tower(tmp_path, zero_shot={"prompts": prompts})
    tokens = open_clip.get_tokenizer("ViT-B-32")(["a serious face"])
    with torch.inference_mode():
        expected = model.encode_text(tokens, normalize=True)[0] * 100
    assert backbone.head is not None
    assert torch.allclose(torch.from_numpy(backbone.head.weight[1]), expected, atol=1e-4)


def test_a_file_takes_the_place_of_the_weights(tmp_path: Path) -> None:
    saved(tmp_path)
    one = tower(tmp_path)
    (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "mine.safetensors")
    other = tower(tmp_path, file=tmp_path / "mine.safetensors")
    assert one.fingerprint == other.fingerprint
    with pytest.raises(BackboneError, match=r"no weights; expected open_clip_model\.safetensors"):
        tower(tmp_path)


def test_bars_beside_images_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, resize_mode="longest")
    with pytest.raises(BackboneError, match="with bars beside them"):
        tower(tmp_path)
    assert tower(tmp_path, preprocessing={"resize": "stretch"}).layers


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"unknown open_clip model 'ViT-B-33'"):
        load("open_clip", name="ViT-B-33", weights="openai")
    with pytest.raises(BackboneError, match=r"expected a folder with open_clip_config\.json"):
        tower(tmp_path)


def test_the_class_token_is_another_backbone(tmp_path: Path) -> None:
    saved(tmp_path)
    patches, first = tower(tmp_path), tower(tmp_path, tokens="class")
    assert patches.fingerprint != first.fingerprint
    assert {layer.read for layer in first.record.layers} == {"the class token"}
    assert {s.read for s in tower(tmp_path, tokens="all").shapes.values()} == {
        "the mean of 4 x 4 patches and 1 other token"
    }
