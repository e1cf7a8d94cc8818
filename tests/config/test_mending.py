"""What is wrong in one key of a section hides nothing that is wrong with the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.config.test_wording import AUDIT, problems

MANIFEST = {"kind": "manifest", "file": "x.csv", "attributes": {"gender": ["f", "m"]}}
CRITERION = {
    "name": "a",
    "quantity": "recall",
    "target": "gender",
    "at_least": 0.5,
    "rationale": "x",
}


def criterion(**changes: Any) -> dict[str, Any]:
    return {"criteria": [{**CRITERION, **changes}]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {
                "data": {**MANIFEST, "delimitr": ";"},
                "analyses": [{"kind": "linear_probe", "targets": ["sex"]}],
                "backbones": [{"kind": "bundled", "layers": ["bn2"], "layerz": "x"}],
                **criterion(target="sexx", groups={"gender": "female"}, backbones=["nope"]),
            },
            [
                ("data.delimitr", "unknown key 'delimitr' (known"),
                ("backbones.0.layerz", "unknown key"),
                ("analyses.0.targets.0", "'sex'"),
                ("criteria.0.target", "'sexx'"),
                ("criteria.0.groups.gender", "'female'"),
                ("criteria.0.backbones.0", "'nope'"),
            ],
        ),
        (
            {"data": {**MANIFEST, "attributes": {"gender": 3}}, **criterion(target="sexx")},
            [("data.attributes.gender", "expected a list")],
        ),
        (
            {"small_groups": {"minimum": 3, "suppress_below": 9, "policy": "shrinkk"}},
            [
                ("small_groups.policy", "did you mean 'shrink'?"),
                ("small_groups", "expected suppress_below to be at most minimum (3), got 9"),
            ],
        ),
        (
            {"small_groups": {"minimum": 3, "suppress_below": "few"}},
            [("small_groups.suppress_below", "expected a whole number")],
        ),
        (
            criterion(at_least=None, within=[0.7, 0.2], level=95),
            [
                ("criteria.0.within", "the lowest first"),
                ("criteria.0.level", "less than 1, got 95"),
            ],
        ),
        (
            criterion(at_least="half", at_most=None),
            [("criteria.0.at_least", "expected a number, got 'half'")],
        ),
        (
            {"data": MANIFEST, **criterion(groups={"agee": 3, "gender": "x", "hue": "y"})},
            [
                ("criteria.0.groups.agee", "expected text, got 3"),
                ("criteria.0.groups", "unknown attribute 'hue'"),
                ("criteria.0.groups.gender", "'x'"),
            ],
        ),
        (
            {"backbones": [{"kynd": "bundled", "layers": ["bn2"], "nme": "x"}]},
            [
                ("backbones.0.kynd", "unknown key 'kynd'; did you mean 'kind'?"),
                ("backbones.0.nme", "unknown key 'nme'; did you mean 'name'?"),
            ],
        ),
        ({"data": {"kynd": 3}}, [("data.kind", "missing")]),
        ({"data": {"Type": "parametric"}}, [("data.Type", "did you mean 'kind'?")]),
        (
            {"sampling": {"max_per_intersection": True, "near_duplicates": True}},
            [("sampling.max_per_intersection", "expected a whole number, got true")],
        ),
        (
            {"analyses": [{"kind": "linear_probe", "folds": False}]},
            [("analyses.0.folds", "at least 3, got false")],
        ),
        (
            {"data": "parametric", "analyses": ["linear_probe"], "output": {"formats": "pdf"}},
            [
                ("data", "expected a section of keys, got 'parametric'; write {kind: parametric}"),
                ("analyses.0", "got 'linear_probe'; write - kind: linear_probe"),
                ("output.formats", "expected a list, got 'pdf'; write [pdf]"),
            ],
        ),
        (
            {"data": [{"kind": "parametric"}], "backbones": {"kind": "bundled"}},
            [("data", "leave out the hyphen"), ("backbones", "begin each of its entries with a")],
        ),
        (
            {"Criteria": [{**CRITERION, "target": "x"}], "small-groups": {"minimum": "x"}},
            [
                ("Criteria", "did you mean 'criteria'?"),
                ("small-groups", "did you mean 'small_groups'?"),
                ("criteria.0.target", "unknown attribute 'x'"),
                ("small_groups.minimum", "expected a whole number, got 'x'"),
            ],
        ),
        (
            {"data": {"kind": "manifest", "File": 3, "attributes": MANIFEST["attributes"]}},
            [("data.File", "did you mean 'file'?"), ("data.file", "expected a path, got 3")],
        ),
        (
            {"data": {**MANIFEST, "binned": ["agee"], "split": "train"}},
            [
                ("data.binned", "expected one of the attributes gender, got 'agee'"),
                ("data.split", "expected split_column beside it"),
            ],
        ),
        (
            {"backbones": ["kind:bundled"]},
            [("backbones.0", "write a space after the colon: kind: bundled")],
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_else(
    tmp_path: Path, config: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    told = problems(tmp_path, {**AUDIT, **config}).splitlines()
    assert sorted(line.split(": ")[1] for line in told) == sorted(place for place, _ in expected)
    for place, words in expected:
        assert any(f": {place}: " in line and words in line for line in told), (place, words, told)
