"""The declared families, the draws they need, and what the report says of them."""

from __future__ import annotations

import pytest

from bias_audit.analyses.families import declared_families, draws_of, family_row, too_few_draws
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Attribute, intersections
from bias_audit.statistics.multiplicity import Family, draws_needed, gatekeep


def attribute(name: str, n_levels: int) -> Attribute:
    return Attribute(name, tuple(f"{name} {i}" for i in range(n_levels)))


PUBLISHED = (attribute("age", 9), attribute("race", 7), attribute("gender", 2))


def test_families_go_from_coarse_to_fine_without_repeating_one() -> None:
    families = declared_families(PUBLISHED)
    assert list(families) == ["global", "marginals", "pairs", "cells"]
    assert families["marginals"] == 18
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert families["pairs"] == sum(len(intersections([PUBLISHED[i] for i in p])) for p in pairs)
    assert families["cells"] == len(intersections(PUBLISHED)) == 126
    assert list(declared_families(PUBLISHED[:2])) == ["global", "marginals", "cells"]
    assert list(declared_families(PUBLISHED[:1])) == ["global", "marginals"]


def test_too_few_draws_are_refused_with_the_number_needed() -> None:
    plan = Multiplicity(draws=999, verdicts="holm", discovery="holm")
    (told,) = too_few_draws(plan, PUBLISHED)
    assert told.startswith(
        "multiplicity.draws: 999 draws cannot make any of 126 cells significant under Holm at "
        "0.05 (smallest p 0.001 > 0.05/126); at least 2519 are needed"
    )
    assert not too_few_draws(plan.model_copy(update={"draws": 2519}), PUBLISHED)
    assert too_few_draws(plan.model_copy(update={"draws": 2518}), PUBLISHED)
    assert not too_few_draws(plan, PUBLISHED[1:])


def test_each_method_of_the_plan_is_checked() -> None:
    (told,) = too_few_draws(Multiplicity(draws=999), PUBLISHED)
    assert "a single one of 126 cells significant under Benjamini-Hochberg" in told
    assert not too_few_draws(Multiplicity(draws=999, discovery="max_t"), PUBLISHED)
    (told,) = too_few_draws(Multiplicity(draws=99, alpha=0.005, discovery="max_t"), PUBLISHED)
    assert "under single-step max-T at 0.005 (smallest p 0.01 > 0.005); at least 199" in told


@pytest.mark.parametrize("n_hypotheses", [1, 18, 126, 5000])
def test_without_a_number_there_are_enough_draws(n_hypotheses: int) -> None:
    plan = Multiplicity(alpha=0.01)
    needed = draws_needed(n_hypotheses, alpha=0.01, method="benjamini_hochberg")
    assert draws_of(plan, n_hypotheses) == max(1999, needed)
    assert draws_of(Multiplicity(draws=500), n_hypotheses) == 500


def test_a_row_tells_what_became_of_a_family() -> None:
    gated = gatekeep(
        [Family("marginals", (0.01, 0.6, None)), Family("cells", (0.9,) * 4)], alpha=0.05
    )
    options = {"method": "holm", "alpha": 0.05, "draws": 99}
    row = family_row(gated[0], p_values=(0.005, 0.6, None), **options)  # type: ignore[arg-type]
    assert (row.n_hypotheses, row.n_tested, row.rejected, row.is_open) == (3, 2, 1, True)
    assert row.smallest_p == 2 / 100
    closed = gatekeep([Family("global", (0.3,)), Family("cells", (0.01,) * 4)], alpha=0.05)[1]
    row = family_row(closed, p_values=(0.01,) * 4, **options)  # type: ignore[arg-type]
    assert row.rejected is None and not row.is_open
    assert "the overall test was not significant" in row.gate
