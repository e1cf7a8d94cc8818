"""What is planted most strongly comes first, whatever the analysis and its unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bias_audit.report.sections.summary import summary

from bias_audit.analyses.analysis import Head, Outcome
from bias_audit.analyses.methods import erasure, linear_probe
from bias_audit.groups import Attribute
from bias_audit.report.sections.blocks import TOGETHER
from bias_audit.report.sections.findings import FindingView, findings
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.finding import Finding
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.sureness import sureness
from tests.analyses.planted import make_subject
from tests.report.synthetic import make_audit

STRENGTHS = {"strong": 3.0, "weak": 0.9, "absent": 0.0}


def _result(kind: str, outcome: Outcome) -> AnalysisResult:
    return AnalysisResult(
        kind=kind, title=kind, params={}, status="done", findings=outcome.findings, seconds=0.0
    )


def _analyses() -> tuple[AnalysisResult, ...]:
    """Three attributes, each moving a unit of its own; the head looks at all units alike."""
    n, rng = 480, np.random.default_rng(0)
    codes = np.stack([np.arange(n) // 2**place % 2 for place in range(3)], axis=1)
    units = rng.standard_normal((n, 8)).astype(np.float32)
    units[:, :3] += codes * np.array(list(STRENGTHS.values()), np.float32)
    attributes = tuple(Attribute(name, ("no", "yes")) for name in STRENGTHS)
    weight = rng.standard_normal((6, 8)).astype(np.float32)
    head = Head("fc", weight, np.zeros(6, np.float32), units, None)
    subject = replace(make_subject(codes, {"late": units}, attributes), head=head)
    probed = linear_probe.PLUGIN.run(subject, linear_probe.Params(targets=tuple(STRENGTHS)))
    erased = erasure.PLUGIN.run(subject, erasure.Params(draws=10))
    return _result("linear_probe", probed), _result("erasure", erased)


def _of(views: list[FindingView], name: str) -> list[float]:
    """Weights of the sentences on whether an attribute can be read."""
    starts = f"annotated {name} ", f"no linear decodability of annotated {name} "
    return [view.weight for view in views if view.text.casefold().startswith(starts)]


def test_findings_of_several_analyses_come_in_the_order_of_what_was_planted() -> None:
    analyses = _analyses()
    made = make_audit().result
    seen = made.subjects[0].model_copy(update={"analyses": analyses})
    (subject,) = summary(made.model_copy(update={"subjects": (seen,)})).subjects
    views = [v for part in findings(analyses, "x") for v in (*part.decided, *part.undecided)]
    strong, weak, absent = (_of(views, name) for name in STRENGTHS)
    assert len(strong) == len(weak) == len(absent) == len(analyses)
    assert min(strong) > max(weak)
    assert min(weak) > max(absent) == 0
    (encoded, *_) = subject.answers
    assert encoded.text.startswith("Annotated strong ") and encoded.is_decided
    assert any("annotated absent" in view.text.casefold() for view in subject.undecided)


def test_what_all_backbones_show_is_ordered_across_analyses() -> None:
    """An effect of many units may be less sure than one of few."""
    sizes = {"share": (0.06, 0.02), "standard deviations": (40.0, 30.0), "open": (5.0, 9.0)}
    analyses = [
        AnalysisResult(
            kind="ensemble",
            title=unit,
            params={},
            status="done",
            findings=(
                Finding(
                    text=unit,
                    weight=sureness(Estimate(value, value - half, value + half, 0.95, 9, "m")),
                ),
            ),
            seconds=0.0,
        )
        for unit, (value, half) in reversed(sizes.items())
    ]
    made = make_audit().result.model_copy(update={"together": tuple(analyses)})
    shown = summary(made).together
    assert [view.text for view in shown] == list(sizes)
    assert len(findings(analyses, TOGETHER)) == len(sizes)
