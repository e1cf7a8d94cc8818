"""Vision models of transformers: tiny random ones, saved to a folder and read from there."""

from __future__ import annotations

import json
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bias_audit.activations.decode import resize
from bias_audit.activations.extract import forward_input
from bias_audit.backbones.loading import Backbone
from bias_audit.backbones.pooling import OutputShape, hidden, units
from bias_audit.backbones.sources import transformers as source
from bias_audit.backbones.sources._image_processors import VERIFIED, preprocessing_of
from bias_audit.config.catalog import BACKBONE_SOURCES
from bias_audit.errors import BackboneError
from tests.backbones.test_sources import load
from tests.backbones.zoo_of_transformers import TINY

transformers = pytest.importorskip("transformers")

DECLARED = {
    "size": 64,
    "resize": "stretch",
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bilinear",
}


def saved(kind: str, folder: Path, **settings: Any) -> Path:
    """A tiny model with weights drawn at random."""
    name, own = TINY[kind]
    model_class = getattr(transformers, name)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(1)
        model_class(model_class.config_class(**own, **settings)).save_pretrained(folder)
    return folder


def tiny(kind: str, folder: Path, **params: Any) -> Backbone:
    return load("transformers", name=str(folder), **{"preprocessing": DECLARED, **params})


def _keep(seen: dict[str, torch.Tensor], name: str, shape: OutputShape, *call: Any) -> None:
    seen[name] = units(hidden(call[-1]), shape)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TINY)
def test_every_type_gives_layers_and_activations(kind: str, tmp_path: Path) -> None:
    backbone = tiny(kind, saved(kind, tmp_path), layers="blocks")
    assert backbone.record.architecture == f"transformers {TINY[kind][0]}"
    assert not backbone.record.key_problems
    assert len(backbone.layers) >= 2
    seen: dict[str, torch.Tensor] = {}
    for name, shape in backbone.shapes.items():
        part = backbone.module.get_submodule(name)
        part.register_forward_hook(partial(_keep, seen, name, shape))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, again = backbone.module(images), backbone.module(images)
    assert torch.equal(first, again)
    for layer in backbone.record.layers:
        assert 8 <= layer.n_units <= 2048
        assert seen[layer.name].shape == (2, layer.n_units)
        assert torch.isfinite(seen[layer.name]).all()
    earliest = seen[backbone.layers[0]]
    assert not torch.equal(earliest[0], earliest[1])
    if "ForImageClassification" in TINY[kind][0] and kind != "swiftformer":
        assert backbone.head is not None  # SwiftFormer's and DeiT's teacher average two
    fingerprint = tiny(kind, tmp_path, layers="blocks").fingerprint
    assert fingerprint == backbone.fingerprint


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("vit", 1), ("deit", 2), ("dinov2_with_registers", 5), ("dinov3_vit", 5), ("siglip", 0)],
)
def test_tokens_before_the_patches_are_counted(kind: str, prefix: int, tmp_path: Path) -> None:
    shapes = tiny(kind, saved(kind, tmp_path)).shapes.values()
    assert {(s.prefix, s.height, s.width) for s in shapes} == {(prefix, 4, 4)}


def test_activations_are_what_the_library_returns(tmp_path: Path) -> None:
    backbone = tiny("vit", saved("vit", tmp_path), layers=["vit.layers.*"])
    model = transformers.ViTModel.from_pretrained(tmp_path).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images, output_hidden_states=True).hidden_states[2]
        seen = []
        hook = backbone.module.get_submodule("vit.layers.1")
        hook.register_forward_hook(lambda _m, _i, output: seen.append(output))
        backbone.module(images)
    output = seen[0] if isinstance(seen[0], torch.Tensor) else seen[0][0]
    assert torch.allclose(output, expected, atol=1e-6)


def test_a_folder_at_another_place_has_the_same_fingerprint(tmp_path: Path) -> None:
    one = tiny("resnet", saved("resnet", tmp_path / "one"))
    other = tiny("resnet", shutil.copytree(tmp_path / "one", tmp_path / "other"))
    assert one.fingerprint == other.fingerprint
    assert one.record.weights_sha256 == other.record.weights_sha256


