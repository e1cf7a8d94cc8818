"""Exported networks: the same numbers as the network, and no file that could run code."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from bias_audit.backbones.exported_programs import read_exported_program
from bias_audit.backbones.loading import Backbone
from bias_audit.config.catalog import BACKBONE_SOURCES
from bias_audit.errors import BackboneError
from tests.backbones.test_sources import load

DECLARED = {"resize": "stretch", "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}


def network(name: str, **settings: Any) -> nn.Module:
    sizes: dict[str, Any] = {"img_size": 64} if name.startswith("vit") else {}
    module: nn.Module = timm.create_model(name, num_classes=7, **sizes, **settings).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return module.requires_grad_(requires_grad=False)


def exported(module: nn.Module, path: Path, *, batch: int | None = None) -> Path:
    """With a fixed number of images, or any."""
    sizes = None if batch else {0: torch.export.Dim("batch", min=1, max=512)}
    images = torch.zeros(batch or 2, 3, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (images,), dynamic_shapes=(sizes,))
        if path.suffix == ".pt2":
            torch.export.save(program, path)
        else:
            pytest.importorskip("onnxscript")
            torch.onnx.export(program, f=path, external_data=False, verbose=False)
    return path


def read(path: Path, **params: Any) -> Backbone:
    return load("exported", file=path, **{"preprocessing": DECLARED, "num_classes": 7, **params})


def images(n: int) -> Tensor:
    return torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def outputs(module: nn.Module, layer: str, given: Tensor) -> tuple[Tensor, Tensor]:
    """Of a layer, and of all."""
    kept: list[Tensor] = []
    hook = module.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2]))
    with torch.inference_mode(), hook:
        answer = module(given)
    return kept[0], answer


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_graph_gives_what_the_network_gives(
    suffix: str, batch: int | None, tmp_path: Path
) -> None:
    module = network("resnet18")
    backbone = read(exported(module, tmp_path / f"net{suffix}", batch=batch))
    assert [layer.n_units for layer in backbone.record.layers] == [64, 128, 256, 512]
    given = images(6)  # no multiple of four
    expected, answer = outputs(module, "layer3.1", given)
    found, scores = outputs(backbone.module, backbone.layers[2], given)
    if suffix == ".onnx":  # the sum, before its activation function
        found = found.relu()
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(scores, answer, rtol=1e-4, atol=1e-4)
    assert backbone.head is not None
    assert backbone.head.weight.shape == (7, 512)


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_value_does_not_depend_on_those_beside_it(suffix: str, tmp_path: Path) -> None:
    path = exported(network("vit_tiny_patch16_224"), tmp_path / f"net{suffix}")
    backbone = read(path, layers="blocks")
    assert len(backbone.layers) >= 12
    alone = read(path, layers=[backbone.layers[5]])
    one, _ = outputs(backbone.module, backbone.layers[5], images(3))
    other, _ = outputs(alone.module, backbone.layers[5], images(3))
    assert torch.equal(one, other)
    assert backbone.shapes[backbone.layers[5]].prefix == 1
    read(path, layers=[backbone.layers[5]], tokens="class")


def test_modules_of_an_exported_program_keep_their_names(tmp_path: Path) -> None:
    path = exported(network("vit_tiny_patch16_224"), tmp_path / "net.pt2")
    assert read(path).layers == ("blocks.2", "blocks.5", "blocks.8", "blocks.11")
    assert read(path, layers=["blocks.*.attn"]).layers[1] == "blocks.1.attn"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"preprocessing": {}}, "expected mean and std below preprocessing"),
        ({"sha256": "0" * 64}, "expected sha256 0000"),
        ({"layers": ["layer9"]}, "unknown layer 'layer9'"),
    ],
)
def test_what_is_missing_is_said(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = exported(network("resnet18"), tmp_path / "net.pt2")
    with pytest.raises(BackboneError, match=expected):
        read(path, **change)


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    path = exported(network("resnet18"), tmp_path / "net.pt2")
    backbone = read(path, preprocessing={"mean": [0.5] * 3, "std": [0.5] * 3})
    (sentence,) = backbone.record.assumed
    assert "bilinear is assumed" in sentence


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _model(members: dict[str, bytes]) -> str:
    return next(name for name in members if name.endswith("models/model.json"))


def _target(members: dict[str, bytes]) -> None:
    graph = json.loads(members[_model(members)])
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"
    members[_model(members)] = json.dumps(graph).encode()


def _expression(members: dict[str, bytes]) -> None:
    text = members[_model(members)].decode()
    assert "Symbol('s" in text
    mark = text.index("Symbol('s")
    text = f"{text[:mark]}__import__('pathlib').Path('RUN').touch() or {text[mark:]}"
    members[_model(members)] = text.encode()


def _sample(members: dict[str, bytes]) -> None:
    name = next(name for name in members if "/sample_inputs/" in name)
    stream = io.BytesIO()
    torch.save({"x": Trap()}, stream)
    members[name] = stream.getvalue()


def _pickle(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("model_weights_config.json"))
    config = json.loads(members[name])
    next(iter(config["config"].values()))["use_pickle"] = True
    members[name] = json.dumps(config).encode()


def _compiled(members: dict[str, bytes]) -> None:
    root = _model(members).partition("/")[0]
    members[f"{root}/data/aotinductor/model/model.so"] = b"\x7fELF"


def _results(members: dict[str, bytes]) -> None:
    text = members[_model(members)].decode()
    members[_model(members)] = text.replace("builtins.dict", "collections.defaultdict").encode()


class Trap:
    """Leaves a file when it is opened as a pickle."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (_touch, ("RUN",))


