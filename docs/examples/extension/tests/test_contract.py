"""Both plugins keep the contract of bias_audit, and measure what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bias_audit_example import active_units, face_folders
from PIL import Image

from bias_audit.errors import DataError
from bias_audit.testing import check_analysis, check_data_source, made_up_subject


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures of noise in two folders."""
    rng = np.random.default_rng(0)
    for level in ("female", "male"):
        (tmp_path / level).mkdir()
        for number in range(3):
            noise = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / level / f"{number}.png")
    return tmp_path


def test_the_data_source_keeps_its_contract(root: Path) -> None:
    """It reads folders as an audit needs them."""
    params = {"root": str(root), "attribute": "gender", "levels": ["female", "male"]}
    check_data_source(face_folders.PLUGIN, params)


def test_what_is_no_image_is_left_out_with_the_reason(root: Path) -> None:
    """A text file among the images is in the ledger."""
    (root / "male" / "notes.txt").touch()
    params = face_folders.Params(root=root, attribute="gender", levels=("female", "male"))
    (left_out,) = face_folders.read(params).exclusions
    assert left_out.reference == "male/notes.txt"
    with pytest.raises(DataError, match="other"):
        face_folders.read(params.model_copy(update={"levels": ("male", "other")}))


def test_the_analysis_keeps_its_contract() -> None:
    """Of one attribute, and of all."""
    check_analysis(active_units.PLUGIN, {}, {"targets": ["gender"]})


@pytest.mark.parametrize("is_planted", [True, False])
def test_a_planted_difference_is_found_and_chance_is_not(is_planted: bool) -> None:
    """Half of the units are active; or, where a difference is planted, all for young faces."""
    params = active_units.Params(targets=("age",))
    subject = made_up_subject(active_units.PLUGIN, params)
    codes = subject.faces.table.codes
    values = np.random.default_rng(1).standard_normal((len(codes), 400)).astype(np.float32)
    if is_planted:
        values[codes[:, 0] == 0] = 1
    activations = replace(subject.activations, by_layer={"layer": values})
    changed = replace(subject, activations=activations)
    (finding,) = active_units.active_units(changed, params).findings
    assert (finding.weight > 1) == is_planted
    assert ("for young" in finding.text) >= is_planted
