"""Weights as trainers, hubs and failed downloads leave them; every right answer is known."""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import json
import os
import pathlib
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from bias_audit.backbones.loading import Backbone
from bias_audit.backbones.sources.checkpoint import PLUGIN, Params
from bias_audit.errors import BackboneError
from tests.backbones.test_sources import checkpoint, load

State = dict[str, Tensor]
NAME = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def state() -> State:
    """Of a tiny network of timm."""
    return dict(timm.create_model(NAME, pretrained=False).state_dict())


def read(file: Path, **params: Any) -> Backbone:
    return load("checkpoint", architecture=NAME, file=file, **params)


def saved(folder: Path, value: Any, **params: Any) -> Backbone:
    """Read from a file that holds a value."""
    torch.save(value, folder / "a.pth")
    return read(folder / "a.pth", **params)


def holds(backbone: Backbone, state: State) -> bool:
    own = backbone.module.state_dict()
    return all(torch.equal(own[name], value) for name, value in state.items())


def other(state: State) -> State:
    """The same tensors with other numbers."""
    return {
        name: value + 0.5 if value.is_floating_point() else value for name, value in state.items()
    }


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


PREFIXES = """
module. _orig_mod. backbone. visual.trunk. timm_model. module.encoder_q. 0. model.module.
_orig_mod.module.model. model.module.student_of_somebody.
"""
NESTS: list[tuple[Any, ...]] = [(), ("state_dict",), ("net",), ("model", "state_dict"), ("a", 0)]


@pytest.mark.parametrize("prefix", ["", *PREFIXES.split()])
@pytest.mark.parametrize("nest", NESTS)
def test_nests_and_prefixes_are_seen_through(
    tmp_path: Path, state: State, prefix: str, nest: tuple[Any, ...]
) -> None:
    value: Any = prefixed(prefix, state)
    for key in reversed(nest):
        value = {key: value, "epoch": 3} if isinstance(key, str) else [value]
    backbone = saved(tmp_path, value)
    assert holds(backbone, state)
    assert backbone.record.key_problems == ()
    assert backbone.record.assumed == ()
    reading = " ".join(backbone.record.reading)
    assert not nest or f"tensors below key '{'.'.join(map(str, nest))}'" in reading
    # timm takes away by itself what training wraps around a model
    assert not prefix or any(
        said in reading
        for said in (f"prefix '{prefix}' removed", "by the library", "wrappers of PyTorch")
    )


@pytest.mark.parametrize(
    ("wanted", "besides"),
    [
        ("state_dict_ema", "state_dict"),
        ("model_ema", "model"),
        ("teacher", "student"),
        ("encoder_q", "encoder_k"),
        ("base_encoder", "momentum_encoder"),
    ],
)
def test_of_several_sets_the_one_that_training_evaluates_is_used_and_said(
    tmp_path: Path, state: State, wanted: str, besides: str
) -> None:
    backbone = saved(tmp_path, {besides: state, wanted: other(state)})
    assert holds(backbone, other(state))
    (sentence,) = backbone.record.assumed
    assert f"key '{wanted}' was used, not key '{besides}'" in sentence
    named = read(tmp_path / "a.pth", key=besides)
    assert holds(named, state)
    assert named.record.assumed == ()


def test_sets_that_only_their_prefix_tells_apart(tmp_path: Path, state: State) -> None:
    sets = prefixed("model.", state) | prefixed("ema_model.", other(state))
    chosen = saved(tmp_path, {"state_dict": sets, "n": 1}, prefix="ema_model.")
    assert holds(chosen, other(state))
    assert chosen.record.assumed == ()
    assert len(saved(tmp_path, {"state_dict": sets, "n": 1}).record.assumed) == 1


def test_copies_are_no_choice(tmp_path: Path, state: State) -> None:
    copy = {name: value.clone() for name, value in state.items()}
    assert saved(tmp_path, {"model": state, "model_ema": copy}).record.assumed == ()


def test_averages_are_whole_without_counters_not_without_running_statistics(
    tmp_path: Path, state: State
) -> None:
    averaged = {n: value for n, value in other(state).items() if "num_batches" not in n}
    backbone = saved(tmp_path, {"model": state, "ema": averaged})
    assert holds(backbone, averaged)
    assert backbone.record.assumed
    learnt = {n: value for n, value in averaged.items() if "running" not in n}
    backbone = saved(tmp_path, {"model": state, "ema": learnt})
    assert holds(backbone, state)
    (sentence,) = backbone.record.assumed
    assert "key 'model' was used, not key 'ema'" in sentence


