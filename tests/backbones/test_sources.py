"""Backbones of every source, and checkpoints of a training one by one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from pydantic import ValidationError
from skimage import data as photographs
from timm.data.imagenet_info import ImageNetInfo
from torchvision import models

from bias_audit.activations.decode import resize
from bias_audit.activations.extract import forward_input
from bias_audit.audit.plan import Plan, make_plan
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.backbones.sources.checkpoints import PLUGIN, Params
from bias_audit.config.catalog import BACKBONE_SOURCES
from bias_audit.config.schema import AuditConfig
from bias_audit.errors import BackboneError

SMALL = {"size": 64}
"""Preprocessing of backbones whose answers do not matter: a pass takes a tenth of the time."""
KERAS = "weights/resnet50_keras_caffe_v1.safetensors"
FEATURES = "weights/vgg16_features.safetensors"
KERAS_STRIDES = {f"layer{n}.0.conv{k}.stride": [3 - k, 3 - k] for n in (2, 3, 4) for k in (1, 2)}


def load(kind: str, *, pretrained: bool = True, **params: Any) -> Backbone:
    source = BACKBONE_SOURCES.load(kind)
    return load_backbone(
        kind, source, source.params_type.model_validate(params), pretrained=pretrained
    )


def checkpoint(file: Path, architecture: str = "resnet18", **params: Any) -> Backbone:
    """Of a local file, for images of 64 pixels."""
    settings = {"preprocessing": SMALL, **params}
    return load("checkpoint", architecture=architecture, file=file, **settings)


@pytest.mark.parametrize(
    ("kind", "module", "params", "extra"),
    [
        ("transformers", "transformers", {"name": "a/b"}, "transformers"),
        ("open_clip", "open_clip", {"name": "ViT-B-32"}, "open_clip"),
        ("exported", "onnx", {"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, "onnx"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    kind: str,
    module: str,
    params: dict[str, Any],
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "exported":
        (tmp_path / "net.onnx").touch()
        params = {**params, "file": tmp_path / "net.onnx"}
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackboneError, match=rf"pip install 'bias-audit\[{extra}\]'"):
        load(kind, **params)


def top_class(backbone: Backbone, image: np.ndarray) -> int:
    pixels = np.stack([resize(Image.fromarray(image), backbone.preprocessing)])
    batch = forward_input(pixels, backbone.preprocessing, torch.device("cpu"))
    with torch.inference_mode():
        return int(backbone.module(batch).argmax())


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
    assert word in imagenet_names()[top_class(backbone, photograph(name))]


def test_keras_resnet50_recognises_a_photograph(shared: Path) -> None:
    backbone = checkpoint(shared / KERAS, "resnet50", overrides=KERAS_STRIDES, preprocessing={})
    assert backbone.record.overrides == KERAS_STRIDES
    assert "espresso" in imagenet_names()[top_class(backbone, photograph("coffee"))]
    assert backbone.layers == ("act1", "layer1", "layer2", "layer3", "layer4")
    assert backbone.head is not None
    assert (backbone.head.name, backbone.head.weight.shape) == ("fc", (1000, 2048))
    weight = backbone.module.get_parameter("fc.weight")
    assert torch.equal(torch.from_numpy(backbone.head.weight), weight)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_features_without_classifier_are_enough(shared: Path, library: str) -> None:
    backbone, again = (checkpoint(shared / FEATURES, "vgg16", library=library) for _ in range(2))
    assert backbone.record.key_problems
    assert all("missing in the weights" in line for line in backbone.record.key_problems)
    assert again.fingerprint == backbone.fingerprint  # the untrained classifier plays no part
    assert backbone.head is None
    assert "do not include" in backbone.without_head


def test_a_layer_behind_missing_weights_is_refused(shared: Path) -> None:
    with pytest.raises(BackboneError, match=r"audited layers need are missing: classifier\.0"):
        checkpoint(shared / FEATURES, "vgg16", library="torchvision", layers=["classifier.3"])


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("resnet18", "another shape"), ("vit_tiny_patch16_224", "none of its")],
)
def test_checkpoint_of_another_architecture_lists_what_does_not_fit(
    shared: Path, architecture: str, expected: str
) -> None:
    with pytest.raises(BackboneError, match=expected):
        load("checkpoint", architecture=architecture, file=shared / KERAS)


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
def test_names_of_vision_transformers_are_read_as_torchvision_does(
    tmp_path: Path, *, older: bool
) -> None:
    state = models.vit_b_32(weights=None, image_size=32).state_dict()  # names like "encoder.ln"
    saved = {f"module.{name}": value for name, value in state.items()}
    if older:
        old = ("mlp.linear_1.", "mlp.linear_2.")
        renamed = [n.replace("mlp.0.", old[0]).replace("mlp.3.", old[1]) for n in state]
        saved = dict(zip(renamed, state.values(), strict=True))
    torch.save(saved, tmp_path / "a.pth")
    kwargs, size = {"image_size": 32}, {"size": 32}
    backbone = checkpoint(
        tmp_path / "a.pth",
        "vit_b_32",
        library="torchvision",
        model_kwargs=kwargs,
        preprocessing=size,
    )
    assert backbone.record.key_problems == ()
    own = backbone.module.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())


def test_a_classifier_of_other_classes_is_told_and_plays_no_part(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    state = timm.create_model("resnet18", pretrained=False, num_classes=7).state_dict()
    safetensors.torch.save_file(state, file)
    one, again = (checkpoint(file) for _ in range(2))
    assert one.record.key_problems == (
        "another shape: fc.weight: expected (1000, 512), got (7, 512)",
        "another shape: fc.bias: expected (1000,), got (7,)",
    )
    assert one.fingerprint == again.fingerprint
    with pytest.raises(BackboneError, match=r"another shape: fc\.weight: expected \(1000, 512\)"):
        checkpoint(file, layers=["fc"])
    with pytest.raises(BackboneError, match="expected sha256 00"):
        checkpoint(file, sha256="00")


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_pickle_bomb_is_refused_and_does_not_go_off(tmp_path: Path) -> None:
    torch.save({"state_dict": Bomb(tmp_path / "exploded")}, tmp_path / "bomb.pth")
    said = r"got also builtins\.getattr, and to open those could run code; save the state_dict"
    with pytest.raises(BackboneError, match=said):
        checkpoint(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


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


def _config(*backbones: dict[str, object]) -> Plan:
    return make_plan(
        AuditConfig.model_validate(
            {
                "name": "x",
                "data": {"kind": "parametric"},
                "backbones": list(backbones),
                "analyses": [{"kind": "training"}],
            }
        )
    )


def _entry(*files: str) -> dict[str, object]:
    return {"kind": "checkpoints", "architecture": "test_resnet", "files": list(files)}


def test_an_entry_becomes_one_backbone_for_each_file() -> None:
    plan = _config(
        {"kind": "bundled"}, _entry("b.safetensors", "a.safetensors"), _entry("c.pth", "d.pth")
    )
    assert [(planned.step, planned.n_steps) for planned in plan.backbones] == [
        (0, 1),
        (0, 2),
        (1, 2),
        (0, 2),
        (1, 2),
    ]
    files = [planned.params.files for planned in plan.backbones[1:]]  # type: ignore[attr-defined]
    assert [file.name for (file,) in files] == ["b.safetensors", "a.safetensors", "c.pth", "d.pth"]


def test_each_step_holds_its_own_weights_and_name(tmp_path: Path) -> None:
    files = []
    for number in range(2):
        module = timm.create_model("test_resnet", num_classes=3)
        files.append(tmp_path / f"epoch-{number}.safetensors")
        safetensors.torch.save_file(module.state_dict(), files[-1])
    params = Params(architecture="test_resnet", files=tuple(files), num_classes=3)
    one, two = (load_backbone("checkpoints", PLUGIN, own) for own in PLUGIN.steps(params))
    assert (one.record.name, two.record.name) == ("epoch-0", "epoch-1")
    assert one.layers == two.layers
    assert one.fingerprint != two.fingerprint
    assert one.head is not None
    named = Params(
        architecture="test_resnet", files=tuple(files), names=("start", "end"), num_classes=3
    )
    assert [PLUGIN.build(own, True).name for own in PLUGIN.steps(named)] == ["start", "end"]


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="names: expected 2, one for each file, got 1"):
        Params(architecture="x", files=(tmp_path, tmp_path), names=("x",))
    with pytest.raises(ValidationError, match="at least 2 items"):
        Params(architecture="test_resnet", files=(tmp_path / "a.pth",))
    lost = Params(architecture="test_resnet", files=(tmp_path / "a.pth", tmp_path / "b.pth"))
    with pytest.raises(BackboneError, match=r"a\.pth: not found"):
        load_backbone("checkpoints", PLUGIN, PLUGIN.steps(lost)[0])
