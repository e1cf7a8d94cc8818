from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from skimage import data as photographs
from timm.data.imagenet_info import ImageNetInfo

from bias_audit.activations.decode import resize
from bias_audit.activations.extract import forward_input
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.config.catalog import BACKBONE_SOURCES
from bias_audit.errors import BackboneError

SMALL = {"size": 64}
"""Preprocessing of backbones whose answers do not matter: a pass takes a tenth of the time."""
KERAS_STRIDES = {f"layer{n}.0.conv{k}.stride": [3 - k, 3 - k] for n in (2, 3, 4) for k in (1, 2)}


def load(kind: str, *, pretrained: bool = True, **params: Any) -> Backbone:
    source = BACKBONE_SOURCES.load(kind)
    return load_backbone(
        kind, source, source.params_type.model_validate(params), pretrained=pretrained
    )


def top_class(backbone: Backbone, image: np.ndarray) -> int:
    pixels = np.stack([resize(Image.fromarray(image), backbone.preprocessing)])
    with torch.inference_mode():
        logits = backbone.module(
            forward_input(pixels, backbone.preprocessing, torch.device("cpu"))
        )
    return int(logits.argmax())


def photograph(name: str) -> np.ndarray:
    loaded: np.ndarray = getattr(photographs, name)()
    return loaded


def imagenet_names() -> list[str]:
    info: Any = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index) for index in range(1000)]


@pytest.mark.parametrize(
    ("name", "word"), [("coffee", "espresso"), ("rocket", "missile"), ("cat", "cat")]
)
def test_bundled_backbone_recognises_a_photograph(name: str, word: str) -> None:
    backbone = load("bundled", preprocessing={"resize": "crop"})
    image = photograph(name)
    assert word in imagenet_names()[top_class(backbone, image)]


def test_keras_resnet50_recognises_a_photograph(shared: Path) -> None:
    backbone = load(
        "checkpoint",
        architecture="resnet50",
        file=shared / "weights" / "resnet50_keras_caffe_v1.safetensors",
        overrides=KERAS_STRIDES,
    )
    assert backbone.record.overrides == KERAS_STRIDES
    assert "espresso" in imagenet_names()[top_class(backbone, photograph("coffee"))]
    assert [layer.name for layer in backbone.record.layers] == [
        "act1",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
    ]


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_features_without_classifier_are_enough(shared: Path, library: str) -> None:
    backbone = load(
        "checkpoint",
        architecture="vgg16",
        library=library,
        file=shared / "weights" / "vgg16_features.safetensors",
        preprocessing=SMALL,
    )
    assert backbone.record.key_problems
    assert all("missing in the weights" in line for line in backbone.record.key_problems)
    again = load(
        "checkpoint",
        architecture="vgg16",
        library=library,
        file=shared / "weights" / "vgg16_features.safetensors",
        preprocessing=SMALL,
    )
    assert again.fingerprint == backbone.fingerprint  # the untrained classifier plays no part


def test_a_layer_behind_missing_weights_is_refused(shared: Path) -> None:
    with pytest.raises(BackboneError, match=r"audited layers need are missing: classifier\.0"):
        load(
            "checkpoint",
            architecture="vgg16",
            library="torchvision",
            file=shared / "weights" / "vgg16_features.safetensors",
            preprocessing=SMALL,
            layers=["classifier.3"],
        )


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("resnet18", "another shape"), ("vit_tiny_patch16_224", "none of its")],
)
def test_checkpoint_of_another_architecture_lists_what_does_not_fit(
    shared: Path, architecture: str, expected: str
) -> None:
    with pytest.raises(BackboneError, match=expected):
        load(
            "checkpoint",
            architecture=architecture,
            file=shared / "weights" / "resnet50_keras_caffe_v1.safetensors",
        )


def test_checkpoint_formats_and_prefixes_give_the_same_backbone(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", pretrained=False, num_classes=10).state_dict()
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    nested = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(nested, tmp_path / "b.pth")
    one, other = (
        load(
            "checkpoint",
            architecture="resnet18",
            num_classes=10,
            file=tmp_path / name,
            preprocessing=SMALL,
        )
        for name in ("a.safetensors", "b.pth")
    )
    assert one.record.weights_sha256 == other.record.weights_sha256
    assert other.record.key_problems == ()


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.module.", "_orig_mod.module.model."])
def test_wrappers_around_a_model_are_seen_through(tmp_path: Path, prefix: str) -> None:
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, tmp_path / "a.pth")
    backbone = load(
        "checkpoint", architecture="resnet18", file=tmp_path / "a.pth", preprocessing=SMALL
    )
    assert backbone.record.key_problems == ()
    own = backbone.module.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())


