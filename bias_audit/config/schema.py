"""The shape of an audit config. Unknown keys are refused everywhere."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

import bias_audit

Better = Literal["higher", "lower"]
FailOn = Literal["worse", "changed", "undecided"]
Margin = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Frozen, with unknown keys refused; the base of every config section and plugin's params."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class Changes(Strict):
    """The plan for comparing an audit with another, declared before it is made."""

    margin: Margin = Field(
        0.02,
        description="Changes smaller than this do not matter: a change whose interval lies within "
        "this distance of 0 is called equivalent.",
    )
    rationale: str = Field(
        "Two hundredths of an AUC, an accuracy or a recall, such as one image in fifty that is "
        "recognised or no longer recognised. This is a convention, chosen without knowledge of "
        "the use; declare your own.",
        pattern=r"\S",
        description="Why this margin is right for the use; printed beside the comparison.",
    )
    margins: dict[str, Margin] = Field(
        default_factory=lambda: {"bits": 0.05},
        description='Margins of single quantities, such as {"recall": 0.05}.',
    )
    better: dict[str, Better] = Field(
        default_factory=dict,
        description='Which way a quantity improves, such as {"macro_auc": "lower"}. Other '
        "quantities follow the criteria (at_most: lower, at_least: higher); without any, their "
        "changes are only called higher or lower.",
    )
    level: float = Field(
        0.95, gt=0.5, lt=1, description="Coverage of the intervals of differences."
    )
    fail_on: tuple[FailOn, ...] = Field(
        (), description="Changes that make `bias-audit diff` fail: worse, changed, undecided."
    )

    def margin_of(self, quantity: str) -> float:
        """The margin of a quantity."""
        return self.margins.get(quantity, self.margin)


_LONGEST = 4000

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONGEST)]
"""Something said; what is not known is left out, not left empty."""


def _as_text(value: object) -> object:
    is_one = isinstance(value, int | float | datetime.date) and not isinstance(value, bool)
    return str(value) if is_one else value


TextOrNumber = Annotated[
    Text,
    BeforeValidator(_as_text),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1, "maxLength": _LONGEST}),
]
"""A text that may be a number or a date alone."""


def _no_number(value: object) -> object:
    if isinstance(value, int | float):  # would be read as seconds since 1970
        raise ValueError("expected a date such as 2024-07-12")  # noqa: TRY004  the message names its key
    return value


Day = Annotated[datetime.date, BeforeValidator(_no_number)]


class Regulation(Strict):
    """A law or standard, as the person who names it read it."""

    name: Text = Field(description='Such as "EU AI Act", "IEEE 7003", or an internal policy.')
    version: Text | None = Field(
        None, description="Version that was read, such as its number and amendments."
    )
    date: Day | None = Field(None, description="Date of that version, as YYYY-MM-DD.")


class Scenario(Strict):
    """One way in which bias could do harm, and how it is watched for."""

    group: Text | None = Field(None, description="Who could be harmed.")
    hazard: Text | None = Field(None, description="What could happen to them, and how.")
    metric: Text | None = Field(None, description="What measurement would show it.")
    threshold: TextOrNumber | None = Field(
        None, description="Value from which it counts, and why."
    )
    mitigation: Text | None = Field(None, description="What is done about it.")
    review_trigger: Text | None = Field(None, description="What would make people review it.")
    criteria: tuple[str, ...] = Field(
        (),
        description="Names of the criteria of this config that test it; the report prints their "
        "verdicts beside it.",
    )


class Declarations(Strict):
    """Facts about an audit that no measurement gives; what is missing reads NOT PROVIDED."""

    document_version: TextOrNumber | None = Field(
        None, description="Version of the report in your own numbering, such as 1.2."
    )
    status: Literal["draft", "final"] = Field(
        "draft", description='Status of the report: "draft" until it is approved.'
    )
    change_log: Text | None = Field(
        None, description="What changed since the previous version of the report."
    )
    next_review: TextOrNumber | None = Field(
        None, description="When, or on what occasion, the audit is to be repeated."
    )
    responsible_person: Text | None = Field(
        None, description="Who is responsible for this audit: name and role."
    )
    organisation: Text | None = Field(
        None, description="Organisation on whose behalf the audit is made."
    )
    purpose: Text | None = Field(None, description="Why the audit is made.")
    intended_use: Text | None = Field(
        None, description="Of the system the backbone is for: where, by and on whom."
    )
    downstream_task: Text | None = Field(
        None, description="What is to be computed from the backbone's activations."
    )
    stakeholders: Text | None = Field(
        None, description="Who is affected, who influences the system, and who was consulted."
    )
    legal_basis: Text | None = Field(None, description="For processing these images and labels.")
    consent: Text | None = Field(
        None, description="Whether the people shown agreed to this use of their images, and how."
    )
    sensitive_data_necessity: Text | None = Field(
        None,
        description="Why labels such as race are strictly necessary to find bias, and why other "
        "data would not do.",
    )
    sensitive_data_retention: Text | None = Field(
        None, description="How long such labels are kept, and when they are deleted."
    )
    data_collection: Text | None = Field(
        None, description="How the images came about, and what the people shown know."
    )
    pretraining_data: Text | None = Field(None, description="What the backbone was trained on.")
    impact_assessment: Text | None = Field(
        None, description="Where an assessment of the impact on people is filed."
    )
    acceptance_decision: Text | None = Field(
        None, description="What was decided on these results, by whom, and why."
    )
    mitigation: Text | None = Field(None, description="What is done about what was found.")
    residual_risk: Text | None = Field(
        None, description="What remains after that, and who accepts it."
    )
    regulations: tuple[Regulation, ...] = Field(
        (), description="The texts that were read, with version and date."
    )
    scenarios: tuple[Scenario, ...] = Field((), description="Bias scenarios.")


_SHIPPED: Final = "shipped:"


def _expand(value: object) -> object:
    if not isinstance(value, str):
        return value
    if "\0" in value:
        raise ValueError("expected a path without a null character")
    if value.startswith(_SHIPPED):
        return Path(bias_audit.__file__).resolve().parent / value.removeprefix(_SHIPPED)
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # pydantic reports a ValueError with the key it stands at
        raise ValueError(
            f"expected ~ for your own folder, or ~ and the name of a user, got {value!r}; write "
            "the folder out, or ./ before a name that begins with ~"
        ) from error


UserPath = Annotated[Path, BeforeValidator(_expand)]
"""A path as users write it: "~" is their home, "shipped:" the folder of this package, and relative
means from the current folder."""


FontPaths = Annotated[
    tuple[UserPath, ...],
    Field(
        description="Font files (.ttf, .otf, .ttc) for scripts that the bundled DejaVu lacks, "
        "such as NotoSansCJK-Regular.ttc; the PDF and figures use them in this order. Without "
        "any effect on a number."
    ),
]


class Component(BaseModel):
    """A plugin by kind, with its parameters beside it; the plugin's own model checks those."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = Field(description="Name of a module in the plugin's folder.")

    @property
    def params(self) -> dict[str, Any]:
        """Everything but the kind."""
        return dict(self.model_extra or {})


