"""A plan of tests that could never reject is refused before images are opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from bias_audit.analyses.families import FEWEST_DRAWS, declared_families, draws_of
from bias_audit.audit.plan import make_plan, refuse_too_few_draws
from bias_audit.config.load import load_config
from bias_audit.config.schema import AuditConfig, Multiplicity
from bias_audit.errors import ConfigError
from bias_audit.groups import Attribute

PUBLISHED = tuple(
    Attribute(name, tuple(map(str, range(n)))) for name, n in (("age", 9), ("race", 7), ("sex", 2))
)
QUICKSTART = Path(__file__).resolve().parents[2] / "audit_configs" / "quickstart.yaml"


def test_too_few_draws_are_a_config_error_with_the_number_needed() -> None:
    plan = make_plan(load_config(QUICKSTART, ["multiplicity.draws=999"]))
    with pytest.raises(ConfigError, match="at least 2519 are needed"):
        refuse_too_few_draws(plan, PUBLISHED)
    refuse_too_few_draws(plan, PUBLISHED[1:])
    for override in ("multiplicity.draws=2519", "multiplicity.draws=null"):
        refuse_too_few_draws(make_plan(load_config(QUICKSTART, [override])), PUBLISHED)


SEVERAL = AuditConfig.model_validate(
    {
        "name": "several",
        "data": {"kind": "parametric"},
        "backbones": [{"kind": "bundled"}, {"kind": "bundled"}],
        "analyses": [
            {"kind": "linear_probe"},
            {"kind": "intersections"},
            {"kind": "group_profiles"},
            {"kind": "ensemble"},
        ],
    }
)


def test_families_are_those_of_every_backbone_and_of_all_together_once() -> None:
    plan = make_plan(SEVERAL)
    each = {p.kind: p.analysis.families(p.params, PUBLISHED) for p in plan.analyses}
    # lifts, four targets above guessing, their order; nothing is claimed of single profiles
    assert (each["linear_probe"], each["group_profiles"]) == (6, 0)
    alone = each["linear_probe"] + each["intersections"]
    assert plan.families(PUBLISHED) == 2 * alone + each["ensemble"]


def test_over_the_audit_no_more_than_alpha_is_shared_out_and_draws_suffice_for_it() -> None:
    plan = make_plan(SEVERAL)
    assert plan.multiplicity(PUBLISHED) == SEVERAL.multiplicity
    shared = make_plan(_with(scope="audit"))
    own = shared.multiplicity(PUBLISHED)
    assert own.alpha * shared.families(PUBLISHED) == pytest.approx(SEVERAL.multiplicity.alpha)
    largest = max(declared_families(PUBLISHED).values())
    assert draws_of(own, largest) >= largest / own.alpha - 1 > FEWEST_DRAWS
    # enough for one family at alpha, too few for its share
    few = _with(scope="audit", draws=2519)
    refuse_too_few_draws(make_plan(_with(draws=2519)), PUBLISHED)
    with pytest.raises(ConfigError, match=r"scope: audit shares the error rate 0\.05 among"):
        refuse_too_few_draws(make_plan(few), PUBLISHED)


def _with(**plan: object) -> AuditConfig:
    return SEVERAL.model_copy(update={"multiplicity": Multiplicity.model_validate(plan)})
