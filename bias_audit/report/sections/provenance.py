"""What a second person needs to repeat the audit."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from bias_audit.durations import duration
from bias_audit.report.elements import Fact
from bias_audit.report.sections.cost import cost
from bias_audit.report.sections.cover import written_date
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.tables import Table


@dataclass(frozen=True)
class ProvenanceView:
    """The last section."""

    facts: tuple[Fact, ...]
    digests: tuple[Fact, ...]
    cost: Table | None
    """What each stage took."""
    config: str
    """YAML."""


def provenance(result: AuditResult) -> ProvenanceView:
    """Put the provenance together."""
    record = result.provenance
    weights = tuple(
        Fact(f"Weights of {subject.backbone.name}", (subject.backbone.weights_sha256,), True)  # noqa: FBT003
        for subject in result.subjects
    )
    return ProvenanceView(
        facts=(
            Fact("Command", (record.command,), is_code=True),
            Fact("Started", (written_date(record.started),)),
            Fact("Duration", (duration(record.seconds),)),
            Fact("Seed", (str(record.seed),)),
            Fact("Hardware", _listed(record.hardware)),
            Fact("Versions", _listed(record.versions)),
        ),
        digests=(
            Fact("Config", (record.config_sha256,), is_code=True),
            Fact("Faces and labels", (result.data.manifest_sha256,), is_code=True),
            *weights,
        ),
        cost=cost(result),
        config=yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True),
    )


def _listed(values: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}: {value}" for name, value in values.items())