def wrapped(wrapper: str, state: State) -> State:
    return {name.replace("layer2.", f"layer2.{wrapper}."): v for name, v in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "compiled": lambda state: wrapped("_orig_mod", state),
    "sharded": lambda state: wrapped("_fsdp_wrapped_module", state),
    "recomputed": lambda state: wrapped("_checkpoint_wrapped_module", state),
    "a small tower in a large file": lambda state: (
        {f"lm.{n}.weight": torch.zeros(1) for n in range(1500)} | prefixed("vision_tower.", state)
    ),
    "MMEngine, which exchanges the two when it saves": lambda state: {
        "state_dict": state,
        "ema_state_dict": {"steps": torch.ones(1), **other(state)},
    },
    "arrays": lambda state: {"model": {name: value.numpy() for name, value in state.items()}},
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_in_the_forms_of_many_trainers(
    tmp_path: Path, state: State, form: str
) -> None:
    assert holds(saved(tmp_path, FORMS[form](state)), state)


def test_keys_and_prefixes_as_people_write_them(tmp_path: Path, state: State) -> None:
    nest = {"model": {"state_dict": prefixed("encoder.", state)}}
    assert holds(saved(tmp_path, nest, key="model", prefix="encoder"), state)
    assert holds(saved(tmp_path, [state, 3], key=0), state)


def test_the_same_weights_elsewhere_are_found_again(tmp_path: Path, state: State) -> None:
    safetensors.torch.save_file(state, tmp_path / "flat.safetensors")
    params = Params(architecture=NAME, file=tmp_path / "a.pth", key="model_ema")
    assert PLUGIN.refilled is not None
    assert PLUGIN.refilled(params, tmp_path / "flat.safetensors").fit.missing == ()


def test_weights_of_a_deeper_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "a.pth")
    with pytest.raises(BackboneError, match=r"8 blocks more \(layer1\.2.*deeper"):
        checkpoint(tmp_path / "a.pth", "resnet18.tv_in1k")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_called_so(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "a.pth")
    (tmp_path / "a.pth").chmod(0)
    with pytest.raises(BackboneError, match="cannot be read: Permission denied"):
        read(tmp_path / "a.pth")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="a folder; name the file of weights in it"):
        read(tmp_path)


@pytest.mark.parametrize("bare", [Tensor.to_sparse, lambda tensor: tensor.to("meta")])
def test_tensors_without_numbers_in_place_are_missing(
    tmp_path: Path, state: State, bare: Callable[[Tensor], Tensor]
) -> None:
    without = {name: bare(value) for name, value in state.items() if value.ndim}
    assert holds(saved(tmp_path, {"a": state, "b": without}), state)
    with pytest.raises(BackboneError, match="no tensor in it"):
        saved(tmp_path, without)


def test_small_files_take_no_memory_or_time(tmp_path: Path) -> None:
    nest: list[Any] = [torch.zeros(1)]
    nest += [nest] * 30
    with pytest.raises(BackboneError, match="none of its 1 names fits"):
        saved(tmp_path, {"a": nest})
    with pytest.raises(BackboneError) as caught:
        saved(tmp_path, {"x" * 12_000: torch.zeros(1)})
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_one_tensor_holds_no_weights(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="no tensor in it"):
        saved(tmp_path, torch.zeros(3, 3))


def test_another_pickle_protocol_is_told_from_damage(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "a.pth", pickle_protocol=4)
    with pytest.raises(BackboneError, match="save it again without pickle_protocol"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"key": "ema"}, "expected tensors below key 'ema', got model"),
        ({"prefix": "encoder."}, r"names that begin with 'encoder\.'"),
    ],
)
def test_a_key_or_prefix_that_is_not_there(
    tmp_path: Path, state: State, params: dict[str, str], expected: str
) -> None:
    with pytest.raises(BackboneError, match=expected):
        saved(tmp_path, {"model": state}, **params)


@pytest.fixture
def _classes_of_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    for full in ("omegaconf.dictconfig.DictConfig", "easydict.EasyDict", "yacs.config.CfgNode"):
        module, _, name = full.rpartition(".")
        base: type = object if name == "DictConfig" else dict
        made = types.ModuleType(module)
        setattr(made, name, type(name, (base,), {"__module__": module}))
        monkeypatch.setitem(sys.modules, module, made)
        parent = types.ModuleType(module.partition(".")[0])
        if parent.__name__ != module:
            monkeypatch.setitem(sys.modules, parent.__name__, parent)


def _instance(full: str) -> Any:
    module, _, name = full.rpartition(".")
    made = getattr(sys.modules[module], name)()
    if isinstance(made, dict):
        made["lr"] = 1
    else:
        made.lr = 1
    return made


SETTINGS: dict[str, Callable[[], Any]] = {
    "namespace": lambda: argparse.Namespace(lr=1, out=pathlib.PurePosixPath("/x")),
    "numpy scalar": lambda: np.float64(1),
    "numpy array": lambda: np.arange(3),
    "path": lambda: pathlib.PosixPath("/x"),
    "windows path": lambda: pathlib.PureWindowsPath("C:/x"),
    "time": lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "queue": lambda: collections.deque([1.0]),
    "kind of number": lambda: np.float32,
    "loss": torch.nn.CrossEntropyLoss,
    "kind of optimiser": lambda: torch.optim.AdamW,
    "part of a call": lambda: functools.partial(torch.nn.LayerNorm, eps=1e-6),
    "state of a generator": lambda: np.random.RandomState(0).get_state(),
    "default dictionary": lambda: collections.defaultdict(list, {"loss": [1.0]}),
    "omegaconf": lambda: _instance("omegaconf.dictconfig.DictConfig"),
    "easydict": lambda: _instance("easydict.EasyDict"),
    "yacs": lambda: _instance("yacs.config.CfgNode"),
    "optimiser": lambda: {"state": {0: {"exp_avg": torch.zeros(3)}}, "groups": [{"lr": 0.1}]},
}


