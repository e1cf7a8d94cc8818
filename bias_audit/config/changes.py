"""How audits are compared: which change matters, which way is better, what stops a pipeline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Better = Literal["higher", "lower"]
FailOn = Literal["worse", "changed", "undecided"]
Margin = Annotated[float, Field(gt=0)]


class Changes(BaseModel):
    """The plan for comparing an audit with another, declared before it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    margin: Margin = Field(
        default=0.02,
        description="Changes smaller than this do not matter: an interval within it on both sides "
        "of 0 is called equivalent.",
    )
    rationale: str = Field(
        default="Two hundredths of an AUC, an accuracy or a recall: one image more or less of "
        "fifty that is told rightly. A convention, chosen without knowledge of the use; declare "
        "your own.",
        pattern=r"\S",
        description="Why this margin; printed beside the comparison.",
    )
    margins: dict[str, Margin] = Field(
        default_factory=lambda: {"bits": 0.05},
        description='Of single quantities, such as {"recall": 0.05}.',
    )
    better: dict[str, Better] = Field(
        default_factory=dict,
        description='Which way a quantity improves, such as {"macro_auc": "lower"}; what is not '
        "named here follows the criteria (at_most: lower, at_least: higher), or is only called "
        "higher or lower.",
    )
    level: float = Field(
        default=0.95, gt=0.5, lt=1, description="Coverage of the intervals of differences."
    )
    fail_on: tuple[FailOn, ...] = Field(
        default=(), description="What makes `bias-audit diff` fail: worse, changed, undecided."
    )

    def margin_of(self, quantity: str) -> float:
        """The margin of a quantity."""
        return self.margins.get(quantity, self.margin)
