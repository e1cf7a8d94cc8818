"""What is planted most strongly comes first, whatever the analysis and its unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bias_audit.analyses.analysis import Head, Outcome
from bias_audit.analyses.methods import erasure, linear_probe
from bias_audit.groups import Attribute
from bias_audit.report.sections.questions import FindingView, findings
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.finding import Finding
from tests.analyses.planted import make_subject

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
    starts = f"{name} can be read", f"{name} was not", f"it was not shown that {name} "
    return [view.weight for view in views if view.text.casefold().startswith(starts)]


def test_findings_of_several_analyses_come_in_the_order_of_what_was_planted() -> None:
    analyses = _analyses()
    views = [v for part in findings(analyses, "x") for v in (*part.decided, *part.undecided)]
    strong, weak, absent = (_of(views, name) for name in STRENGTHS)
    assert len(strong) == len(weak) == len(absent) == len(analyses)
    assert min(strong) > max(weak)
    assert min(weak) > max(absent) == 0
    (encoded, *_) = findings(analyses, "x")
    assert encoded.decided[0].text.startswith("Strong can be read")
    assert any("absent" in view.text.casefold() for view in encoded.undecided)


def test_warnings_go_before_surer_findings() -> None:
    texts = {"Surer.": (0.5, False), "Shortcut.": (0.1, True), "Open.": (0.0, False)}
    analysis = AnalysisResult(
        kind="attribution",
        title="Where decisions look",
        question="where",
        params={},
        status="done",
        findings=tuple(
            Finding(text=text, weight=weight, is_warning=warns)
            for text, (weight, warns) in texts.items()
        ),
        seconds=0.0,
    )
    (found,) = findings([analysis], "x")
    assert [view.text for view in found.decided] == ["Shortcut.", "Surer."]
    assert [view.text for view in found.undecided] == ["Open."]