def test_a_setting_without_a_weight_changes_the_fingerprint(tmp_path: Path) -> None:
    one = tiny("vit", saved("vit", tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    place = tmp_path / "other" / "config.json"
    config = json.loads(place.read_text(encoding="utf-8"))
    place.write_text(json.dumps({**config, "hidden_act": "relu"}), encoding="utf-8")
    other = tiny("vit", tmp_path / "other")
    assert one.record.weights_sha256 == other.record.weights_sha256
    assert one.fingerprint != other.fingerprint


def test_the_image_tower_of_a_pair_is_read_alone(tmp_path: Path) -> None:
    both = clip(tmp_path)
    backbone = tiny("clip", tmp_path)
    assert backbone.record.architecture == "transformers CLIPVisionModelWithProjection"
    assert not backbone.record.key_problems
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = both.get_image_features(images)
        expected = found if isinstance(found, torch.Tensor) else found.pooler_output
        assert torch.allclose(backbone.module(images), expected, atol=1e-6)


def clip(folder: Path) -> Any:
    """A pair of towers, saved."""
    vision = {**TINY["clip"][1]}
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
    text |= {"intermediate_size": 48, "projection_dim": 24, "eos_token_id": 98}
    config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=24)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(2)
        model = transformers.CLIPModel(config)
    model.save_pretrained(folder)
    return model.eval()


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    saved("vit", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"expected model\.safetensors or .*model\.bin"):
        tiny("vit", tmp_path)


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    saved("vit", tmp_path)
    place = tmp_path / "config.json"
    config = json.loads(place.read_text(encoding="utf-8"))
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    place.write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "mine.py").write_text("raise SystemExit('run')", encoding="utf-8")
    with pytest.raises(BackboneError, match="code of its own"):
        tiny("vit", tmp_path)


def test_missing_weights_of_audited_layers_are_refused(tmp_path: Path) -> None:
    saved("vit", tmp_path)
    place = tmp_path / "config.json"
    config = json.loads(place.read_text(encoding="utf-8"))
    place.write_text(json.dumps({**config, "num_hidden_layers": 5}), encoding="utf-8")
    with pytest.raises(BackboneError, match="weights that the audited layers need are missing"):
        tiny("vit", tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere", "expected a folder that save_pretrained wrote, or the name of a model"),
        ("nobody/nothing", "Without network: fetch it on another machine"),
    ],
)
def test_a_model_that_is_not_there(name: str, expected: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(BackboneError, match=expected):
            tiny("vit", Path(name))


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="expected a model of images, got BertConfig"):
        tiny("vit", tmp_path)


def test_another_file_with_the_same_weights_is_recognised(tmp_path: Path) -> None:
    backbone = tiny("vit", saved("vit", tmp_path))
    params = source.Params.model_validate({"name": str(tmp_path), "preprocessing": DECLARED})
    assert source.PLUGIN.refilled is not None
    built = source.PLUGIN.refilled(params, tmp_path / "model.safetensors")
    own, again = backbone.module.state_dict(), built.architecture.module.state_dict()
    assert all(torch.equal(own[name], again[name]) for name in own)


PROCESSORS: dict[str, dict[str, Any]] = {
    "Beit": {"size": 40, "crop_size": 40, "do_center_crop": True},
    "Bit": {"size": {"shortest_edge": 48}, "crop_size": 32},
    "Blip": {"size": 40},
    "CLIP": {"size": {"shortest_edge": 40}, "crop_size": 32},
    "ChineseCLIP": {"size": {"shortest_edge": 40}, "crop_size": 40},
    "ConvNext": {"size": {"shortest_edge": 56}, "crop_pct": 0.875},
    "DeiT": {"size": {"shortest_edge": 48}, "crop_size": 40},
    "EfficientNet": {"size": 40, "resample": 2},
    "Levit": {"size": {"shortest_edge": 56}, "crop_size": 56},
    "MobileNetV1": {"size": {"shortest_edge": 40}, "crop_size": 32},
    "MobileNetV2": {"size": {"shortest_edge": 40}, "crop_size": 32},
    "MobileViT": {"size": {"shortest_edge": 40}, "crop_size": 32},
    "PoolFormer": {"size": {"shortest_edge": 36}, "crop_size": 36},
    "Pvt": {"size": 40},
    "Segformer": {"size": 40},
    "Siglip": {"size": {"height": 40, "width": 40}},
    "ViT": {"size": 40, "image_mean": [0.4, 0.5, 0.6]},
}


