from __future__ import annotations

import numpy as np

from bias_audit.data.sources.parametric import PLUGIN, SHIPPED, Params


def test_thirty_identities_in_every_cell() -> None:
    table = PLUGIN.read(Params())
    assert np.bincount(table.cells, minlength=24).tolist() == [30] * 24
    assert table.identities is not None
    assert len(set(table.identities)) == 720
    assert table.exclusions == ()


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
