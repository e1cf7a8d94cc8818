"""An audit as a machine-learning bill of materials: CycloneDX 1.7, with a model card.

https://cyclonedx.org/docs/1.7/json/ has the fields.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

from bias_audit.config.schema import Declarations
from bias_audit.report.sections.declared import tested
from bias_audit.report.sections.method import limits
from bias_audit.results.audit import AuditResult, SubjectResult, declarations_of
from bias_audit.results.numbers import numbers_of
from bias_audit.shapes.shape import level_names
from bias_audit.statistics.estimate import Estimate

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/bias-audit")
_DATA: Final = "data"

Json = dict[str, Any]


def bill_of_materials(result: AuditResult) -> bytes:
    """The backbones, each with a model card, and the faces; JSON.

    The serial number follows from the results and the time stamp is the audit's own, so the same
    audit gives the same bytes. What was not declared is left out: the format has a place for it,
    and it stays empty.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    digest = hashlib.sha256(result.model_dump_json().encode()).hexdigest()
    declared = declarations_of(result)
    organisation, person = declared.organisation, declared.responsible_person
    provenance = result.provenance
    version = provenance.versions.get("bias-audit", "unknown")
    tool = {"type": "application", "name": "bias-audit", "version": version}
    considerations = _considerations(result, declared)
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": provenance.started,
            "tools": {"components": [tool]},
            **({"manufacturer": {"name": organisation}} if organisation else {}),
            **({"authors": [{"name": person}]} if person else {}),
        },
        "components": [
            *(
                _backbone(subject, index, declared.downstream_task, considerations)
                for index, subject in enumerate(result.subjects)
            ),
            _faces(result),
        ],
        "properties": _properties(
            audit=result.name, config_sha256=provenance.config_sha256, seed=provenance.seed
        ),
    }
    return (json.dumps(bill, indent=1, ensure_ascii=False) + "\n").encode()


def _backbone(subject: SubjectResult, index: int, task: str | None, considerations: Json) -> Json:
    record = subject.backbone
    parameters: Json = {
        "modelArchitecture": record.architecture,
        "datasets": [{"ref": _DATA}],
        "inputs": [{"format": "image"}],
        "outputs": [{"format": "activations"}],
        **({"task": task} if task else {}),
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"backbone-{index}",
        "name": record.name,
        "version": record.weights,
        "licenses": [{"license": {"name": record.licence}}],
        "hashes": _hashes(record.weights_sha256),
        "modelCard": {
            "modelParameters": parameters,
            "quantitativeAnalysis": {"performanceMetrics": [*_metrics(subject)]},
            "considerations": considerations,
        },
        "properties": _properties(
            hash_covers="names, shapes and bytes of the state dict, not a file",
            read_as=record.kind,
            parameters=record.n_parameters,
        ),
    }


def _metrics(subject: SubjectResult) -> Iterator[Json]:
    """Every number that a criterion could name, with its interval."""
    for number in numbers_of(subject.backbone.name, subject.analyses):
        where = f"target={number.target}; layer={number.layer}"
        where += "" if number.group is None else f"; group={level_names(number.group)}"
        if number.estimate is not None:
            yield _metric(number.quantity, where, number.estimate)
        if number.lift is not None:
            over = f"{where}; over={number.over or 'guessing'}"
            yield _metric(f"{number.quantity}, lift", over, number.lift)


def _metric(kind: str, where: str, estimate: Estimate) -> Json:
    clusters = "" if estimate.clusters is None else f"; clusters={estimate.clusters:.1f}"
    sample = f"n={estimate.n}{clusters}"
    bounds = {"lowerBound": str(estimate.lower), "upperBound": str(estimate.upper)}
    return {
        "type": kind,
        "value": str(estimate.value),
        "slice": f"{where}; {sample}; interval={100 * estimate.level:g} %",
        "confidenceInterval": bounds,
    }


def _considerations(result: AuditResult, declared: Declarations) -> Json:
    cautions = (
        *result.cautions,
        "Encoding is not use, and use is not harm: what can be read from activations "
        "need not be used by a decision.",
        "Aggregates over groups of images; not to be used to categorise a person.",
    )
    found: Json = {
        "technicalLimitations": [s for entry in limits(result) for s in entry.sentences],
        "ethicalConsiderations": [{"name": caution} for caution in cautions],
    }
    if declared.intended_use:
        found["useCases"] = [declared.intended_use]
    assessments = []
    for scenario in declared.scenarios:
        said = {
            "metric": scenario.metric,
            "threshold": scenario.threshold,
            "verdicts": tested(scenario, result),
        }
        rest = "; ".join(f"{name}: {text}" for name, text in said.items() if text)
        trigger = f"review trigger: {scenario.review_trigger}" if scenario.review_trigger else ""
        mitigation = "; ".join(text for text in (scenario.mitigation, trigger) if text)
        assessment = {
            "groupAtRisk": scenario.group,
            "harms": "; ".join(text for text in (scenario.hazard, rest) if text),
            "mitigationStrategy": mitigation,
        }
        assessments.append({name: text for name, text in assessment.items() if text})
    if assessments:
        found["fairnessAssessments"] = assessments
    return found


def _faces(result: AuditResult) -> Json:
    data = result.data
    return {
        "type": "data",
        "bom-ref": _DATA,
        "name": data.name,
        "licenses": [{"license": {"name": data.licence}}],
        "hashes": _hashes(data.manifest_sha256),
        "data": [
            {
                "type": "dataset",
                "name": data.name,
                "description": f"{data.n_images} images; labels: {data.label_origin}",
                "sensitiveData": [f"annotated {a.name}" for a in data.attributes],
            }
        ],
        "properties": _properties(
            hash_covers="the sorted pairs of image SHA-256 and labels",
            read_as=data.kind,
            images=data.n_images,
            independent_sets=data.n_clusters,
        ),
    }


def _hashes(content: str) -> list[Json]:
    """None for a digest that the format would refuse, as damaged results may hold."""
    known = re.fullmatch("[0-9a-f]{64}", content)
    return [{"alg": "SHA-256", "content": content}] if known else []


def _properties(**values: object) -> list[Json]:
    return [{"name": f"bias-audit:{name}", "value": str(v)} for name, v in values.items()]
