from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from bias_audit.report.exporting.model_card import model_card, plain
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.layer_curve import LayerCurve, best_point
from tests.report.synthetic import HOSTILE, criteria_of, declared, make_audit


@pytest.fixture(scope="module")
def result() -> AuditResult:
    made = make_audit(
        failed=True, criteria=criteria_of("age"), declarations=declared("said", "AUC stays low")
    )
    return made.result


def card(result: AuditResult) -> str:
    return model_card(result, result.subjects[0]).decode()


def test_the_front_matter_is_what_the_hub_reads(result: AuditResult) -> None:
    data: Any = ModelCard(card(result)).data
    assert data.license == "apache-2.0"
    assert data.model_name == "tf_efficientnet_lite0"
    found = [
        (r.metric_type, r.metric_args["target"], r.metric_args["layer"], r.metric_value,
         r.metric_args["lower"], r.metric_args["upper"], r.metric_args["n"])
        for r in data.eval_results
    ]  # fmt: skip
    expected = [
        (block.quantity, curve.target, point.layer, e.value, e.lower, e.upper, e.n)
        for analysis in result.subjects[0].analyses
        for block in analysis.blocks
        if isinstance(block, LayerCurve)
        for curve in block.curves
        if (point := best_point(curve)) is not None and (e := point.estimate) is not None
    ]
    assert sorted(found) == sorted(expected)
    assert len(found) > 5


def test_front_matter_stands_once_and_is_plain_yaml(result: AuditResult) -> None:
    text = card(result)
    first, front, body = text.split("---\n", 2)
    assert first == ""
    assert set(yaml.safe_load(front)) == {"license", "model-index", "tags"}
    assert body.lstrip().startswith("# tf\\_efficientnet\\_lite0")


def test_a_licence_that_the_hub_does_not_know_keeps_its_name(result: AuditResult) -> None:
    subject = result.subjects[0]
    record = subject.backbone.model_copy(update={"licence": "see: the authors' page"})
    text = model_card(result, subject.model_copy(update={"backbone": record})).decode()
    data = yaml.safe_load(text.split("---\n")[1])
    assert (data["license"], data["license_name"]) == ("other", "see: the authors' page")


def test_the_body_tells_verdicts_gaps_and_what_people_said(result: AuditResult) -> None:
    text = card(result).replace("\\", "")
    for verdict in result.verdicts:
        assert f"| {verdict.criterion.name} | {verdict.outcome} |" in text
    assert "- Intended use and context: said" in text
    assert "Incomplete: these could not be computed: Topographic maps." in text
    assert "selection rates, match rates" in text
    assert "> **Caution.** The faces are computer renders." in text
    bare = card(result.model_copy(update={"config": {}}))
    assert "- Intended use and context: NOT PROVIDED" in bare


def test_tables_have_as_many_cells_as_headings(result: AuditResult) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", card(result), flags=re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        lines = table.splitlines()
        assert len(lines) > 2
        assert set(lines[1]) == {"|", "-"}
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_labels_are_text_whatever_they_hold() -> None:
    said = "<script>alert(1)</script> | [x](http://evil.example) **b**\n# h"
    made = make_audit(HOSTILE, layers=("a", "b", "c"), declarations=declared(said)).result
    body = card(made).split("---\n", 2)[2]
    assert "<script" not in re.sub(r"\\<", "", body)
    assert "](http" not in body
    assert "\n# h" not in body
    assert plain(said).count("\\|") == 1


def test_no_result_needs_no_model_index(result: AuditResult) -> None:
    subject = result.subjects[0].model_copy(update={"analyses": ()})
    bare = result.model_copy(update={"subjects": (subject,)})
    assert "model-index" not in yaml.safe_load(card(bare).split("---\n")[1])
