from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bias_audit.activations import extract as extraction
from bias_audit.activations.decode import decoded_batches
from bias_audit.activations.extract import extract, forward_input
from bias_audit.backbones.loading import Backbone
from bias_audit.backbones.pooling import Reduction
from bias_audit.config.schema import Activations
from bias_audit.data.faces import Faces
from bias_audit.errors import BackboneError, OutputError
from bias_audit.files import digest
from bias_audit.progress import Silent

SETTINGS = Activations(batch_size=8, device="cpu")


def run(
    backbone: Backbone, faces: Faces, cache: Path, settings: Activations = SETTINGS, **options: Any
) -> extraction.Extraction:
    options.setdefault("progress", Silent())
    return extract(backbone, faces, settings, cache=cache, **options)


class StopAfter:
    """A forward pass that is interrupted, as Ctrl-C does it."""

    def __init__(self, backbone: Backbone, n_batches: int) -> None:
        self.left = n_batches
        backbone.module.register_forward_pre_hook(self)

    def __call__(self, *_args: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def plain_pass(backbone: Backbone, faces: Faces) -> torch.Tensor:
    """What the module returns, batch by batch, without our recording."""
    references = faces.table.references
    batches = decoded_batches(references, backbone.preprocessing, batch_size=8, workers=1)
    with torch.inference_mode():
        inputs = (
            forward_input(p, backbone.preprocessing, torch.device("cpu")) for _, p in batches
        )
        return torch.cat([backbone.module(each) for each in inputs])


def test_units_are_the_spatial_means_of_a_plain_forward_pass(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    result = run(backbone, faces, tmp_path)
    outputs: list[torch.Tensor] = []
    module = backbone.module.get_submodule("blocks.5")
    with module.register_forward_hook(lambda _m, _i, output: outputs.append(output)):
        plain_pass(backbone, faces)
    expected = torch.cat(outputs).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(result.activations.units("blocks.5"), expected, atol=1e-5)
    assert result.forward_images == len(faces)
    assert result.activations.units("bn2").shape == (len(faces), 1280)


def test_moments_are_those_of_the_stored_activations(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    stored = run(backbone, faces, tmp_path).activations
    moments = stored.moments("bn2")
    cells = faces.table.cells
    for cell in np.unique(cells):
        rows = np.asarray(stored.units("bn2"), dtype=float)[cells == cell]
        np.testing.assert_allclose(moments.mean[cell], rows.mean(axis=0), atol=1e-6)
    assert moments.count.sum() == len(faces)


def test_relabelled_images_need_no_forward_pass(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    run(backbone, faces, tmp_path)
    turned = dataclasses.replace(faces.table, codes=faces.table.codes[::-1].copy())
    again = run(backbone, dataclasses.replace(faces, table=turned), tmp_path)
    assert again.forward_images == 0
    expected = np.bincount(turned.cells, minlength=turned.n_cells)
    assert again.activations.moments("bn2").count.tolist() == expected.tolist()


def test_a_second_run_makes_no_forward_pass_and_the_cache_is_for_its_owner_only(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    first = run(backbone, faces, tmp_path)
    folders = [path for path in (tmp_path / "activations").rglob("*") if path.is_dir()]
    assert folders and all(folder.stat().st_mode & 0o077 == 0 for folder in folders)
    StopAfter(backbone, 0)
    second = run(backbone, faces, tmp_path)
    assert second.forward_images == 0
    np.testing.assert_array_equal(first.activations.units("bn2"), second.activations.units("bn2"))


def test_only_new_layers_are_recorded(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    run(load_bundled(["blocks.1"]), faces, tmp_path)
    more = run(load_bundled(["blocks.1", "blocks.2"]), faces, tmp_path)
    assert more.activations.layers == ("blocks.1", "blocks.2")
    sizes = {path.name: path.stat().st_size for path in tmp_path.rglob("*.units.npy")}
    assert len(sizes) == 2


@pytest.mark.parametrize("seconds_between_checkpoints", [0.0, 1e9])
def test_an_interrupted_pass_goes_on_and_gives_the_same_numbers(
    load_bundled: Callable[[list[str]], Backbone],
    faces: Faces,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds_between_checkpoints: float,
) -> None:
    monkeypatch.setattr(extraction, "_CHECKPOINT_SECONDS", seconds_between_checkpoints)
    layers = ["blocks.1", "bn2"]
    whole = run(load_bundled(layers), faces, tmp_path / "whole").activations
    interrupted = load_bundled(layers)
    StopAfter(interrupted, 3)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, faces, tmp_path / "parts")
    resumed = run(load_bundled(layers), faces, tmp_path / "parts")
    assert resumed.resumed_at == (24 if seconds_between_checkpoints == 0 else 0)
    assert resumed.forward_images == len(faces) - resumed.resumed_at
    for layer in layers:
        np.testing.assert_array_equal(whole.units(layer), resumed.activations.units(layer))
        np.testing.assert_array_equal(
            whole.moments(layer).m2, resumed.activations.moments(layer).m2
        )


def test_positions_on_request(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    settings = Activations(batch_size=8, device="cpu", positions=8)
    stored = run(load_bundled(["blocks.1", "blocks.6"]), faces, tmp_path, settings).activations
    assert stored.positions("blocks.1").shape == (len(faces), 24, 64)
    assert stored.positions("blocks.6").shape == (len(faces), 320, 9)
    np.testing.assert_allclose(
        stored.positions("blocks.6").mean(axis=2), stored.units("blocks.6"), atol=1e-5
    )
    assert stored.moments("blocks.6", positions=True).mean.shape == (24, 320, 9)


def test_aligned_positions_are_those_of_a_pass_with_gradients(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    """Held against one image after the other, with autograd alone."""
    layers = ["blocks.1", "blocks.6"]
    plain, aligned = (
        run(
            load_bundled(layers),
            faces,
            tmp_path,
            Activations(batch_size=8, device="cpu", positions=8, aligned=shift),
        ).activations
        for shift in (False, True)
    )
    assert not np.array_equal(plain.positions("blocks.6"), aligned.positions("blocks.6"))
    backbone = load_bundled(layers)
    kept: dict[str, Tensor] = {}
    for layer in layers:

        def keep(_module: object, _inputs: object, output: Tensor, name: str = layer) -> None:
            output.retain_grad()
            kept[name] = output

        backbone.module.get_submodule(layer).register_forward_hook(keep)
    batches = decoded_batches(
        faces.table.references[:2], backbone.preprocessing, batch_size=1, workers=1
    )
    for image, (_, pixels) in enumerate(batches):
        batch = forward_input(pixels, backbone.preprocessing, torch.device("cpu"))
        scores = backbone.module(batch.requires_grad_())
        torch.autograd.backward(scores[0, scores.argmax()])
        for layer in layers:
            gradient = kept[layer].grad
            assert gradient is not None
            saliency = gradient[0].abs().mean(dim=0)
            down, right = np.unravel_index(int(saliency.argmax()), saliency.shape)
            maps = kept[layer][0].detach().numpy()
            height, width = maps.shape[1:]
            wide = np.pad(maps, ((0, 0), (height, height), (width, width)))
            top, left = int(down) - height // 2 + height, int(right) - width // 2 + width
            shifted = torch.from_numpy(wide[:, top : top + height, left : left + width])
            shape = backbone.shapes[layer]
            expected = Reduction(8).of(shifted[None], shape)[0]
            np.testing.assert_allclose(
                aligned.positions(layer)[image], expected, rtol=1e-3, atol=1e-4
            )


def test_a_backbone_without_class_scores_has_no_aligned_positions(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    backbone = dataclasses.replace(
        load_bundled(["bn2"]), head=None, without_head="it returns features"
    )
    settings = Activations(batch_size=8, device="cpu", positions=8, aligned=True)
    with pytest.raises(BackboneError, match="it returns features; set aligned: false"):
        run(backbone, faces, tmp_path, settings)


def test_a_full_disk_is_told_and_what_was_stored_is_kept(
    load_bundled: Callable[[list[str]], Backbone],
    faces: Faces,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extraction, "_CHECKPOINT_SECONDS", 0.0)
    real, calls = os.fsync, [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    backbone = load_bundled(["bn2"])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        run(backbone, faces, tmp_path)
    monkeypatch.setattr(os, "fsync", real)
    resumed = run(load_bundled(["bn2"]), faces, tmp_path)
    assert 0 < resumed.resumed_at < len(faces)


def test_too_little_space_is_told_before_the_pass(
    backbone: Backbone, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "free_bytes", lambda _folder: 1000)
    StopAfter(backbone, 0)
    with pytest.raises(OutputError, match=r"output\.cache"):
        run(backbone, faces, tmp_path)


def test_activations_that_are_not_finite_are_refused(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    with torch.no_grad():
        backbone.module.get_parameter("blocks.5.0.conv_pw.weight").fill_(float("inf"))
    with pytest.raises(BackboneError, match=r"'blocks\.5' gave values that are not finite"):
        run(backbone, faces, tmp_path)


def test_a_device_that_is_not_there_is_refused(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match=r"activations\.device"):
        run(backbone, faces, tmp_path, Activations(device="cuda:9"))


@pytest.mark.parametrize(
    "damage",
    [
        "cut",
        "deleted",
        '{"a": 1}',
        "[]",
        "[" * 5000,
        '{"n_images": 34, "done": 34}',
        '{"n_images": 34, "done": 34, "layers": [1]}',
        '{"n_images": 34, "done": "x", "layers": []}',
        '{"n_images": 34, "done": -8, "layers": []}',
        '{"n_images": 34, "done": 34, "layers": '
        '[{"layer": "bn2", "n_units": 1280, "grid": null}]}',
    ],
)
def test_damaged_activations_or_states_are_recorded_again(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path, damage: str
) -> None:
    whole = np.array(run(load_bundled(["bn2"]), faces, tmp_path).activations.units("bn2"))
    (path,) = tmp_path.rglob("*.units.npy")
    (state,) = tmp_path.rglob("state.json")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "deleted":
        path.unlink()
    else:
        state.write_text(damage)
    again = run(load_bundled(["bn2"]), faces, tmp_path)
    assert again.forward_images == len(faces)
    np.testing.assert_array_equal(again.activations.units("bn2"), whole)


def is_of(layer: str, path: Path) -> bool:
    return path.name.startswith(digest(layer)[:12])


class Noting(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.parametrize("layers", [["bn2"], ["blocks.1", "bn2"]])
def test_flipped_bytes_are_noticed_and_recorded_again(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path, layers: list[str]
) -> None:
    first = run(load_bundled(layers), faces, tmp_path).activations
    whole, moments = np.array(first.units("bn2")), first.moments("bn2")
    path = next(path for path in tmp_path.rglob("*.units.npy") if is_of("bn2", path))
    raw = bytearray(path.read_bytes())
    raw[5000] ^= 0x40
    path.write_bytes(raw)
    noting = Noting()
    again = run(load_bundled(layers), faces, tmp_path, progress=noting)
    assert again.forward_images == len(faces)
    assert noting.said == ["stored activations of layer bn2 were damaged; they are recorded again"]
    np.testing.assert_array_equal(again.activations.units("bn2"), whole)
    np.testing.assert_array_equal(again.activations.moments("bn2").mean, moments.mean)
    assert run(load_bundled(layers), faces, tmp_path).forward_images == 0


def test_an_attribute_that_gains_a_level_has_moments_of_its_own(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    run(load_bundled(["bn2"]), faces, tmp_path)
    first, *rest = faces.table.attributes
    longer = dataclasses.replace(first, levels=(*first.levels, "one more"))
    table = dataclasses.replace(faces.table, attributes=(longer, *rest))
    again = run(load_bundled(["bn2"]), dataclasses.replace(faces, table=table), tmp_path)
    assert again.forward_images == 0
    assert table.cells.tolist() == faces.table.cells.tolist()
    assert len(again.activations.moments("bn2").count) == table.n_cells


def test_grids_of_several_sizes_are_kept_side_by_side(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    by_side = [Activations(batch_size=8, device="cpu", positions=side) for side in (4, 2, 4, 2)]
    runs = [run(load_bundled(["blocks.1"]), faces, tmp_path, settings) for settings in by_side]
    assert [each.forward_images for each in runs] == [34, 34, 0, 0]
    assert [each.activations.positions("blocks.1").shape[2] for each in runs] == [16, 4, 16, 4]


def test_a_layer_that_does_not_give_a_row_per_image_is_refused(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    backbone.module.get_submodule("bn2").register_forward_hook(
        lambda _module, _inputs, output: torch.cat([output, output])
    )
    with pytest.raises(BackboneError, match=r"'bn2' returns 16 rows for 8 images"):
        run(backbone, faces, tmp_path)


def test_the_last_batch_is_computed_as_the_others_are(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    sizes: list[int] = []
    backbone = load_bundled(["bn2"])
    backbone.module.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    units = run(backbone, faces, tmp_path).activations.units("bn2")
    assert sizes == [8] * 5
    assert units.shape == (34, 1280)


def test_head_inputs_give_the_scores_that_the_backbone_gives(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    check_scores(load_bundled(["blocks.1"]), faces, tmp_path)


def test_head_inputs_of_the_keras_resnet50(shared: Path, faces: Faces, tmp_path: Path) -> None:
    from tests.backbones.test_sources import KERAS_STRIDES, load

    few = dataclasses.replace(
        faces,
        table=dataclasses.replace(
            faces.table, references=faces.table.references[:8], codes=faces.table.codes[:8]
        ),
        clusters=faces.clusters[:8],
        sha256=faces.sha256[:8],
    )
    backbone = load(
        "checkpoint",
        architecture="resnet50",
        file=shared / "weights" / "resnet50_keras_caffe_v1.safetensors",
        overrides=KERAS_STRIDES,
    )
    check_scores(backbone, few, tmp_path)


def check_scores(backbone: Backbone, faces: Faces, cache: Path) -> None:
    head = backbone.head
    assert head is not None
    stored = run(backbone, faces, cache, with_head=True).activations
    assert stored.head_inputs is not None
    assert head.name not in stored.layers
    assert stored.head_inputs.shape == (len(faces), head.n_units)
    logits = stored.head_inputs @ head.weight.T + head.bias
    own = plain_pass(backbone, faces).numpy()
    np.testing.assert_allclose(logits, own, rtol=1e-4, atol=1e-4 * float(np.abs(own).max()))


def test_head_inputs_are_recorded_on_request_and_kept(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    assert run(load_bundled(["bn2"]), faces, tmp_path).activations.head_inputs is None
    for expected in (len(faces), 0):
        again = run(load_bundled(["bn2"]), faces, tmp_path, with_head=True)
        assert again.forward_images == expected
        assert again.activations.head_inputs is not None
    (path,) = tmp_path.rglob("*.inputs.npy")
    raw = bytearray(path.read_bytes())
    raw[5000] ^= 0x40
    path.write_bytes(raw)
    noting = Noting()
    run(load_bundled(["bn2"]), faces, tmp_path, progress=noting, with_head=True)
    assert len(noting.said) == 1


def test_an_output_of_the_head_may_be_audited_beside_its_input(
    load_bundled: Callable[[list[str]], Backbone], faces: Faces, tmp_path: Path
) -> None:
    backbone = load_bundled(["classifier"])
    stored = run(backbone, faces, tmp_path, with_head=True).activations
    assert backbone.head is not None and stored.head_inputs is not None
    logits = stored.head_inputs @ backbone.head.weight.T + backbone.head.bias
    np.testing.assert_allclose(stored.units("classifier"), logits, rtol=1e-4, atol=1e-4)