@pytest.mark.usefixtures("_classes_of_trainers")
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("legacy", [False, True])
def test_settings_beside_weights_are_passed_over(
    tmp_path: Path, state: State, name: str, *, legacy: bool
) -> None:
    if legacy and name in {"loss", "part of a call"}:
        pytest.skip("files before PyTorch 1.6 hold the source of modules, too")
    value = {"state_dict": state, "args": SETTINGS[name]()}
    torch.save(value, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert holds(read(tmp_path / "a.pth"), state)


def test_a_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"got also timm\..*\.ResNet"):
        saved(tmp_path, timm.create_model(NAME))


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors", ""])
def test_the_content_says_what_a_file_is(tmp_path: Path, state: State, suffix: str) -> None:
    one, two = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    safetensors.torch.save_file(state, one)
    _saved(state, two)
    assert read(one).record.weights_sha256 == read(two).record.weights_sha256
    assert "safetensors file" in read(one).record.reading


def _saved(value: Any, path: Path) -> None:
    """By torch.save, which goes by the ending of a path."""
    with path.open("wb") as stream:
        torch.save(value, stream)


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")


def _whole(path: Path) -> bytes:
    torch.save({"a": torch.zeros(1000)}, path)
    return path.read_bytes()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "LFS": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\nsize 1\n"),
        "Git LFS pointer.*git lfs pull",
    ),
    "annex": (lambda p: p.write_text("/annex/objects/SHA256E-s1--00.pth\n"), "git annex get"),
    "HTML": (lambda p: p.write_text("\n<!DOCTYPE html>\n<html>"), "web page.*download the file"),
    "HTML with BOM": (lambda p: p.write_text("\ufeff<html>"), "web page"),
    "XML": (lambda p: p.write_text('<?xml version="1.0"?><Error>'), "XML document.*error"),
    "empty": (lambda p: p.write_bytes(b""), "got an empty file"),
    "HDF5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5 file"),
    "ONNX": (lambda p: p.write_bytes(b"\x08\x07\x12\x07pytorch" + bytes(99)), "ONNX"),
    "npz": (lambda p: _zip(p, "a.npy"), "NumPy archive"),
    "Keras": (lambda p: _zip(p, "config.json", "model.weights.h5"), "Keras archive"),
    "TorchScript": (lambda p: _zip(p, "m/code/a.py", "m/data.pkl"), "TorchScript"),
    "other ZIP": (lambda p: _zip(p, "read.me"), "ZIP archive of other files"),
    "half": (lambda p: p.write_bytes(_whole(p)[:900]), "not copied whole"),
    "index": (lambda p: p.write_text(json.dumps({"weight_map": {}})), "weights in several files"),
    "JSON": (lambda p: p.write_text("{}"), "JSON"),
    "pickle": (lambda p: p.write_bytes(b"\x80\x04\x95" + bytes(20)), "a Python pickle"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08" + bytes(99)), "compressed file: unpack it"),
    "nothing": (lambda p: _saved({"epoch": 1}, p), "got no tensor in it"),
    "no tensor": (lambda p: safetensors.torch.save_file({}, p), "got no tensor in it"),
    "text": (lambda p: p.write_text("hello"), "got neither of them"),
    "two letters": (lambda p: p.write_text("PK"), "not copied whole"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_kind_is_called_what_it_is(
    tmp_path: Path, name: str, suffix: str
) -> None:
    file = tmp_path / f"a{suffix}"
    make, expected = WRONG[name]
    make(file)
    with pytest.raises(BackboneError, match=expected):
        read(file)


@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_floats_of_other_widths_are_read_as_what_they_are(
    tmp_path: Path, state: State, kind: torch.dtype, suffix: str
) -> None:
    stored = {n: v.to(kind) if v.is_floating_point() else v for n, v in state.items()}
    file = tmp_path / f"a{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(stored, file)
    backbone = read(file)
    assert holds(backbone, {n: v.float() if n in state else v for n, v in stored.items()})
    assert f"stored as {str(kind).removeprefix('torch.')}" in " ".join(backbone.record.reading)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32, torch.bool])
def test_integers_without_scales_are_refused(
    tmp_path: Path, state: State, kind: torch.dtype
) -> None:
    stored = {n: (v * 10).to(kind) if v.ndim == 4 else v for n, v in state.items()}
    with pytest.raises(BackboneError, match=r"not quantised, got .* without scales"):
        saved(tmp_path, stored)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_tensors_that_carry_their_scales_are_read(tmp_path: Path, state: State) -> None:
    stored = {
        n: torch.quantize_per_tensor(v, 0.01, 0, torch.qint8) if v.ndim == 4 else v
        for n, v in state.items()
    }
    expected = {n: v.dequantize() if v.is_quantized else v for n, v in stored.items()}
    assert holds(saved(tmp_path, stored), expected)
