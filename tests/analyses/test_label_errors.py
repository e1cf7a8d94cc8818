"""Labels flipped in one group look like a difference; with the disagreement known, they do not."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.methods.intersections import PLUGIN, Params
from bias_audit.data.faces import Disagreement
from bias_audit.groups import Attribute
from tests.analyses.planted import GENDER, make_subject

RACE = Attribute("race", ("x", "y", "z"))
QUICK = Params(shrinkage=0.3)
KEYS = ("interaction_gender_race", "cell_auc_highest")


def _subject(seed: int, *, error: float = 0.0, weak: float = 1.0) -> Subject:
    """Gender moves a unit, in y `weak` times as far; there, a share of genders is flipped."""
    rng, n = np.random.default_rng(seed), 900
    codes = np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)
    units = rng.standard_normal((n, 6))
    is_y = codes[:, 0] == 1
    units[:, 0] += 3 * (codes[:, 1] - 0.5) * np.where(is_y, weak, 1.0)
    units[np.arange(n), 1 + codes[:, 0]] += 2
    flipped = is_y & (rng.random(n) < error)
    codes[flipped, 1] = 1 - codes[flipped, 1]
    return make_subject(codes, {"late": units}, (RACE, GENDER), seed=seed)


def _run(subject: Subject, rate: Disagreement | None = None) -> Outcome:
    known = {} if rate is None else {"gender": rate}
    table = replace(subject.faces.table, disagreement=known)
    return PLUGIN.run(replace(subject, faces=replace(subject.faces, table=table)), QUICK)


def _texts(outcome: Outcome) -> list[str]:
    return [f.text for f in outcome.findings if f.weight > 0 and set(KEYS) & set(f.estimates)]


def test_flipped_labels_are_a_difference_only_while_the_disagreement_is_unknown() -> None:
    errors = []
    for seed in range(3):
        subject = _subject(seed, error=0.1)
        before = " ".join(_texts(_run(subject)))
        found = re.search(r"A label error ([\d.]+) points higher in y than elsewhere", before)
        assert found is not None
        errors.append(float(found[1]))
        for rate in (Disagreement(0.1), Disagreement(0.0, {("race", "y"): 0.1})):
            outcome = _run(subject, rate)
            assert not _texts(outcome)
            assert any("allow for every label error" in text for text in outcome.method)
        assert _texts(_run(subject, Disagreement(0.1, {("race", "y"): 0.0})))
    assert 5 < np.median(errors) < 15


def test_a_difference_beyond_the_disagreement_is_claimed() -> None:
    texts = _texts(_run(_subject(0, weak=0.1), Disagreement(0.05)))
    assert any(text.startswith("Gender is harder to read for y at late") for text in texts)


def test_no_difference_is_claimed_where_there_is_none() -> None:
    assert sum(bool(_texts(_run(_subject(seed)))) for seed in range(4)) <= 1
