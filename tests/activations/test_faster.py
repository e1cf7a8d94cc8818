"""Passes in reduced precision, or compiled: close to the plain pass, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bias_audit.activations.capture import captured
from bias_audit.activations.extract import Extraction, extract
from bias_audit.activations.faster import agreement
from bias_audit.activations.recording import LayerFile
from bias_audit.backbones.loading import Backbone
from bias_audit.backbones.pooling import OutputShape
from bias_audit.config.schema import Activations
from bias_audit.data.faces import Faces
from bias_audit.errors import BackboneError
from bias_audit.progress import Silent

SETTINGS = Activations(device="cpu", batch_size=16)


def _passed(backbone: Backbone, faces: Faces, cache: Path, **settings: object) -> Extraction:
    own = SETTINGS.model_copy(update=settings)
    return extract(backbone, faces, own, cache=cache, progress=Silent())


def test_a_pass_in_reduced_precision_is_kept_apart_and_recorded(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    plain = _passed(backbone, faces, tmp_path)
    assert plain.agreement == {}
    assert plain.checked == {}
    found = _passed(backbone, faces, tmp_path, precision="float16", tolerance=0.1)
    assert found.forward_images == len(faces)  # not taken from the plain pass
    assert set(found.agreement) == set(backbone.layers)
    assert "float16" in found.checked["forward_pass"]
    again = _passed(backbone, faces, tmp_path, precision="float16", tolerance=0.1)
    assert again.forward_images == 0
    assert again.agreement == found.agreement
    for layer in backbone.layers:
        one, other = plain.activations.units(layer), found.activations.units(layer)
        spread = np.square(one - one.mean(axis=0)).mean()
        error = float(np.sqrt(np.square(other - one).mean() / spread))
        assert 0 < error < 0.1
        # What the first images say is what all of them have.
        assert error == pytest.approx(found.agreement[layer], rel=0.5)


def test_a_layer_beyond_the_tolerance_is_refused(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    with pytest.raises(BackboneError, match="more than the tolerance") as refused:
        _passed(backbone, faces, tmp_path, precision="bfloat16", tolerance=0.001)
    assert "leave out precision and compiled" in str(refused.value)
    assert not [*tmp_path.rglob("*.npy")]


def test_the_error_counts_by_what_differs_between_images() -> None:
    file = LayerFile("a", 2, None)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 2)).astype(np.float32)
    for constant in (0, 1000):
        noisy = values + np.float32(0.1) * rng.standard_normal((50, 2)).astype(np.float32)
        found = agreement({file: values + constant}, {file: noisy + constant})
        assert found["a"] == pytest.approx(0.1, rel=0.2)
    constant_layer = np.ones((50, 2), dtype=np.float32)
    assert agreement({file: constant_layer}, {file: constant_layer}) == {"a": 0.0}
    assert agreement({file: constant_layer}, {file: constant_layer + 1}) == {"a": np.inf}


@pytest.mark.slow
def test_a_compiled_pass_gives_the_plain_one_up_to_rounding(
    backbone: Backbone, faces: Faces, tmp_path: Path
) -> None:
    plain = _passed(backbone, faces, tmp_path)
    found = _passed(backbone, faces, tmp_path, compiled=True, tolerance=1e-4)
    assert 0 < max(found.agreement.values()) < 1e-4  # 0 would mean that nothing was compiled
    for layer in backbone.layers:
        one, other = plain.activations.units(layer), found.activations.units(layer)
        np.testing.assert_allclose(other, one, atol=1e-4 * float(one.std()))


def test_aligned_positions_need_the_plain_pass() -> None:
    with pytest.raises(ValueError, match="expected the plain forward pass"):
        Activations(positions=4, aligned=True, precision="bfloat16")


class _ChangedInPlace(nn.Module):
    """A linear layer whose output is rectified in place."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.after = nn.Linear(3, 2), nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(self.linear(images.mean(dim=(2, 3))))
        return result


def test_what_is_changed_in_place_later_is_recorded_as_it_was(backbone: Backbone) -> None:
    module = _ChangedInPlace().requires_grad_(requires_grad=False)
    shape = OutputShape("vector", 2)
    backbone.shapes.clear()
    backbone.shapes["linear"] = shape
    batch = torch.rand(4, 3, 2, 2)
    module.linear.bias.fill_(-10)
    with captured(backbone, module, [LayerFile("linear", 2, None)]) as capture:
        (values,) = capture.passed(batch).values()
    assert (values < 0).all()
