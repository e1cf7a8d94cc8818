"""What users write of a model zoo: many backbones, one or more data sets, one procedure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bias_audit.config.schema import (
    Activations,
    AuditConfig,
    Changes,
    Component,
    Controls,
    Criterion,
    Declarations,
    Multiplicity,
    Output,
    Sampling,
    SmallGroups,
    Strict,
    UserPath,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class ZooDataset(Strict):
    """One data set that every backbone is audited on."""

    name: Name
    data: Component
    sampling: Sampling = Sampling()
    criteria: tuple[Criterion, ...] = Field(
        (), description="Further criteria, for this data set alone."
    )


class ZooBackbone(Component):
    """One backbone, or all that match a pattern; the other keys are those of its source."""

    kind: str = Field(description="Name of a backbone source.")
    match: str | None = Field(
        None,
        min_length=1,
        description="Every backbone of the source whose name, or file, matches: * and ? stand "
        'for other characters, as in "resnet*_in1k".',
    )
    leave_out: tuple[str, ...] = Field(
        (), description="Patterns of names, or files, to leave out of what matches."
    )
    label: Name | None = Field(
        None,
        description="What the zoo calls a single backbone; default: its name. Keep it when a file "
        "moves, so that its audits stay one history.",
    )

    @model_validator(mode="after")
    def _pattern_or_label(self) -> ZooBackbone:
        if self.match is not None and self.label is not None:
            raise ValueError("expected label for a single backbone only, got it beside match")
        if self.leave_out and self.match is None:
            raise ValueError("expected leave_out beside match only; without, leave the entry out")
        return self


class Retention(Strict):
    """Which run folders `zoo prune` keeps; the history keeps the numbers of all."""

    audits: int = Field(
        5, ge=1, description="How many of the newest audits of each backbone and data set to keep."
    )
    days: int | None = Field(
        None, ge=1, description="Also keep every audit that is younger than this many days."
    )
    cache_days: int | None = Field(
        None,
        ge=1,
        description="Delete activations and intermediate results that no audit has used for this "
        "many days; default: never.",
    )


Kind = Literal["weights", "images", "labels", "config", "code", "packages"]
"""What an audit rests on."""


class Policy(Strict):
    """When an audit is repeated, and what stops a pipeline."""

    stale_on: tuple[Kind, ...] = Field(
        ("weights", "images", "labels", "config", "code", "packages"),
        description="An audit is stale when one of these changed.",
    )
    max_age_days: float | None = Field(
        None, gt=0, description="Repeat audits that are older, even if nothing changed."
    )
    inconclusive: Literal["fails", "passes"] = Field(
        "fails", description="Whether inconclusive criteria alone make the command end with 3."
    )
    keep: Retention = Retention()


class ZooOutput(Output):
    """Where results go."""

    cache: UserPath = Field(
        Path("runs/cache"),
        description="Folder of activations that all audits share; safe to delete.",
    )
    formats: tuple[Literal["html", "pdf"], ...] = Field(
        ("html",),
        description="Reports of each audit to write; with none, `bias-audit render` writes "
        "them later.",
    )


class ZooConfig(Strict):
    """A model zoo that is audited again and again."""

    name: Name = Field(description="Of the zoo and its folder.")
    description: str = Field("", description="One line for the zoo's report.")
    seed: int = Field(0, ge=0, description="The same seed gives the same numbers.")
    datasets: tuple[ZooDataset, ...] = Field(min_length=1)
    backbones: tuple[ZooBackbone, ...] = Field(min_length=1)
    activations: Activations = Activations()
    controls: Controls = Controls()
    analyses: tuple[Component, ...] = Field(min_length=1)
    multiplicity: Multiplicity = Multiplicity()
    small_groups: SmallGroups = SmallGroups()
    criteria: tuple[Criterion, ...] = ()
    declarations: Declarations | None = None
    changes: Changes = Changes()
    policy: Policy = Policy()
    executor: Component = Component(kind="local")
    output: ZooOutput = ZooOutput()

    @property
    def folder(self) -> Path:
        """Where the zoo's history, report and audits are."""
        return self.output.folder or Path("runs") / self.name

    def audit(self, dataset: ZooDataset, backbone: Component, *, name: str) -> AuditConfig:
        """The config of the audit of one backbone on one of the zoo's data sets."""
        shared = AuditConfig.model_fields.keys() & ZooConfig.model_fields.keys()
        return AuditConfig.model_validate(
            {key: getattr(self, key) for key in shared}
            | {
                "name": name,
                "data": dataset.data,
                "sampling": dataset.sampling,
                "backbones": (backbone,),
                "criteria": (*self.criteria, *dataset.criteria),
                "output": self.output.model_dump(exclude={"folder"}),
            }
        )
