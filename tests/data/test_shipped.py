"""The faces that come with the package, and what docs/datasets.md promises."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from bias_audit.config.catalog import DATA_SOURCES
from bias_audit.data.sources.parametric import PLUGIN, SHIPPED, Params
from bias_audit.files import sha256_of


def test_thirty_identities_in_every_cell() -> None:
    table = PLUGIN.read(Params())
    assert np.bincount(table.cells, minlength=24).tolist() == [30] * 24
    assert table.identities is not None
    assert len(set(table.identities)) == 720
    assert table.exclusions == ()


def test_splits_share_no_identity_and_are_alike_in_every_cell() -> None:
    whole = PLUGIN.read(Params())
    train, test = (PLUGIN.read(Params(split=split)) for split in ("train", "test"))
    assert np.bincount(train.cells, minlength=24).tolist() == [10] * 24
    assert np.bincount(test.cells, minlength=24).tolist() == [20] * 24
    assert train.identities and test.identities and whole.identities
    assert sorted((*train.identities, *test.identities)) == sorted(whole.identities)
    assert set(test.splits or ()) == {"test"}
    assert whole.splits is None


def test_every_shipped_image_is_listed() -> None:
    listed = {reference.file.name for reference in PLUGIN.read(Params()).references}
    assert listed == {file.name for file in (SHIPPED / "images").iterdir()}


def test_cautions_say_what_the_renders_cannot_tell() -> None:
    cautions = " ".join(PLUGIN.read(Params()).cautions)
    for phrase in (
        "computer renders",
        "inputs of the head model",
        "Hair items differ",
        "skin tone",
    ):
        assert phrase in cautions
    assert "nothing measured on these renders says how a backbone treats people" in cautions


TEXT = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_are_valid(snippet: str) -> None:
    component = yaml.safe_load(snippet)["data"]
    DATA_SOURCES.load(component.pop("kind")).params_type.model_validate(component)


def test_every_source_has_a_snippet() -> None:
    kinds = {yaml.safe_load(snippet)["data"]["kind"] for snippet in SNIPPETS}
    assert kinds == set(DATA_SOURCES.kinds())


def test_the_checksum_is_that_of_the_shipped_labels() -> None:
    assert sha256_of(SHIPPED / "faces.csv") in TEXT
