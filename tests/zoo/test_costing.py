"""What a zoo's next run is said to cost rests on work that was really done."""

from __future__ import annotations

from bias_audit.progress import Silent
from bias_audit.zoo.costing import Part, predictions
from bias_audit.zoo.entries import entries
from tests.zoo.conftest import Zoo


def _parts(zoo: Zoo) -> dict[str, Part]:
    config = zoo.load()
    (first, *_) = predictions(config, entries(config), progress=Silent())
    return {part.stage: part for part in first.parts}


def test_analyses_that_read_their_fits_are_no_measurement(zoo: Zoo) -> None:
    zoo.settings["analyses"] = zoo.settings["analyses"][1:]
    zoo.run()
    # Its probes are those of the profiles, in part: what it takes now it will not take again.
    zoo.settings["analyses"].append({"kind": "linear_probe", "folds": 3, "regularisation": 0.01})
    zoo.run()
    zoo.change_weights("one")
    parts = _parts(zoo)
    assert parts["group_profiles"].basis.startswith("measured 20")
    assert parts["linear_probe"].basis.startswith("timed now; no earlier audit")
    assert parts["linear_probe"].seconds > 0
    zoo.run()
    zoo.change_weights("one")
    assert _parts(zoo)["linear_probe"].basis.startswith("measured 20")