def _touch(name: str) -> None:
    Path(name).touch()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_target, "the function torch.os.system"),
        (_expression, "the expression __import__"),
        (_sample, "objects in data/sample_inputs"),
        (_pickle, "a pickle for"),
        (_compiled, "data/aotinductor"),
        (_results, "results of type collections.defaultdict"),
    ],
)
def test_a_file_that_could_run_code_is_refused(
    change: Callable[[dict[str, bytes]], None],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = rewritten(exported(network("resnet18"), tmp_path / "net.pt2"), change)
    with pytest.raises(BackboneError, match=named):
        read_exported_program(path)
    assert not Path("RUN").exists()


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x00" * 500, b"no graph at all"])
def test_damaged_files_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match="no readable"):
        read(path)


def test_a_graph_of_something_else_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(4, 2), (torch.zeros(2, 4),))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(BackboneError, match="expected one input of images"):
        read(tmp_path / "net.pt2")


class Tiny(nn.Module):
    """Whose answer depends on what the test says."""

    def __init__(self, *, mode: str = "") -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 4)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 7)
        self.mode = mode
        if mode != "training":
            self.eval()

    def forward(self, given: Tensor) -> Tensor:
        scaled = given.to(self.fc.weight.dtype) / (255 if self.mode == "whole" else 1)
        pooled = self.norm(self.conv(scaled)).mean(dim=(2, 3))
        if self.mode == "chance":
            pooled = nn.functional.dropout(pooled, training=True)
        answer: Tensor = self.fc(pooled)
        return answer


def saved(module: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> Path:
    given = torch.zeros(2, 3, 64, 64, dtype=dtype)
    torch.export.save(torch.export.export(module, (given,)), path)
    return path


@pytest.mark.parametrize("mode", ["training", "chance"])
def test_a_graph_in_training_mode_is_refused(mode: str, tmp_path: Path) -> None:
    path = saved(Tiny(mode=mode), tmp_path / "net.pt2")
    with pytest.raises(BackboneError, match="depends on chance, or on the images beside it"):
        read(path, layers=["conv"])


def test_a_graph_in_half_precision_gives_class_scores(tmp_path: Path) -> None:
    backbone = read(saved(Tiny().half(), tmp_path / "net.pt2", torch.float16), layers=["conv"])
    assert backbone.head is not None


def test_a_graph_of_whole_numbers_gets_those_of_the_image(tmp_path: Path) -> None:
    module = Tiny(mode="whole")
    path = saved(module, tmp_path / "net.pt2", torch.uint8)
    with pytest.raises(BackboneError, match="takes whole numbers from 0 to 255"):
        read(path, layers=["conv"])
    plain = {"mean": [0, 0, 0], "std": [1, 1, 1]}
    backbone = read(path, layers=["conv"], preprocessing=plain)
    whole = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = backbone.module(whole / 255)
        assert torch.allclose(found, module(whole.to(torch.uint8)), atol=1e-5)


def test_another_size_than_that_of_the_graph_is_refused(tmp_path: Path) -> None:
    path = saved(Tiny(), tmp_path / "net.pt2")
    with pytest.raises(BackboneError, match=r"takes 64 x 64 pixels, got preprocessing\.size 96"):
        read(path, preprocessing={**DECLARED, "size": 96})


def test_tensors_beside_an_onnx_file_are_part_of_the_backbone(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = exported(network("resnet18"), tmp_path / "net.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.bin")
    one = read(path)
    beside = tmp_path / "net.bin"
    source = BACKBONE_SOURCES.load("exported")
    assert source.files(source.params_type.model_validate({"file": path})) == (path, beside)
    with beside.open("r+b") as stream:
        stream.seek(4000)
        stream.write(b"\0" * 64)
    assert read(path).fingerprint != one.fingerprint


def test_tokens_before_the_patches_can_be_declared(tmp_path: Path) -> None:
    path = exported(network("vit_tiny_patch16_224", reg_tokens=4), tmp_path / "net.pt2")
    assert read(path).record.layers[0].read == "the mean of 21 tokens"
    with pytest.raises(BackboneError, match="no known class token"):
        read(path, tokens="class")
    declared = read(path, prefix_tokens=5)
    assert declared.record.layers[0].read == "the mean of 4 x 4 patches"
    assert declared.fingerprint != read(path).fingerprint


def test_another_kind_of_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(Tiny().state_dict(), path)
    with pytest.raises(BackboneError, match=r"another kind .*audit its weights by kind: check"):
        read(path)
    path.with_name("net.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BackboneError, match="a Git LFS pointer"):
        read(path.with_name("net.onnx"))
