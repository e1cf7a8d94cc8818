"""Everything a run needs, resolved and validated before a weight is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bias_audit.analyses.analysis import Analysis, JointAnalysis
from bias_audit.analyses.families import too_few_draws
from bias_audit.analyses.small_groups import without_small_intersections
from bias_audit.backbones.loading import BackboneParams, BackboneSource, load_backbone
from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES, LAYOUTS, Catalog
from bias_audit.config.font_files import font_problems
from bias_audit.config.meaning import (
    Named,
    analysis_problems,
    criterion_problems,
    joint_quantities,
    layer_problems,
    placed,
    quantity_problems,
)
from bias_audit.config.schema import AuditConfig, Component, Controls, Multiplicity, Strict
from bias_audit.config.wording import Problem, dotted
from bias_audit.data.faces import Faces, FaceSource, FaceTable
from bias_audit.data.forgetting import without_forgotten
from bias_audit.data.sampling import prepare
from bias_audit.errors import AuditError, ConfigError
from bias_audit.groups import Attribute
from bias_audit.progress import Progress


@dataclass(frozen=True)
class PlannedBackbone:
    """A backbone to audit."""

    kind: str
    source: BackboneSource[Any]
    params: BackboneParams
    entry: int = 0
    """Place in the config, where the checkpoints of a training are one entry."""
    step: int = 0
    """Place among the checkpoints of one entry."""
    n_steps: int = 1


@dataclass(frozen=True)
class PlannedAnalysis:
    """An analysis to make of every backbone, or once of all together."""

    kind: str
    analysis: Analysis[Any] | JointAnalysis[Any]
    params: Strict

    @property
    def layouts(self) -> tuple[str, ...]:
        """Kinds of the layouts that its parameters name."""
        several = getattr(self.params, "layouts", None) or ()
        named = (getattr(self.params, "layout", None), *several)
        return tuple(dict.fromkeys(each.kind for each in named if isinstance(each, Component)))


@dataclass(frozen=True)
class Plan:
    """A config with every plugin found and every parameter typed."""

    config: AuditConfig
    source: FaceSource[Any]
    source_params: Strict
    backbones: tuple[PlannedBackbone, ...]
    analyses: tuple[PlannedAnalysis, ...]

    @property
    def plugins(self) -> Iterator[tuple[Catalog[Any], str]]:
        """Every plugin that a result depends on, by its catalog and kind; some more than once."""
        yield DATA_SOURCES, self.config.data.kind
        yield from ((BACKBONE_SOURCES, planned.kind) for planned in self.backbones)
        for planned in self.analyses:
            yield ANALYSES, planned.kind
            yield from ((LAYOUTS, kind) for kind in planned.layouts)

    @property
    def joint_quantities(self) -> frozenset[str]:
        """What is measured of all backbones together, and of none alone."""
        return joint_quantities(planned.analysis for planned in self.analyses)

    def families(self, attributes: Sequence[Attribute]) -> int:
        """Families of tests that decide what findings claim, of all backbones."""
        return sum(
            planned.analysis.families(planned.params, attributes)
            * (1 if planned.analysis.is_joint else len(self.backbones))
            for planned in self.analyses
        )

    def multiplicity(self, attributes: Sequence[Attribute]) -> Multiplicity:
        """The declared tests as analyses make them: `alpha` is the error rate of one family."""
        declared = self.config.multiplicity
        if declared.scope == "family":
            return declared
        alpha = declared.alpha / max(1, self.families(attributes))
        return declared.model_copy(update={"alpha": alpha})

    @property
    def needs_head(self) -> bool:
        """Whether an analysis asks for the classification layer."""
        return any(planned.analysis.needs_head for planned in self.analyses)

    @property
    def needs_network(self) -> bool:
        """Whether an analysis passes images through the backbones again."""
        return any(planned.analysis.needs_network for planned in self.analyses)

    @property
    def controls(self) -> Controls:
        """Those of the config, without what no analysis asks for."""
        wanted = self.config.controls
        if any(planned.analysis.needs_controls for planned in self.analyses):
            return wanted
        return wanted.model_copy(update={"random_weights": 0, "image": False})


def make_plan(config: AuditConfig) -> Plan:
    """Resolve the plugins a validated config names.

    Raises:
        ConfigError: A criterion is about a quantity that no analysis measures, or an analysis
            needs feature maps that are not recorded, or more backbones than there are, or a font
            file cannot be used.
    """
    source: FaceSource[Any] = DATA_SOURCES.load(config.data.kind)
    backbones: list[PlannedBackbone] = []
    for entry, component in enumerate(config.backbones):
        found: BackboneSource[Any] = BACKBONE_SOURCES.load(component.kind)
        steps = found.steps(found.params_type.model_validate(component.params))
        backbones += [
            PlannedBackbone(component.kind, found, own, entry, step, len(steps))
            for step, own in enumerate(steps)
        ]
    analyses = []
    for component in config.analyses:
        analysis: Analysis[Any] | JointAnalysis[Any] = ANALYSES.load(component.kind)
        params = analysis.params_type.model_validate(component.params)
        analyses.append(PlannedAnalysis(component.kind, analysis, params))
    plan = Plan(
        config=config,
        source=source,
        source_params=source.params_type.model_validate(config.data.params),
        backbones=tuple(backbones),
        analyses=tuple(analyses),
    )
    criteria = placed(config.criteria)
    offered = (name for planned in analyses for name in planned.analysis.quantities)
    problems = [
        *analysis_problems(
            [
                Named(("analyses", place), each.kind, each.analysis, each.params)
                for place, each in enumerate(analyses)
            ],
            positions=config.activations.positions,
            n_backbones=len(backbones),
        ),
        *quantity_problems(criteria, offered, plan.joint_quantities),
    ]
    lines = [*_named(config, problems), *_beyond_given(plan), *font_problems(config.output.fonts)]
    if lines:
        lines += backbone_problems(plan, None)
        raise ConfigError(lines, source=config.source)
    return plan


GIVEN: Final = {
    "forward pass": "an exported network has neither gradients nor weights that could be drawn",
    "activations": "activations were handed over without the network",
}
"""Why something cannot be had of what a source hands over."""


def _beyond_given(plan: Plan) -> Iterator[str]:
    """What the config wants of a network that a backbone source does not hand over."""
    for planned in plan.backbones:
        if planned.source.gives == "network":
            continue
        but = f"for backbones.{planned.entry}, {GIVEN[planned.source.gives]}"
        for index, wanted in enumerate(plan.analyses):
            if wanted.analysis.needs_network:
                yield (
                    f"analyses.{index} ({wanted.kind}): it needs gradients of the network; {but}: "
                    "remove the analysis, or audit the network itself"
                )
        if plan.needs_head and planned.source.given and plan.config.controls.reference:
            yield (
                f"controls.reference: its images have to pass through the network; {but}: remove "
                "the key"
            )
        if plan.config.activations.aligned:
            yield (
                f"activations.aligned: it needs gradients of the network; {but}: set "
                "aligned: false"
            )


def without_networks(plan: Plan) -> Iterator[str]:
    """Which controls will not be there, one sentence for each backbone that cannot have them."""
    for planned in plan.backbones:
        gives = planned.source.gives
        if gives != "network" and plan.controls.random_weights:
            yield (
                f"{planned.source.called(planned.params)}: no baseline with random weights, "
                f"because {GIVEN[gives]}"
            )


def _named(config: AuditConfig, problems: Iterable[Problem]) -> list[str]:
    """Problems with their places, and with the kind or name of what is there."""
    lines = []
    for (section, index, *rest), message in problems:
        place = int(index)
        analyses, criteria = config.analyses, config.criteria
        name = analyses[place].kind if section == "analyses" else criteria[place].name
        where = [f"{section}.{place} ({name})", *filter(None, [dotted(tuple(rest))])]
        lines.append(": ".join([*where, message]))
    return lines


def find_faces(plan: Plan, *, progress: Progress, with_backbones: bool = False) -> Faces:
    """Read the labels, open every image once, draw, cluster, and leave out small intersections.

    With backbones, before any image is opened, it is also said what is wrong with these: where a
    file is missing, or the labels cannot be used.

    Raises:
        DataError: The source cannot be read, no image is usable, or every intersection is small.
        BackboneError: The file of a backbone is missing.
        ConfigError: An analysis asks for what these faces do not have, the declared plan of tests
            has too few draws, or several things are wrong.
    """
    with gathered(plan) if with_backbones else nullcontext():
        table = read_table(plan)
        refuse_unanswerable(plan, table)
        if with_backbones:
            for planned in filter(_lacks_files, plan.backbones):
                # Stops in the words of the source.
                planned.source.build(planned.params, True)  # noqa: FBT003
    faces = opened(plan, table, progress=progress)
    shown = without_small_intersections(faces, plan.config.small_groups.suppress_below)
    refuse_unanswerable(plan, shown.table)
    return shown


def read_table(plan: Plan) -> FaceTable:
    """Read the labels; no image is opened.

    Raises:
        DataError: The source cannot be read, or lists no usable image.
        ConfigError: The declared plan of tests has too few draws.
    """
    table = plan.source.read(plan.source_params)
    table = without_forgotten(table, plan.config.output.cache)
    refuse_too_few_draws(plan, table.attributes)
    return table


def opened(plan: Plan, table: FaceTable, *, progress: Progress) -> Faces:
    """Open every image once, draw and cluster; small intersections are still among them.

    Raises:
        DataError: No image is usable.
    """
    return prepare(
        table,
        plan.config.sampling,
        workers=plan.config.activations.workers,
        seed=plan.config.seed,
        cache=plan.config.output.cache,
        progress=progress,
    )


def refuse_too_few_draws(plan: Plan, attributes: Sequence[Attribute]) -> None:
    """Stop before the work when no test of the declared plan could ever reject.

    Raises:
        ConfigError: With the number of draws that are needed.
    """
    declared = plan.multiplicity(attributes)
    problems = [
        *too_few_draws(declared, attributes),
        *(
            f"analyses.{index} ({planned.kind}): {problem}"
            for index, planned in enumerate(plan.analyses)
            for problem in planned.analysis.too_few_draws(planned.params, declared, attributes)
        ),
    ]
    if problems and declared.scope == "audit":
        problems.append(
            f"multiplicity.scope: audit shares the error rate {plan.config.multiplicity.alpha:g} "
            f"among {plan.families(attributes)} families of tests, so each needs more draws; "
            "scope: family needs fewer"
        )
    if problems:
        raise ConfigError(problems, source=plan.config.source)


def refuse_unanswerable(
    plan: Plan,
    table: FaceTable,
    layers: tuple[str, ...] | None = None,
    *,
    backbone: str | None = None,
) -> None:
    """Stop before the work when an analysis or a criterion asks for what is not there.

    Raises:
        ConfigError: With every such problem.
    """
    problems = [
        f"analyses.{index} ({planned.kind}): {problem}"
        for index, planned in enumerate(plan.analyses)
        for problem in planned.analysis.problems(planned.params, table, layers)
    ]
    criteria = placed(plan.config.criteria)
    about_criteria = [
        *criterion_problems(criteria, table.attributes),
        *layer_problems(criteria, layers, backbone, joint=plan.joint_quantities),
    ]
    problems += _named(plan.config, about_criteria)
    if problems:
        raise ConfigError(problems, source=plan.config.source)


@contextmanager
def gathered(plan: Plan, table: FaceTable | None = None) -> Iterator[None]:
    """Where something inside cannot be used, look at all backbones before saying so.

    Raises:
        AuditError: What was raised inside; a `ConfigError` with all problems if there are more.
    """
    try:
        yield
    except AuditError as error:
        if error.exit_code != AuditError.exit_code:
            raise  # the machine refused, whatever the inputs are
        about = list(backbone_problems(plan, table))
        own = error.problems if isinstance(error, ConfigError) else (str(error),)
        others = [each for each in own if not any(each in problem for problem in about)]
        if len(others) + len(about) <= len(own):
            raise
        raise ConfigError([*others, *about], source=plan.config.source) from error


def backbone_problems(plan: Plan, table: FaceTable | None) -> Iterator[str]:
    """A message for every backbone that cannot be used; only missing weights are looked up."""
    seen: set[str] = set()
    for planned in plan.backbones:
        try:
            backbone = load_backbone(
                planned.kind, planned.source, planned.params, pretrained=_lacks_files(planned)
            )
            if table is not None:
                name = backbone.record.name
                refuse_unanswerable(plan, table, backbone.layers, backbone=name)
        except ConfigError as error:
            yield from (problem for problem in error.problems if problem not in seen)
            seen |= set(error.problems)
        except AuditError as error:
            yield f"backbones.{planned.entry} ({planned.kind}): {error}"


def _lacks_files(planned: PlannedBackbone) -> bool:
    values = dict(planned.params).values()
    paths = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
    return any(isinstance(path, Path) and not path.exists() for path in paths)
