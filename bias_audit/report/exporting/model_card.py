"""A model card for a hub's repository: YAML front matter and markdown, one for each backbone."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment

from bias_audit.durations import written_date
from bias_audit.report.page import template_engine
from bias_audit.report.sections.declared import purpose
from bias_audit.report.sections.method import limits, not_measured
from bias_audit.report.sections.verdicts import verdicts
from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.numbers import Number, best, curves, numbers_of
from bias_audit.shapes.printed import counted, interval, signed_interval

_MARKS: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>&~$^=:@])")
_SPACE: Final = re.compile(r"\s+")
_LICENCES: Final = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0"),
    *("cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "cc-by-nc-sa-4.0"),
}
"""Licences that the hub knows by the same name; another is "other", with its name."""


def model_card(result: AuditResult, subject: SubjectResult) -> bytes:
    """The card of one backbone of an audit; UTF-8.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    record, data = subject.backbone, result.data
    highest = list(_highest(subject))
    rows = [
        (
            *(n.target, n.metric, n.layer, interval(n.estimate), signed_interval(n.lift)),
            n.over or "no baseline",
        )
        for n in highest
    ]
    text = (
        _engine(template_engine())
        .get_template("model_card.md")
        .render(
            front_matter=_front_matter(result, subject, highest),
            name=record.name,
            record=record,
            data=data,
            images=counted(data.n_images, "image"),
            date=written_date(result.provenance.started),
            audit_id=result.provenance.config_sha256,
            version=result.provenance.versions.get("bias-audit", "unknown"),
            declared=purpose(result),
            verdicts=[row for row in verdicts(result).rows if row.backbone == record.name],
            highest=rows,
            findings=[f.text for a in subject.analyses for f in a.findings if f.weight > 0],
            failed=[a.title for a in subject.analyses if a.status == "failed"],
            gaps=list(not_measured(result)),
            limits=[s for entry in limits(result) for s in entry.sentences],
        )
    )
    return text.encode()


@functools.cache
def _engine(pages: Environment) -> Environment:
    # Markdown has its own marks; `plain` escapes them, HTML's included.
    engine = pages.overlay(autoescape=False)
    engine.filters = pages.filters | {"plain": plain}  # that of the pages stays without it
    return engine


def plain(text: object) -> str:
    """Text that markdown shows as it is, on one line: without marks, links, cells or HTML."""
    return _MARKS.sub(r"\\\1", _SPACE.sub(" ", str(text)).strip())


def _front_matter(result: AuditResult, subject: SubjectResult, highest: Sequence[Number]) -> str:
    licence, data = subject.backbone.licence, result.data
    known = licence.lower() in _LICENCES
    front: dict[str, Any] = {
        "license": licence.lower() if known else "other",
        "tags": ["bias-audit", "image-feature-extraction"],
    }
    if not known:
        front["license_name"] = licence
    if highest:
        front["model_name"] = subject.backbone.name
        front["eval_results"] = [
            EvalResult(
                task_type="image-feature-extraction",
                dataset_type=data.kind,
                dataset_name=data.name,
                dataset_revision=data.manifest_sha256,
                metric_type=number.quantity,
                metric_name=f"{number.metric}: {number.target} at {number.layer}",
                metric_value=found.value,
                metric_args={
                    "target": number.target,
                    "layer": number.layer,
                    "n": found.n,
                    **({"effective_clusters": found.clusters} if found.clusters else {}),
                    "lower": found.lower,
                    "upper": found.upper,
                    "level": found.level,
                    "interval": found.method,
                },
            )
            for number in highest
            if (found := number.estimate)
        ]
    return ModelCardData(**front).to_yaml()


def _highest(subject: SubjectResult) -> Iterator[Number]:
    """The layer with the highest value of each target, of every quantity."""
    for points in curves(numbers_of(subject.backbone.name, subject.analyses)):
        if (number := best(points)) is not None:
            yield number