def smooth(width: int, height: int) -> Image.Image:
    """Noise whose details are larger than what an interpolation changes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def test_every_verified_processor_is_verified_here() -> None:
    assert {f"{name}ImageProcessor" for name in PROCESSORS} == VERIFIED


@pytest.mark.parametrize("size", [(96, 96), (150, 112)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_prepared_as_the_processor_does(name: str, size: tuple[int, int]) -> None:
    processor = getattr(transformers, f"{name}ImageProcessorPil")(**PROCESSORS[name])
    none = source.Params(name="x").preprocessing
    found, _ = preprocessing_of(processor, none, where="x", usual_size=None)
    image = smooth(*size)
    ours = forward_input(np.array(resize(image, found))[None], found, torch.device("cpu"))
    theirs = processor(image, return_tensors="pt")["pixel_values"]
    assert theirs.shape == ours.shape
    levels = (ours - theirs).abs() * torch.tensor(found.std)[:, None, None] * 255
    assert levels.max() <= 1.01


def test_what_a_processor_does_beyond_ours_is_refused() -> None:
    none = source.Params(name="x").preprocessing
    padded = transformers.ViTImageProcessorPil(size={"height": 40, "width": 40}, do_pad=True)
    with pytest.raises(BackboneError, match="cannot be repeated exactly: pad"):
        preprocessing_of(padded, none, where="x", usual_size=None)
    lanczos = transformers.ViTImageProcessorPil(size={"height": 40, "width": 40}, resample=1)
    with pytest.raises(BackboneError, match="interpolation by lanczos"):
        preprocessing_of(lanczos, none, where="x", usual_size=None)
    free = transformers.ViTImageProcessorPil(size={"shortest_edge": 40})
    with pytest.raises(BackboneError, match="no square centre of one size"):
        preprocessing_of(free, none, where="x", usual_size=None)
    other = transformers.DPTImageProcessorPil()
    with pytest.raises(BackboneError, match="DPTImageProcessor was not verified; declare all"):
        preprocessing_of(other, none, where="x", usual_size=None)
    with pytest.raises(BackboneError, match=r"found no preprocessor_config\.json"):
        preprocessing_of(None, none, where="x", usual_size=None)


def test_the_processor_in_a_folder_is_used(tmp_path: Path) -> None:
    saved("mobilevit", tmp_path)
    transformers.MobileViTImageProcessor(
        size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}
    ).save_pretrained(tmp_path)
    backbone = load("transformers", name=str(tmp_path))
    found = backbone.record.preprocessing
    assert (found["height"], found["resize"], found["crop_fraction"]) == (64, "crop", 0.8)
    assert found["channels"] == "BGR"
    assert found["mean"] == (0.0, 0.0, 0.0)
    whole = load("transformers", name=str(tmp_path), preprocessing={"resize": "stretch"})
    assert whole.record.preprocessing["resize"] == "stretch"


def test_decisions_rest_on_weights_that_were_filled_alone(tmp_path: Path) -> None:
    """A layer behind the audited ones keeps its first, random weights where a file lacks them."""
    file = saved("vit", tmp_path) / "model.safetensors"
    assert tiny("vit", tmp_path, layers=["vit.layers.0"]).head is not None
    tensors = {k: v for k, v in load_file(file).items() if not k.startswith("vit.layernorm")}
    save_file(tensors, file, metadata={"format": "pt"})
    backbone = tiny("vit", tmp_path, layers=["vit.layers.0"])
    assert backbone.head is None
    assert "do not include all that its class scores need (vit.layernorm" in backbone.without_head
    save_file({"a": torch.ones(2), "b": -torch.ones(2)}, tmp_path / "texts.st")
    texts = {"embeddings": tmp_path / "texts.st"}
    with pytest.raises(BackboneError, match="lacks weights that the embedding of images needs"):
        tiny("vit", tmp_path, layers=["vit.layers.0"], zero_shot=texts)


def test_the_image_tower_of_a_larger_model_is_found_in_its_weights(tmp_path: Path) -> None:
    vision = transformers.ViTConfig(**TINY["vit"][1])
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    both = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, transformers.BertConfig(**text, intermediate_size=32, vocab_size=99)
    )
    with torch.random.fork_rng():
        model = transformers.VisionTextDualEncoderModel(both).eval()
    model.save_pretrained(tmp_path)
    backbone = tiny("vit", tmp_path)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.vision_model(images).pooler_output
        assert torch.allclose(backbone.module(images), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("model.safetensors", {}, "got a file; name its folder"),
        ("", {"revision": "main"}, "a folder has no revision"),
        ("~nobody/model", {}, "expected a folder that save_pretrained wrote"),
    ],
)
def test_places_that_are_no_folder_of_a_model(
    name: str, params: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    saved("vit", tmp_path)
    place = Path(name) if name.startswith("~") else tmp_path / name
    with pytest.raises(BackboneError, match=expected):
        tiny("vit", place, **params)
    loader = BACKBONE_SOURCES.load("transformers")
    loader.files(loader.params_type.model_validate({"name": str(place)}))  # no error of the hub
