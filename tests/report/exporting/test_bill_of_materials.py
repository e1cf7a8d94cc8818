from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from bias_audit.report.exporting.bill_of_materials import Json, bill_of_materials
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.layer_curve import LayerCurve
from tests.report.synthetic import HOSTILE, criteria_of, declared, make_audit


def made(**changes: object) -> AuditResult:
    return make_audit(
        backbones=("one", "two"),
        empty=(5,),
        criteria=criteria_of("age"),
        declarations=declared("said", "AUC stays low"),
    ).result.model_copy(update=changes)


@pytest.fixture(scope="module")
def result() -> AuditResult:
    return made()


def read(result: AuditResult) -> Json:
    bill: Json = json.loads(bill_of_materials(result))
    return bill


def test_it_fits_the_official_schema(result: AuditResult) -> None:
    hostile = make_audit(HOSTILE, layers=("a", "b", "c"), declarations=declared("<b>\x07")).result
    bare = made(config={}, verdicts=(), subjects=())
    for each in (result, hostile, bare):
        text = bill_of_materials(each).decode()
        assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None


def test_metrics_are_the_numbers_of_the_results(result: AuditResult) -> None:
    for component, subject in zip(read(result)["components"], result.subjects, strict=False):
        metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        found = {(m["type"], m["slice"].split("; n=")[0]): m for m in metrics}
        assert len(found) == len(metrics)
        blocks = [block for analysis in subject.analyses for block in analysis.blocks]
        points = {
            (block.quantity, f"target={curve.target}; layer={point.layer}"): point.estimate
            for block in blocks
            if isinstance(block, LayerCurve)
            for curve in block.curves
            for point in curve.points
        }
        measured = {key: estimate for key, estimate in points.items() if estimate is not None}
        assert len(measured) > 50
        assert measured.keys() == points.keys() & found.keys()
        for key, estimate in measured.items():
            bounds = found[key]["confidenceInterval"]
            numbers = found[key]["value"], bounds["lowerBound"], bounds["upperBound"]
            assert tuple(map(float, numbers)) == (estimate.value, estimate.lower, estimate.upper)
        groups = [
            row.estimate for block in blocks if isinstance(block, GroupTable) for row in block.rows
        ]
        n_measured = len(groups) - groups.count(None)
        assert sum("group=" in m["slice"] for m in metrics) == n_measured > 20


def test_scenarios_are_assessments_with_their_verdicts(result: AuditResult) -> None:
    model = read(result)["components"][0]["modelCard"]
    first, second = model["considerations"]["fairnessAssessments"]
    assert first["groupAtRisk"] == "said"
    assert first["mitigationStrategy"] == "said; review trigger: said"
    assert "AUC stays low: " in first["harms"]
    assert second == {"harms": "verdicts: not tested by a criterion"}
    assert model["modelParameters"]["task"] == "said"


def test_nothing_is_invented_where_nobody_said_anything() -> None:
    bill = read(made(config={}))
    considerations = bill["components"][0]["modelCard"]["considerations"]
    assert "fairnessAssessments" not in considerations
    assert "useCases" not in considerations
    assert set(bill["metadata"]) == {"timestamp", "tools"}


def test_hashes_name_weights_and_faces(result: AuditResult) -> None:
    *models, data = read(result)["components"]
    digests = [subject.backbone.weights_sha256 for subject in result.subjects]
    assert [m["hashes"][0]["content"] for m in models] == digests
    assert data["type"] == "data"
    assert data["hashes"] == [{"alg": "SHA-256", "content": result.data.manifest_sha256}]
    refs = {m["modelCard"]["modelParameters"]["datasets"][0]["ref"] for m in models}
    assert refs == {data["bom-ref"]}


def test_the_serial_number_follows_from_the_results(result: AuditResult) -> None:
    assert bill_of_materials(result) == bill_of_materials(made())
    other = read(made(name="other"))
    assert other["serialNumber"] != read(result)["serialNumber"]
    assert read(result)["metadata"]["timestamp"] == result.provenance.started
