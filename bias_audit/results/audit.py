"""The result of an audit: frozen, serialisable, complete without the run that made it."""

from __future__ import annotations

from typing import Any, Literal

from bias_audit.config.schema import Declarations, Scenario
from bias_audit.groups import Group
from bias_audit.results.finding import Finding, Question
from bias_audit.results.selftest import SelfTest
from bias_audit.results.verdict import Verdict
from bias_audit.shapes.catalog import AnyBlock
from bias_audit.shapes.shape import Frozen

SCHEMA_VERSION: Literal[3] = 3
TOGETHER = "all backbones together"
"""Stands for a backbone's name where several were looked at as one."""


class AttributeRecord(Frozen):
    """An attribute as declared, and how its answers were read."""

    name: str
    levels: tuple[str, ...]
    form: Literal["", "one level", "several levels", "number in bins"] = ""
    """What an answer is; empty where the source does not say."""
    is_ordered: bool = False
    """Whether the order of the levels means something."""
    scale: str = ""
    """The scale that the levels are of, such as "Fitzpatrick"."""
    options: dict[str, tuple[str, ...]] = {}
    """Finer answers that count as a level, such as the subregions of a region, by level."""
    images: tuple[int, ...] = ()
    """Images used in each level, each counted once; empty where an older release wrote it."""
    several: int | None = None
    """Images used that count in more than one level; None where there are none."""
    withheld: int = 0
    """Images of the source whose people prefer not to say."""
    when_withheld: str = ""
    """What was done about these."""
    missing: int = 0
    """Images of the source without an answer."""
    when_missing: str = ""
    """What was done about these."""
    disagreement: float | None = None
    """Share of labels for which another annotator would give another level, where known."""
    contested: int | None = None
    """Images used whose annotators gave several levels, of which one is drawn for probes; None
    where there are none."""


class CellCount(Frozen):
    """Images of one intersection at each step from source to analysis."""

    group: Group
    found: int
    """Images in the source, without those found unusable or copies; not all need be opened."""
    used: int
    """Images the audit analysed, after sampling."""


class ExclusionReason(Frozen):
    """All images left out, or treated specially, for one reason."""

    reason: str
    """Such as "corrupt image" or "near duplicate"."""
    effect: str
    """What was done: "left out", "kept, in one fold with its twin", ..."""
    count: int
    examples: tuple[str, ...]
    """A few entries with detail; the run folder's exclusions.csv lists all."""


class DataRecord(Frozen):
    """The faces an audit rests on."""

    name: str
    kind: str
    attributes: tuple[AttributeRecord, ...]
    cells: tuple[CellCount, ...]
    n_images: int
    """Each counted once, however many answers it has."""
    n_usable: int | None = None
    """Usable images in the source, each counted once; None where an older release wrote it."""
    n_identities: int | None
    """Distinct annotated people; None where the source does not say."""
    n_without_identity: int | None = None
    """Images that do not say who is shown, each taken for a different person; None where the
    source names no one, or an older release wrote the result."""
    n_clusters: int
    """Sets of images kept together in folds: one person, or near duplicates."""
    effective_clusters: float | None = None
    """Clusters of equal size that these would be worth; None where an older release wrote it."""
    label_origin: str
    """How the labels came about."""
    licence: str
    cautions: tuple[str, ...]
    """What a reader must know before reading a number, such as that faces are renders."""
    notices: tuple[str, ...]
    """What was repaired on reading."""
    exclusions: tuple[ExclusionReason, ...]
    manifest_sha256: str
    """Over the sorted (image sha256, labels) of the images used."""
    images_sha256: str | None = None
    """Over the sorted image sha256 alone; None where an older release wrote the result."""


class LayerRecord(Frozen):
    """A layer as audited."""

    name: str
    n_units: int
    read: str = ""
    """What is read of its output, such as "the class token"; empty in older results."""


class BackboneRecord(Frozen):
    """The backbone an audit looked at."""

    name: str
    kind: str
    architecture: str
    weights: str
    """Tag, file name or package the weights came from."""
    weights_sha256: str
    """Over the state dict's names, shapes and bytes, so it does not depend on the container."""
    licence: str
    preprocessing: dict[str, Any]
    layers: tuple[LayerRecord, ...]
    overrides: dict[str, Any]
    """Module attributes set after building, such as {"layer2.0.conv1.stride": [2, 2]}."""
    key_problems: tuple[str, ...]
    """Weights of the file that had no place in the architecture, and the reverse."""
    n_parameters: int
    model_kwargs: dict[str, Any] = {}
    """Keyword arguments that the library built the architecture with, such as its input size."""
    reading: tuple[str, ...] = ()
    """How the weights and their preprocessing were found, in words."""
    assumed: tuple[str, ...] = ()
    """What neither the config nor the files say, in sentences: cautions of the audit."""


