"""What only people can say about an audit: printed as given, never used to compute anything."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

_LONGEST = 4000

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONGEST)]
"""Something said; what is not known is left out, not left empty."""


def _as_text(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


Limit = Annotated[
    Text,
    BeforeValidator(_as_text),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1, "maxLength": _LONGEST}),
]
"""A text that may be a number alone."""


def _no_number(value: object) -> object:
    if isinstance(value, int | float):  # would be read as seconds since 1970
        raise ValueError("expected a date such as 2024-07-12")  # noqa: TRY004  told by its key
    return value


Day = Annotated[datetime.date, BeforeValidator(_no_number)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Regulation(_Declared):
    """A law or standard, as the person who names it read it."""

    name: Text = Field(description='Such as "EU AI Act", "IEEE 7003", or an internal policy.')
    version: Text | None = Field(
        default=None, description="Which text was read, such as its number and amendments."
    )
    date: Day | None = Field(default=None, description="Of that text, as YYYY-MM-DD.")


class Scenario(_Declared):
    """One way in which bias could do harm, and how it is watched for."""

    group: Text | None = Field(default=None, description="Who could be harmed.")
    hazard: Text | None = Field(default=None, description="What could happen to them, and how.")
    metric: Text | None = Field(default=None, description="What would show it.")
    threshold: Limit | None = Field(default=None, description="From which value on, and why.")
    mitigation: Text | None = Field(default=None, description="What is done about it.")
    review_trigger: Text | None = Field(
        default=None, description="What makes people look at it again."
    )
    criteria: tuple[str, ...] = Field(
        default=(),
        description="Names of criteria of this config that test it; their verdicts are printed "
        "beside it.",
    )


class Declarations(_Declared):
    """Facts about an audit that no measurement gives; what is missing reads NOT PROVIDED."""

    responsible_person: Text | None = Field(
        default=None, description="Who answers for this audit: name and role."
    )
    organisation: Text | None = Field(default=None, description="On whose behalf.")
    purpose: Text | None = Field(default=None, description="Why the audit is made.")
    intended_use: Text | None = Field(
        default=None, description="Of the system the backbone is for: where, by and on whom."
    )
    downstream_task: Text | None = Field(
        default=None, description="What is to be computed from the backbone's activations."
    )
    legal_basis: Text | None = Field(
        default=None, description="For processing these images and labels."
    )
    data_collection: Text | None = Field(
        default=None, description="How the images came about, and what the people shown know."
    )
    pretraining_data: Text | None = Field(
        default=None, description="What the backbone was trained on."
    )
    impact_assessment: Text | None = Field(
        default=None, description="Where an assessment of the impact on people is filed."
    )
    acceptance_decision: Text | None = Field(
        default=None, description="What was decided on these results, by whom, and why."
    )
    mitigation: Text | None = Field(default=None, description="What is done about what was found.")
    residual_risk: Text | None = Field(
        default=None, description="What remains after that, and who accepts it."
    )
    regulations: tuple[Regulation, ...] = Field(
        default=(), description="The texts that were read, with version and date."
    )
    scenarios: tuple[Scenario, ...] = Field(default=(), description="Bias scenarios.")
