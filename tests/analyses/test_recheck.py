"""Where identity is not recorded, recognition of people is not claimed as decodability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bias_audit.activations.likeness import activation_vectors, likeness
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.methods.linear_probe import PLUGIN, Params
from bias_audit.results.finding import Finding
from tests.analyses.planted import GENDER, make_subject

QUICK = Params(shrinkage=0.3)


def _seen(
    codes: npt.NDArray[np.int64],
    units: npt.NDArray[np.floating],
    *,
    limit: float = 0.02,
    seed: int = 0,
) -> Subject:
    subject = make_subject(codes[:, None], {"late": units}, (GENDER,), seed=seed)
    alike = likeness(activation_vectors(subject.activations))
    clusters = alike.clusters(subject.faces.clusters, limit)
    return replace(subject, likeness=alike, faces=replace(subject.faces, clusters=clusters))


def _renditions(
    seed: int, n_people: int = 45, each: int = 4
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """A label for each face at random: there is nothing but faces to recognise."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(n_people), each)
    units = rng.standard_normal((n_people, 48))[people]
    codes = rng.permutation(np.arange(n_people) % 2)[people]
    return codes, units + 0.4 * rng.standard_normal(units.shape)


def _finding(subject: Subject) -> Finding:
    (finding,) = PLUGIN.run(subject, QUICK).findings
    return finding


def test_random_labels_of_renditions_are_not_claimed() -> None:
    plain = [
        _finding(replace(_seen(*_renditions(seed), limit=0, seed=seed), likeness=None)).weight
        for seed in range(4)
    ]
    assert all(weight > 0 for weight in plain)  # what single images as units would claim
    claims = [_finding(_seen(*_renditions(seed), seed=seed)).weight > 0 for seed in range(20)]
    assert sum(claims) <= 1


def test_a_claim_that_rests_on_single_people_says_so() -> None:
    """With no pair joined at first, the check with merged clusters alone speaks."""
    finding = _finding(_seen(*_renditions(0, n_people=120, each=2), limit=0))
    assert finding.weight == 0
    assert finding.text.startswith("Gender seems to be readable from late, ")
    assert "but only if no two similar images show one person" in finding.text
    assert "recognition of single people" in finding.text
    assert finding.estimates["lift, 2 similar together"].lower < 0


def test_what_different_people_share_is_claimed_with_the_check_named() -> None:
    rng = np.random.default_rng(3)
    codes = np.arange(300) % 2
    units = rng.standard_normal((300, 40))
    units[:, 0] += 2 * codes
    subject = _seen(codes, units)
    finding = _finding(subject)
    assert finding.weight > 0
    assert finding.text.startswith("Gender can be read from late, significantly better than")
    assert "also supported when similar images count as one person" in finding.text
    for together in (2, 4):
        assert finding.estimates[f"lift, {together} similar together"].lower > 0
    recorded = _finding(replace(subject, likeness=None))
    assert "not recorded" not in recorded.text
    assert set(recorded.estimates) < set(finding.estimates)