class StageCost(Frozen):
    """What one stage of an audit took."""

    stage: str
    """Such as "forward pass", or the kind of an analysis."""
    seconds: float
    images: int | None = None
    """That passed through a backbone, or were opened; None where a stage is not about images."""
    bytes: int | None = None
    """On disk because of this stage."""
    reused: bool = False
    """Whether what an earlier audit had stored was used instead of work."""


class AnalysisResult(Frozen):
    """What one analysis found on one backbone, or why it could not."""

    kind: str
    title: str
    question: Question = "groups"
    """Under which the report prints it."""
    params: dict[str, Any]
    status: Literal["done", "failed"]
    error: str | None = None
    blocks: tuple[AnyBlock, ...] = ()
    arrays: str = ""
    """Folder below the run's `arrays/` that the blocks' array keys are relative to."""
    findings: tuple[Finding, ...] = ()
    method: tuple[str, ...] = ()
    """Sentences for the report's method section."""
    limits: tuple[str, ...] = ()
    """Sentences for the report's limits section: what was not measured, what does not follow."""
    families: int | None = None
    """Families of tests, each with an error rate of its own, that were to decide what its findings
    claim; None where an older release made it."""
    seconds: float
    contributions: str | None = None
    """The entry of the cache that contains what single images contribute to its numbers; None
    where there is none, or an older release made it."""


class ControlRecord(Frozen):
    """Something else that was probed for the same labels, or could not be."""

    kind: str
    """ "random weights", "image quality" or "pixels"."""
    name: str
    absent: str | None = None
    """Why it could not be had; None if it was."""


class SubjectResult(Frozen):
    """One backbone seen through one dataset."""

    backbone: BackboneRecord
    analyses: tuple[AnalysisResult, ...]
    extraction: dict[str, Any]
    """Images, seconds, whether activations were reused, resumed at."""
    controls: tuple[ControlRecord, ...] = ()
    head: str | None = None
    """Name of the classification layer, if an analysis needs it."""
    without_head: str | None = None
    """Why there is none, if an analysis needs it."""
    costs: tuple[StageCost, ...] = ()
    """In the order of work."""


class Provenance(Frozen):
    """What a second person needs to repeat the audit."""

    started: str
    """ISO 8601, UTC."""
    seconds: float
    command: str
    versions: dict[str, str]
    hardware: dict[str, str]
    seed: int
    config_sha256: str
    fingerprints: dict[str, str] = {}
    """Of everything a result depends on, by kind, such as "images", "labels" and "code"; empty in
    results written before there were any."""
    extensions: dict[str, str] = {}
    """Package, version and digest of its files, of each plugin that is not built in, by what it
    is, such as "analysis my_analysis"."""
    costs: tuple[StageCost, ...] = ()
    """Of the stages that all backbones share."""


class AuditResult(Frozen):
    """Everything an audit found; `audit.json` is this, and the report is made from it alone."""

    schema_version: Literal[3] = SCHEMA_VERSION
    name: str
    description: str
    config: dict[str, Any]
    data: DataRecord
    subjects: tuple[SubjectResult, ...]
    together: tuple[AnalysisResult, ...] = ()
    """Of analyses of all backbones together."""
    verdicts: tuple[Verdict, ...] = ()
    """One per criterion of the config and backbone it is about."""
    provenance: Provenance
    selftest: SelfTest | None = None
    """Of the code that computed this; None where none was made."""

    @property
    def analysed(self) -> tuple[tuple[str, tuple[AnalysisResult, ...]], ...]:
        """Everything examined, with its analyses: every backbone, then all together."""
        each = tuple((subject.backbone.name, subject.analyses) for subject in self.subjects)
        return (*each, (TOGETHER, self.together)) if self.together else each

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a reader must know first: of the data, and what was assumed of a backbone."""
        assumed = (
            f"{subject.backbone.name}: {sentence}"
            for subject in self.subjects
            for sentence in subject.backbone.assumed
        )
        return (*self.data.cautions, *assumed)

    @property
    def families(self) -> int | None:
        """Families of tests of the whole audit; None where an older release made it."""
        counts = [analysis.families for _, analyses in self.analysed for analysis in analyses]
        return None if None in counts else sum(n for n in counts if n is not None)

    @property
    def failed(self) -> tuple[AnalysisResult, ...]:
        """Analyses that could not be computed."""
        return tuple(
            analysis
            for _, analyses in self.analysed
            for analysis in analyses
            if analysis.status == "failed"
        )


def declarations_of(result: AuditResult) -> Declarations:
    """The declarations of the config behind a result; all fields empty where it has none.

    Raises:
        ValueError: The config in the result is not one that this release wrote.
    """
    return Declarations.model_validate(result.config.get("declarations") or {})


def verdicts_of(scenario: Scenario, result: AuditResult) -> tuple[Verdict, ...]:
    """The verdicts on the criteria that test a scenario, in the order of the config."""
    return tuple(v for v in result.verdicts if v.criterion.name in scenario.criteria)
