"""The preprocessing that belongs to a file of weights, and the names that libraries know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants
from torchvision import models

from bias_audit.backbones.loading import Backbone
from bias_audit.backbones.random_weights import with_random_weights
from bias_audit.backbones.sources import torchvision as torchvision_source
from bias_audit.backbones.sources._published import _digest_in
from bias_audit.backbones.sources.timm import timm_name
from bias_audit.errors import BackboneError
from bias_audit.files import sha256_of
from tests.backbones.test_sources import load


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a ResNet-18 under a name that says nothing."""
    place = tmp_path_factory.mktemp("weights") / "ours.safetensors"
    safetensors.torch.save_file(timm.create_model("resnet18").state_dict(), place)
    return place


def ours(file: Path, *, architecture: str = "resnet18", **params: Any) -> Backbone:
    return load("checkpoint", architecture=architecture, file=file, **params)


def moved(file: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.hardlink_to(file)
    return place


def test_what_nothing_says_is_assumed_and_said(file: Path) -> None:
    record = ours(file).record
    (sentence,) = record.assumed
    assert "the preprocessing of timm's resnet18.a1_in1k is assumed" in sentence
    assert "7 published weights" in sentence
    assert "interpolation" in sentence
    assert "preprocessing_of" in sentence


def test_what_the_config_gives_in_full_is_not_assumed(file: Path) -> None:
    given = {"size": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "nearest"}
    record = ours(file, preprocessing=given).record
    assert record.assumed == ()


@pytest.mark.parametrize(
    "params",
    [
        {"architecture": "resnet18.tv_in1k"},
        {"preprocessing_of": "resnet18.tv_in1k"},
        {"preprocessing_of": "hf-hub:timm/resnet18.tv_in1k"},
        {"preprocessing_of": "ResNet18_Weights.IMAGENET1K_V1"},
        {"library": "torchvision"},
        {"library": "torchvision", "preprocessing_of": "resnet18.tv_in1k"},
    ],
)
def test_the_config_names_the_weights_whose_preprocessing_it_is(
    file: Path, params: dict[str, Any]
) -> None:
    record = ours(file, **params).record
    assert record.preprocessing["interpolation"] == "bilinear"
    assert record.preprocessing["crop_fraction"] == 0.875
    assert bool(record.assumed) == (params == {"library": "torchvision"})


@pytest.mark.parametrize(
    "place",
    [
        "resnet18.tv_in1k.safetensors",
        "resnet18.tv_in1k/model.safetensors",
        "models--timm--resnet18.tv_in1k/snapshots/0/model.safetensors",
        "resnet18-f37072fd.pth",
    ],
)
def test_names_that_libraries_give_say_which_weights_they_are(
    file: Path, tmp_path: Path, place: str
) -> None:
    named = moved(file, tmp_path / place)
    record = ours(named).record
    assert record.preprocessing["interpolation"] == "bilinear"
    assert record.assumed == ()


def test_the_digest_says_which_weights_they_are(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = sha256_of(file)[:8]
    monkeypatch.setattr(
        "bias_audit.backbones.sources._published._digest_in",
        lambda url: digits if "f37072fd" in url else _digest_in(url),
    )
    record = ours(file).record
    assert "preprocessing of resnet18.tv_in1k, by the file's SHA-256" in record.reading


def test_the_name_of_a_folder_far_above_says_nothing(file: Path, tmp_path: Path) -> None:
    place = moved(file, tmp_path / "resnet18.tv_in1k" / "finetunes" / "ours" / "a.safetensors")
    assert ours(place).record.assumed


def test_inception_of_timm_with_the_preprocessing_of_torchvision(tmp_path: Path) -> None:
    place = tmp_path / "ours.safetensors"
    safetensors.torch.save_file(timm.create_model("inception_v3").state_dict(), place)
    weights = "Inception_V3_Weights.IMAGENET1K_V1"
    backbone = ours(place, architecture="inception_v3", preprocessing_of=weights)
    assert backbone.preprocessing.mean == (0.5, 0.5, 0.5)


def test_what_decides_the_computation_is_in_fingerprints(file: Path) -> None:
    plain, other = (
        load("checkpoint", architecture="resnet18.tv_in1k", file=file, model_kwargs=kwargs)
        for kwargs in ({}, {"output_stride": 8})
    )
    assert plain.record.weights_sha256 == other.record.weights_sha256
    assert plain.fingerprint != other.fingerprint
    drawn = [with_random_weights(each, 0, calibrated_on="x") for each in (plain, other)]
    assert drawn[0].fingerprint != drawn[1].fingerprint


def test_arguments_in_a_config_beside_the_file_are_heeded(tmp_path: Path) -> None:
    module = timm.create_model("test_resnet.r160_in1k", num_classes=7, act_layer="gelu")
    timm.models.save_for_hf(
        module,
        str(tmp_path),
        model_config={"label_names": list("abcdefg")},
        model_args={"act_layer": "gelu", "in_chans": 3},
    )
    theirs = load("timm", name=f"local-dir:{tmp_path}")
    mine = ours(tmp_path / "pytorch_model.bin", architecture="test_resnet")
    assert theirs.record.model_kwargs == mine.record.model_kwargs
    assert mine.record.model_kwargs["act_layer"] == "gelu"
    assert theirs.fingerprint == mine.fingerprint
    assert mine.head is not None
    assert "GELU" in {type(part).__name__ for part in mine.module.modules()}


def test_a_config_of_timm_beside_the_file_is_heeded(file: Path, tmp_path: Path) -> None:
    named = moved(file, tmp_path / "model.safetensors")
    own = {"input_size": [3, 96, 96], "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "tag": "ours"}
    own |= {"num_classes": 1000, "interpolation": "bilinear", "crop_pct": 0.5}
    config = {"architecture": "resnet18", "pretrained_cfg": own}
    (tmp_path / "config.json").write_text(json.dumps(config))
    record = ours(named).record
    assert (record.preprocessing["height"], record.preprocessing["mean"]) == (96, (0.1, 0.2, 0.3))
    assert record.assumed == ()
    for text in ("{", "[]", '{"architecture": "resnet18", "pretrained_cfg": {"mean": "x"}}'):
        (tmp_path / "config.json").write_text(text)
        assert ours(named).record.assumed


def test_inception_sees_what_torchvision_shows_it(tmp_path: Path) -> None:
    place = tmp_path / "ours.pth"
    torch.save(models.inception_v3(weights=None, init_weights=False).state_dict(), place)
    backbone = ours(place, architecture="inception_v3", library="torchvision")
    assert backbone.preprocessing.height == 299
    assert bool(backbone.module.transform_input)


LARGE = "regnet"  # cannot be built without memory, and differ among themselves in numbers alone
SEEN = [
    name
    for name in models.list_models(module=models)
    if not name.startswith(LARGE) or name.endswith("400mf")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEN)
def test_architectures_are_built_as_torchvision_builds_them_for_its_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_args, **_named: None)
    for weights in models.get_model_weights(name):
        monkeypatch.setattr(type(weights), "get_state_dict", lambda *_args, **_named: {})
        with torch.device("cpu" if name.startswith(LARGE) else "meta"):
            theirs = models.get_model(name, weights=weights)
            ours = torchvision_source.torchvision_architecture(name, weights, {}).module
        shapes = [{n: v.shape for n, v in m.state_dict().items()} for m in (theirs, ours)]
        # auxiliary classifiers, which only training runs, stay where a file has them
        assert shapes[0].items() <= shapes[1].items()
        assert all(n.startswith("aux") for n in shapes[1].keys() - shapes[0].keys())
        assert getattr(ours, "transform_input", None) == getattr(theirs, "transform_input", None)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("resnet18", "resnet18"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("vit_base_patch16_224_in21k", "vit_base_patch16_224.augreg_in21k"),
        ("tf_efficientnet_b0_ns", "tf_efficientnet_b0.ns_jft_in1k"),
        ("hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("hf_hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("hf-hub:owner/model@main", "hf-hub:owner/model@main"),
    ],
)
def test_old_and_mapped_names_are_known(name: str, known: str) -> None:
    found, said = timm_name(name)
    assert found == known
    assert bool(said) == (name != known)


def test_every_deprecated_name_of_timm_leads_to_a_model() -> None:
    for name in timm.models.get_deprecated_models():
        assert timm.is_model(timm_name(name)[0])


def test_a_folder_in_the_format_of_the_hub(tmp_path: Path) -> None:
    module = timm.create_model("test_resnet.r160_in1k", num_classes=7)
    timm.models.save_for_hf(module, str(tmp_path), model_config={"label_names": list("abcdefg")})
    backbone = load("timm", name=f"local-dir:{tmp_path}")
    own = backbone.module.state_dict()
    assert all(torch.equal(own[name], value) for name, value in module.state_dict().items())
    assert backbone.head is not None  # its labels stand in its config


def test_the_advice_without_network_leads_to_the_same_audit(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match="neither in the local cache nor"):
        load("timm", name="test_vit.r160_in1k", preprocessing={"size": 96})
    with pytest.raises(BackboneError) as caught:
        load("timm", name="resnet18.tv_in1k")
    advised = str(caught.value).partition("'architecture: ")[2].partition("'")[0]
    mine = ours(file, architecture=advised)
    theirs = load("timm", name="resnet18.tv_in1k", pretrained=False)
    assert mine.preprocessing == theirs.preprocessing


def test_a_broken_file_in_the_cache_is_not_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--timm--resnet18.a1_in1k" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError, match="Git LFS pointer"):
        load("timm", name="resnet18.a1_in1k")


@pytest.mark.parametrize(
    ("params", "height"),
    [
        ({"preprocessing": {"size": 96}}, 96),
        ({"model_kwargs": {"img_size": 64}}, 64),
        ({"model_kwargs": {"img_size": [64, 64]}}, 64),
        ({"model_kwargs": {"dynamic_img_size": True}, "preprocessing": {"size": 96}}, 96),
    ],
)
def test_transformers_of_a_fixed_size_take_another(params: dict[str, Any], height: int) -> None:
    backbone = load("timm", name="test_vit.r160_in1k", pretrained=False, **params)
    assert backbone.preprocessing.height == height
    plain = load("timm", name="test_vit.r160_in1k", pretrained=False)
    assert backbone.fingerprint != plain.fingerprint


def test_position_embeddings_are_resized_as_timm_does(tmp_path: Path) -> None:
    module = timm.create_model("test_vit.r160_in1k")
    place = tmp_path / "ours.safetensors"
    safetensors.torch.save_file(module.state_dict(), place)
    backbone = ours(place, architecture="test_vit.r160_in1k", preprocessing={"size": 96})
    theirs = timm.create_model(
        "test_vit.r160_in1k",
        pretrained=True,
        pretrained_cfg_overlay={"state_dict": module.state_dict()},
        img_size=96,
    )
    assert backbone.record.key_problems == ()
    own, expected = (m.get_parameter("pos_embed") for m in (backbone.module, theirs))
    assert torch.equal(own, expected)


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("timm", {"name": "resnet18", "model_kwargs": {"imgsize": 3}}, "does not take .*imgsize"),
        ("timm", {"name": "resnet18", "model_kwargs": {"in_chans": 1}}, "cannot be set here"),
        ("torchvision", {"name": "resnet18", "model_kwargs": {"x": 3}}, "does not take"),
        ("timm", {"name": "tiny_net.x"}, "unknown timm model"),
        ("timm", {"name": "resnet18", "model_kwargs": {"num_classes": 3}}, "key num_classes"),
        (
            "timm",
            {"name": "xcit_nano_12_p16_224.fb_in1k", "preprocessing": {"size": 230}},
            "does not",
        ),
    ],
)
def test_arguments_that_do_not_fit(kind: str, params: dict[str, Any], expected: str) -> None:
    with pytest.raises(BackboneError, match=expected):
        load(kind, pretrained=False, **params)


def test_an_architecture_without_published_weights_is_called_so() -> None:
    name = next(n for n in timm.list_models("test_*") if not timm.is_model_pretrained(n))
    with pytest.raises(BackboneError, match=rf"timm publishes no weights for {name}"):
        load("timm", name=name)
