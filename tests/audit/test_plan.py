"""What cannot be answered is refused before the work, and all of it in one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bias_audit.analyses.families import FEWEST_DRAWS, declared_families, draws_of
from bias_audit.audit.checking import check_lines, data_lines
from bias_audit.audit.plan import make_plan, refuse_too_few_draws
from bias_audit.audit.run import run, with_unique_names
from bias_audit.config.load import load_config
from bias_audit.config.schema import AuditConfig, Multiplicity
from bias_audit.errors import AuditError, ConfigError
from bias_audit.groups import Attribute
from bias_audit.progress import Silent
from tests.report.synthetic import make_audit

PUBLISHED = tuple(
    Attribute(name, tuple(map(str, range(n)))) for name, n in (("age", 9), ("race", 7), ("sex", 2))
)
QUICKSTART = Path(__file__).resolve().parents[2] / "audit_configs" / "quickstart.yaml"


def audit(**changed: Any) -> AuditConfig:
    two = [{"kind": "bundled"}, {"kind": "bundled"}]
    kinds = ("linear_probe", "intersections", "group_profiles", "ensemble")
    return AuditConfig.model_validate(
        {
            "name": "several",
            "data": {"kind": "parametric"},
            "backbones": two,
            "analyses": [{"kind": kind} for kind in kinds],
        }
        | changed
    )


def test_too_few_draws_are_a_config_error_with_the_number_needed() -> None:
    plan = make_plan(load_config(QUICKSTART, ["multiplicity.draws=999"]))
    with pytest.raises(ConfigError, match="at least 2519 are needed"):
        refuse_too_few_draws(plan, PUBLISHED)
    refuse_too_few_draws(plan, PUBLISHED[1:])
    for override in ("multiplicity.draws=2519", "multiplicity.draws=null"):
        refuse_too_few_draws(make_plan(load_config(QUICKSTART, [override])), PUBLISHED)


def test_families_are_those_of_every_backbone_and_of_all_together_once() -> None:
    plan = make_plan(audit())
    each = {p.kind: p.analysis.families(p.params, PUBLISHED) for p in plan.analyses}
    # lifts, four targets above guessing, their order; nothing is claimed of single profiles
    assert (each["linear_probe"], each["group_profiles"]) == (6, 0)
    alone = each["linear_probe"] + each["intersections"]
    assert plan.families(PUBLISHED) == 2 * alone + each["ensemble"]


def test_over_the_audit_no_more_than_alpha_is_shared_out_and_draws_suffice_for_it() -> None:
    declared = Multiplicity()
    assert make_plan(audit()).multiplicity(PUBLISHED) == declared
    shared = make_plan(audit(multiplicity={"scope": "audit"}))
    own = shared.multiplicity(PUBLISHED)
    assert own.alpha * shared.families(PUBLISHED) == pytest.approx(declared.alpha)
    largest = max(declared_families(PUBLISHED).values())
    assert draws_of(own, largest) >= largest / own.alpha - 1 > FEWEST_DRAWS
    # enough for one family at alpha, too few for its share
    refuse_too_few_draws(make_plan(audit(multiplicity={"draws": 2519})), PUBLISHED)
    few = make_plan(audit(multiplicity={"scope": "audit", "draws": 2519}))
    with pytest.raises(ConfigError, match=r"scope: audit shares the error rate 0\.05 among"):
        refuse_too_few_draws(few, PUBLISHED)


@pytest.mark.parametrize("verb", ["run", "check"])
def test_faces_weights_and_layers_come_in_one_message(tmp_path: Path, verb: str) -> None:
    absent = {"architecture": "resnet18", "file": tmp_path / "absent.pth"}
    config = audit(
        data={"kind": "fairface", "root": tmp_path / "no faces"},
        backbones=[{"kind": "bundled", "layers": ["blocks.99"]}, {"kind": "checkpoint", **absent}],
        analyses=[{"kind": "linear_probe", "folds": 3}],
        output={"folder": tmp_path / "run", "cache": tmp_path / "cache"},
    )
    verbs: dict[str, Callable[[], object]] = {
        "run": lambda: run(config, command="test", progress=Silent()),
        "check": lambda: list(check_lines(config, Silent())),
    }
    with pytest.raises(AuditError) as caught:
        verbs[verb]()
    for part in (
        "3 problems",
        "no faces",
        "backbones.0 (bundled): ",
        "backbones.1 (checkpoint): ",
    ):
        assert part in str(caught.value)


def test_a_layer_that_a_criterion_names_is_looked_for_by_check(tmp_path: Path) -> None:
    criterion = {"name": "a", "quantity": "bits", "target": "age", "at_most": 1, "layer": "bn9"}
    config = audit(
        sampling={"max_per_intersection": 6},
        backbones=[{"kind": "bundled", "layers": ["bn2"]}],
        analyses=[{"kind": "linear_probe", "folds": 3}],
        criteria=[{**criterion, "rationale": "an example"}],
        output={"cache": tmp_path},
    )
    with pytest.raises(AuditError, match=r"criteria.0 \(a\): layer: unknown layer of .* 'bn9'"):
        list(check_lines(config, Silent()))


@pytest.mark.parametrize("folds", [(3,), (3, 8), (8, 3)])
def test_warnings_are_about_the_folds_that_were_asked_for(
    folds: tuple[int, ...], tmp_path: Path
) -> None:
    config = audit(
        sampling={"max_per_intersection": 7, "near_duplicates": False},
        analyses=[{"kind": "linear_probe", "folds": n} for n in folds],
        output={"cache": tmp_path},
    )
    said = [line for line in data_lines(config, Silent()) if line.startswith("warning: ")]
    assert any("fewer images than 8 folds" in line for line in said) == (max(folds) == 8)
    assert not any("5 folds" in line for line in said)


def test_what_cannot_be_asked_of_several_backbones_is_refused() -> None:
    one, joint = [{"kind": "bundled"}], [{"kind": "ensemble"}]
    about: dict[str, Any] = {"name": "a", "quantity": "ensemble_macro_f1", "target": "gender"}
    about |= {"at_least": 0.0, "rationale": "for the test"}
    refused: list[tuple[dict[str, Any], str]] = [
        ({"backbones": one}, "at least two backbones to look at together, got one"),
        *(
            ({"analyses": [{"kind": kind}] * 2}, "one analysis of this kind, got another")
            for kind in ("outcome_profiles", "attribution")
        ),
    ]
    narrowed: list[tuple[dict[str, Any], str]] = [
        ({"backbones": ["one"]}, "backbones: expected none"),
        ({"layer": "layer4"}, "layer: got"),
    ]
    refused += [({"analyses": joint, "criteria": [about | m]}, told) for m, told in narrowed]
    for changed, message in refused:
        with pytest.raises(ConfigError, match=message):
            make_plan(audit(**changed))


def test_backbones_of_one_name_are_numbered() -> None:
    subjects = make_audit(backbones=("net", "other", "net")).result.subjects
    names = [subject.backbone.name for subject in with_unique_names(subjects)]
    assert names == ["net", "other", "net (2)"]
