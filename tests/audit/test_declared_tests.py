"""A plan of tests that could never reject is refused before images are opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from bias_audit.audit.plan import make_plan, refuse_too_few_draws
from bias_audit.config.load import load_config
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