def test_a_prefix_of_the_architecture_itself_is_kept(tmp_path: Path) -> None:
    from torchvision import models

    state = models.vit_b_32(weights=None, image_size=32).state_dict()  # names like "encoder.ln"
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "a.pth")
    backbone = load(
        "checkpoint",
        architecture="vit_b_32",
        library="torchvision",
        file=tmp_path / "a.pth",
        model_kwargs={"image_size": 32},
        preprocessing={"size": 32},
    )
    assert backbone.record.key_problems == ()


def test_a_classifier_of_other_classes_is_told_and_plays_no_part(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", pretrained=False, num_classes=7).state_dict()
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    one, again = (
        load(
            "checkpoint",
            architecture="resnet18",
            file=tmp_path / "a.safetensors",
            preprocessing=SMALL,
        )
        for _ in range(2)
    )
    assert one.record.key_problems == (
        "another shape: fc.weight: expected (1000, 512), got (7, 512)",
        "another shape: fc.bias: expected (1000,), got (7,)",
    )
    assert one.fingerprint == again.fingerprint
    with pytest.raises(BackboneError, match=r"another shape: fc\.weight: expected \(1000, 512\)"):
        load(
            "checkpoint",
            architecture="resnet18",
            file=tmp_path / "a.safetensors",
            preprocessing=SMALL,
            layers=["fc"],
        )


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_pickle_bomb_is_refused_and_does_not_go_off(tmp_path: Path) -> None:
    torch.save({"state_dict": Bomb(tmp_path / "exploded")}, tmp_path / "bomb.pth")
    with pytest.raises(
        BackboneError,
        match=r"got also builtins\.getattr, and to open those could run code; save the state_dict",
    ):
        load("checkpoint", architecture="resnet18", file=tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
@pytest.mark.parametrize("text", ["not weights at all, only words", "hello", "Name,1", "", "PK"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(
        BackboneError, match=r"expected a safetensors file or what torch\.save wrote"
    ):
        load("checkpoint", architecture="resnet18", file=tmp_path / name)


def test_wrong_sha256_is_refused(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", pretrained=False).state_dict()
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(BackboneError, match="expected sha256 00"):
        load("checkpoint", architecture="resnet18", file=tmp_path / "a.safetensors", sha256="00")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"layer2.0.conv9.stride": [2, 2]}, "did you mean"),
        ({"layer2.0.conv1.strides": [2, 2]}, "has no plain attribute"),
        ({"layer2.0.conv1.stride": "two"}, "expected tuple"),
        ({"layer2.0.conv1.weight": 0}, "has no plain attribute"),
    ],
)
def test_wrong_overrides_are_refused(overrides: dict[str, Any], expected: str) -> None:
    with pytest.raises(BackboneError, match=expected):
        load("timm", name="resnet18.a1_in1k", pretrained=False, overrides=overrides)


def test_timm_without_network_says_where_to_put_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BackboneError) as caught:
        load("timm", name="resnet18.a1_in1k")
    message = str(caught.value)
    assert str(tmp_path / "models--timm--resnet18.a1_in1k") in message
    assert "kind: checkpoint" in message


def test_torchvision_without_network_says_where_to_put_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from urllib.error import URLError

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
    with pytest.raises(BackboneError, match=r"put the file resnet18-\w+\.pth into"):
        load("torchvision", name="resnet18")


def test_torchvision_uses_a_file_that_was_put_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torchvision import models

    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    state = models.squeezenet1_1(weights=None).state_dict()
    torch.save(state, folder / url.rpartition("/")[2])
    backbone = load("torchvision", name="squeezenet1_1")
    own = backbone.module.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("timm", {"name": "resnet5O"}, "did you mean 'resnet50'"),
        ("timm", {"name": "resnet50.a9_in1k"}, "unknown tag of timm's resnet50.*did you mean"),
        ("torchvision", {"name": "resnet5O"}, "did you mean 'resnet50'"),
        ("torchvision", {"name": "resnet50", "weights": "IMAGENET1K_V9"}, "did you mean"),
        ("checkpoint", {"architecture": "resnet5O", "file": "x.pth"}, "did you mean"),
        ("checkpoint", {"architecture": "resnet18", "file": "absent.pth"}, "not found"),
    ],
)
def test_unknown_names_name_the_nearest(kind: str, params: dict[str, Any], expected: str) -> None:
    with pytest.raises(BackboneError, match=expected):
        load(kind, **params)
