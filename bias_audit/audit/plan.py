"""Everything a run needs, resolved and validated before a weight is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bias_audit.analyses.analysis import Analysis
from bias_audit.backbones.backbone import BackboneParams, BackboneSource
from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES
from bias_audit.config.schema import AuditConfig, Strict
from bias_audit.data.faces import Faces, FaceTable
from bias_audit.data.sampling import prepare
from bias_audit.data.source import FaceSource
from bias_audit.errors import ConfigError
from bias_audit.progress import Progress


@dataclass(frozen=True)
class PlannedBackbone:
    """A backbone to audit."""

    kind: str
    source: BackboneSource[Any]
    params: BackboneParams


@dataclass(frozen=True)
class PlannedAnalysis:
    """An analysis to make of every backbone."""

    kind: str
    analysis: Analysis[Any]
    params: Strict


@dataclass(frozen=True)
class Plan:
    """A config with every plugin found and every parameter typed."""

    config: AuditConfig
    source: FaceSource[Any]
    source_params: Strict
    backbones: tuple[PlannedBackbone, ...]
    analyses: tuple[PlannedAnalysis, ...]


def make_plan(config: AuditConfig) -> Plan:
    """Resolve the plugins a validated config names."""
    source: FaceSource[Any] = DATA_SOURCES.load(config.data.kind)
    backbones = []
    for component in config.backbones:
        found: BackboneSource[Any] = BACKBONE_SOURCES.load(component.kind)
        params = found.params_type.model_validate(component.params)
        backbones.append(PlannedBackbone(component.kind, found, params))
    analyses = []
    for component in config.analyses:
        analysis: Analysis[Any] = ANALYSES.load(component.kind)
        analyses.append(
            PlannedAnalysis(
                component.kind, analysis, analysis.params_type.model_validate(component.params)
            )
        )
    return Plan(
        config=config,
        source=source,
        source_params=source.params_type.model_validate(config.data.params),
        backbones=tuple(backbones),
        analyses=tuple(analyses),
    )


def find_faces(plan: Plan, *, progress: Progress) -> Faces:
    """Read the labels, open every image once, draw and cluster.

    Raises:
        DataError: The source cannot be read, or no image is usable.
        ConfigError: An analysis asks for what these faces do not have.
    """
    table = plan.source.read(plan.source_params)
    refuse_unanswerable(plan, table)
    faces = prepare(
        table,
        plan.config.sampling,
        workers=plan.config.activations.workers,
        seed=plan.config.seed,
        cache=plan.config.output.cache,
        progress=progress,
    )
    refuse_unanswerable(plan, faces.table)
    return faces


def refuse_unanswerable(
    plan: Plan, table: FaceTable, layers: tuple[str, ...] | None = None
) -> None:
    """Stop before the work when an analysis asks for what is not there.

    Raises:
        ConfigError: With every such problem.
    """
    problems = [
        f"analyses.{index} ({planned.kind}): {problem}"
        for index, planned in enumerate(plan.analyses)
        for problem in planned.analysis.problems(planned.params, table, layers)
    ]
    if problems:
        raise ConfigError(problems, source=plan.config.name)