class UnrecordedIdentity(Strict):
    """What is done where the data set does not say who is shown."""

    chance: float = Field(
        0.02,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Two images count as one person when fewer images of other people than this "
        "are expected to be as similar; 0: no two do.",
    )
    embedding: UserPath | None = Field(
        None,
        description="An .npz file with a face embedding of every image, to compare images by: "
        '"sha256" (of the image\'s bytes, as text) and "vectors" (a row for each); default: '
        "the activations of the first backbone.",
    )


class Sampling(Strict):
    """How images are drawn from the source."""

    max_per_intersection: int | None = Field(
        None, ge=1, description="Draw at most this many images per intersection."
    )
    near_duplicates: bool = Field(
        default=True, description="Look for near duplicates and keep each set within one fold."
    )
    max_identity_share: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Warn if one identity has more than this share of the images, which suggests "
        "a placeholder; does not affect results.",
    )
    unrecorded_identity: UnrecordedIdentity = UnrecordedIdentity()


class Activations(Strict):
    """How images pass through the backbone."""

    batch_size: int = Field(32, ge=1, description="Images that pass at once.")
    workers: int = Field(2, ge=1, description="Threads that decode images.")
    device: str = Field("auto", description='"auto", "cpu", "cuda", "cuda:1", "mps".')
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Of products and convolutions in the forward pass; sums and what is recorded "
        "stay float32.",
    )
    compiled: bool = Field(
        default=False,
        description="Compile the backbone with torch.compile, which takes a minute at its start.",
    )
    tolerance: float = Field(
        0.01,
        gt=0,
        le=0.1,
        description="Largest error of a layer that reduced precision or compiling may cause, as a "
        "share of how much its activations differ between images; the first images are checked, "
        "and a backbone beyond it is refused.",
    )
    positions: int = Field(
        0, ge=0, le=8, description="Also keep feature maps, reduced to at most this side; 0: no."
    )
    reduction: Literal["mean", "sample"] = Field(
        "mean",
        description="Of feature maps: the mean of each window, or the activation in its middle.",
    )
    aligned: bool = Field(
        default=False,
        description="Shift the feature maps of every image so that the position that matters most "
        "for the class it is given is in the centre; takes a backward pass more.",
    )

    @model_validator(mode="after")
    def _aligned_positions(self) -> Activations:
        if self.aligned and not self.is_plain:
            raise ValueError(
                "aligned: expected the plain forward pass, whose gradients say which position "
                "matters; leave out precision and compiled"
            )
        if self.aligned and not self.positions:
            raise ValueError(
                "aligned: expected feature maps, which are not recorded with positions: 0; set "
                "positions: 8"
            )
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the forward pass is that of the weights as they are, in float32."""
        return self.precision == "float32" and not self.compiled

    @property
    def forward(self) -> str:
        """How the backbone runs, in words."""
        return f"{self.precision}, compiled" if self.compiled else self.precision

    def without_positions(self) -> Activations:
        """The same for what is probed alone: probes read no feature maps."""
        return self.model_copy(update={"positions": 0, "aligned": False})


class Controls(Strict):
    """Baselines for the same labels: attributes must be easier to read from a layer than here."""

    shuffles: int = Field(
        3, ge=1, le=100, description="How often every probe is fitted again, to shuffled labels."
    )
    refits: int = Field(
        2,
        ge=0,
        le=20,
        description="How often every probe is fitted again with other folds, which measures how "
        "much a number varies when nothing changes; 0: never.",
    )
    random_weights: int = Field(
        3,
        ge=0,
        le=10,
        description="How many copies of the backbone with random weights are measured; their "
        "spread enters the lift. 1: the lift is over that copy alone; 0: none.",
    )
    image: bool = Field(
        default=True, description="Also probe pixels and image quality, without a backbone."
    )
    reference: UserPath | None = Field(
        None,
        description="Folder of images without labels, with which analyses of the classification "
        "layer may compare.",
    )


class Output(Strict):
    """Where results go."""

    folder: UserPath | None = Field(None, description='Default: "runs/<name>".')
    cache: UserPath = Field(
        Path("runs/cache"),
        description="Folder of activations that later audits reuse; safe to delete.",
    )
    formats: tuple[Literal["html", "pdf"], ...] = Field(
        ("html", "pdf"),
        description="Reports to write; with none, `bias-audit render` writes them later.",
    )
    fonts: FontPaths = ()


class Multiplicity(Strict):
    """The plan for many tests, declared before any of them is made."""

    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Accepted rate of false claims, for each family of tests or for the audit.",
    )
    scope: Literal["family", "audit"] = Field(
        "family",
        description='"family": each family of tests has the error rate alpha. "audit": alpha is '
        "shared evenly among all families of all backbones, so that it is the chance of any false "
        "claim in the whole audit (Bonferroni).",
    )
    discovery: Literal["benjamini_hochberg", "holm", "max_t"] = Field(
        "benjamini_hochberg", description="Adjustment of p-values that suggest what to look into."
    )
    verdicts: Literal["holm", "max_t"] = Field(
        "max_t",
        description="Adjustment of p-values that decide what a finding claims; both limit the "
        "chance of any false claim in a family to alpha. Criteria use Holm through intervals.",
    )
    gatekeeping: bool = Field(
        default=True,
        description="Test single attributes, pairs and intersections only where the test before "
        "them was significant.",
    )
    draws: int | None = Field(
        None,
        ge=19,
        le=1_000_000,
        description="Resampling draws behind each p-value; default: as many as the largest "
        "family needs, at least 1999.",
    )


class SmallGroups(Strict):
    """What is done about groups of few images."""

    minimum: int = Field(
        10,
        ge=1,
        description="A group with fewer independent images is small; images of one person, and "
        "near duplicates, count once.",
    )
    policy: Literal["shrink", "suppress", "pool"] = Field(
        "shrink",
        description='What is done about small groups. "shrink": print the value beside one pulled '
        'towards what the attributes predict; "suppress": print no value; "pool": measure them '
        "together as one group.",
    )
    suppress_below: int = Field(
        5,
        ge=1,
        description="No printed value rests on fewer independent images, whatever the policy, or "
        "can be derived from printed ones: images of smaller intersections are left out of the "
        "audit. 1: none are left out.",
    )

    @model_validator(mode="after")
    def _suppressed_are_small(self) -> SmallGroups:
        if self.suppress_below > self.minimum:
            raise ValueError(
                f"expected suppress_below to be at most minimum ({self.minimum}), got "
                f"{self.suppress_below}; raise minimum or lower suppress_below"
            )
        return self


class Criterion(Strict):
    """An acceptance threshold, which an audit decides: PASS, FAIL or INCONCLUSIVE."""

    name: str = Field(pattern=r"\S", max_length=80, description="Unique; names the verdict.")
    quantity: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        description='What is compared: "macro_auc", "balanced_accuracy", "bits", "recall", ...',
    )
    of: Literal["estimate", "lift"] = Field(
        "estimate",
        description='"lift": the estimate minus the strongest baseline, where there are some.',
    )
    target: str = Field(description='An attribute, or "intersection".')
    layer: str = Field(
        "every", description='"every", "best" (where the estimate is highest), "last", or a layer.'
    )
    groups: dict[str, str] | None = Field(
        None, description="Only groups that have these levels, by attribute; default: all."
    )
    at_most: float | None = Field(None, description="The highest value that passes.")
    at_least: float | None = Field(None, description="The lowest value that passes.")
    within: tuple[float, float] | None = Field(None, description="[lowest, highest].")
    level: float = Field(0.95, ge=0.5, lt=1, description="Coverage of the intervals that decide.")
    backbones: tuple[str, ...] | None = Field(
        None, min_length=1, description="Only backbones of these names; default: all."
    )
    rationale: str = Field(
        pattern=r"\S",
        description="Why this margin is right for the use; printed beside the verdict.",
    )

    @model_validator(mode="after")
    def _one_margin(self) -> Criterion:
        margins = ("at_most", "at_least", "within")
        given = [name for name in margins if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise ValueError(f"expected exactly one of at_most, at_least and within, got {got}")
        if self.within is not None and self.within[0] >= self.within[1]:
            raise ValueError("within: expected [lowest, highest], the lowest first")
        return self

    @property
    def margin(self) -> tuple[float | None, float | None]:
        """Lowest and highest value allowed; None where there is no bound."""
        return self.within or (self.at_least, self.at_most)


class AuditConfig(Strict):
    """One audit: one dataset, one or more backbones, and the analyses of each."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="Of the audit and its run folder: letters, digits and _ . - alone.",
    )
    description: str = Field("", description="One line for the cover of the report.")
    seed: int = Field(0, ge=0, description="The same seed gives the same numbers.")
    data: Component
    sampling: Sampling = Sampling()
    backbones: tuple[Component, ...] = Field(min_length=1)
    activations: Activations = Activations()
    controls: Controls = Controls()
    analyses: tuple[Component, ...] = Field(min_length=1)
    multiplicity: Multiplicity = Multiplicity()
    small_groups: SmallGroups = SmallGroups()
    output: Output = Output()
    criteria: tuple[Criterion, ...] = ()
    changes: Changes = Field(
        Changes(),
        description="How this audit is compared with an earlier one; does not affect results.",
    )
    declarations: Declarations | None = Field(
        None,
        description="Information from your organisation; printed in the report, not verified, and "
        "without effect on results.",
    )

    _file: str = PrivateAttr(default="")

    @property
    def source(self) -> str:
        """The file that it was read from, for messages; its name where there was none."""
        return self._file or self.name

    def read_from(self, file: Path) -> Self:
        """The same config, which knows its file."""
        self._file = str(file)
        return self

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.output.folder or Path("runs") / self.name
