"""The shapes in which analyses speak; the report knows nothing else.

Missing is None, never NaN. Arrays do not travel inside blocks: a block holds the key under which
the run's store keeps them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bias_audit.groups import Group
from bias_audit.statistics.estimate import Estimate


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Block(_Frozen):
    detail: bool | None = None
    """Whether paper may leave it to the HTML report, because another block of its analysis carries
    the message; None where the analysis does not say."""


class ControlPoint(_Frozen):
    """One control of one point: the same procedure on something that is not the layer."""

    name: str
    """Such as "shuffled labels", "random weights", "pixels"."""
    estimate: Estimate
    lift: Estimate
    """The point's estimate minus this one, paired."""


class CurvePoint(_Frozen):
    """One layer of one target."""

    layer: str
    estimate: Estimate | None
    """None where it could not be measured; `Curve.not_measured` says why."""
    controls: tuple[ControlPoint, ...] = ()
    lift: Estimate | None = None
    """Estimate minus the strongest control, or minus guessing where no control does better."""
    strongest: str | None = None
    """Name of the control that `lift` is over; "guessing" where none does better."""
    p_value: float | None = None
    """That the estimate exceeds every control and guessing by chance, unadjusted."""
    adjusted_p: float | None = None
    """Adjusted for all layers and targets of the family."""


class RefitNoise(_Frozen):
    """How much estimates move when the same probes are fitted to the same images anew."""

    sd: float
    """Standard deviation over fits with different folds, pooled over layers."""
    relative: float
    """The same as a share of the estimates' standard error, pooled alike."""
    refits: int
    """Fits of each layer beyond the one that is reported."""
    layers: int


class Curve(_Frozen):
    """One target over the layers, in order of depth."""

    target: str
    """An attribute's name, or "intersection"."""
    points: tuple[CurvePoint, ...]
    not_measured: str | None = None
    """Why no point has an estimate."""
    noise: RefitNoise | None = None
    """None where nothing was fitted anew."""
    choice: float | None = None
    """Share of the error rate that is left to the interval of a layer chosen by its estimate; None
    where an earlier release made the curve, for one share for each layer."""


class LayerCurve(_Block):
    """A metric of every target at every layer, against its controls."""

    block: Literal["layer_curve"] = "layer_curve"
    title: str
    quantity: str
    """What criteria call it: "macro_auc", "balanced_accuracy", "bits"."""
    metric: str
    """Name for an axis, such as "macro one-vs-rest AUC"."""
    chance: dict[str, float]
    """Value by target that guessing gives."""
    curves: tuple[Curve, ...]


class GroupRow(_Frozen):
    """One group; `estimate` is None where it could not be measured and `reason` says why."""

    group: Group
    n: int
    estimate: Estimate | None
    reason: str | None = None
    by_chance: float | None = None
    """What the group would get if predictions did not depend on the image: for recall, the share
    of all predictions that name the group."""
    shrunk: Estimate | None = None
    """The estimate drawn towards what its attributes predict; see `GroupTable.shrinkage`."""
    p_value: float | None = None
    """Of no effect in this group, unadjusted."""
    adjusted_p: float | None = None
    """Adjusted for the family that the table belongs to."""


class GroupTable(_Block):
    """A metric of every declared group, empty ones included."""

    block: Literal["group_table"] = "group_table"
    title: str
    quantity: str
    """What criteria call it: "recall", "within_auc", "interaction", ..."""
    metric: str
    layer: str
    target: str
    chance: float | None
    rows: tuple[GroupRow, ...]
    shrinkage: str | None = None
    """How `GroupRow.shrunk` was made; None where no row has one."""


class GroupPair(_Frozen):
    """Two groups of a matrix, by their places in it."""

    one: int
    other: int
    estimate: Estimate


class GroupMatrix(_Block):
    """A number for every ordered pair of groups, such as the distance of their profiles."""

    block: Literal["group_matrix"] = "group_matrix"
    title: str
    metric: str
    layer: str
    groups: tuple[Group, ...]
    """In the order in which rows and columns are drawn."""
    values: str
    """Array key: (n_groups, n_groups), float; NaN only on disk, for groups without images."""
    pairs: tuple[GroupPair, ...] = ()
    """With intervals: all pairs of few groups, else the nearest and the farthest."""
    tree: str | None = None
    """Array key: (n_drawn - 1, 4), scipy's linkage of the groups that have numbers, numbered in
    the order of `groups`; None where there is no dendrogram."""
    undrawn_tree: str | None = None
    """Array key: the same of more groups than a dendrogram can name, in their declared order."""
    bounds: str | None = None
    """Array key: (2, n_groups, n_groups), lower and upper ends of the intervals."""


class LayerPair(_Frozen):
    """How alike two layers are."""

    one: str
    other: str
    estimate: Estimate


class LayerMatrix(_Block):
    """A number for every pair of layers, such as how alike they arrange the groups."""

    block: Literal["layer_matrix"] = "layer_matrix"
    title: str
    metric: str
    layers: tuple[str, ...]
    """In order of depth."""
    pairs: tuple[LayerPair, ...]
    """Every pair of different layers that could be compared, the earlier layer first."""


class AttributeShare(_Frozen):
    """How much of the differences between maps goes with one attribute."""

    attribute: str
    share: Estimate
    """Of the variance of the profiles of intersections, explained by the attribute's main
    effect."""


class EarlierMap(_Frozen):
    """How a layout lies beside that of the same layer in an earlier audit."""

    run: str
    """Name of the earlier audit."""
    folder: str
    """Name of its run folder."""
    started: str
    """ISO 8601, UTC."""
    backbone: str
    weights_sha256: str
    has_same_weights: bool
    layout: str
    """How units were placed there."""
    limit: float
    """End of its colour scale."""
    own_limit: float | None = None
    """What the end of this audit's colour scale would be without the earlier one."""
    disparity: float
    """Procrustes disparity of the two layouts: 0 for one shape, 1 for unrelated ones."""
    by_chance: tuple[float, float]
    """Central 95 % of the disparity with units shuffled."""
    p_value: float
    """Of a disparity as small with units shuffled."""
    alpha: float
    """The largest p-value of a match."""
    draws: int
    is_match: bool
    """Whether units match better than by chance."""
    places: Literal["turned", "taken", "own"]
    """Of the maps: this audit's layout turned like the earlier one, the earlier places
    themselves, or this audit's layout as it came, since it does not match."""
    shift: float
    """Median distance of a unit from its earlier place, in sides of the map, once turned."""
    shift_by_chance: float
    """The same with units shuffled."""


class UnitMap(_Block):
    """Group profiles drawn over one layout of a layer's units."""

    block: Literal["unit_map"] = "unit_map"
    title: str
    layer: str
    layout: str
    """How units were placed, such as "UMAP (cosine), refined by particle swarm"."""
    n_units: int
    n_silent: int
    """Units whose signature is zero for every group: they carry no information for the layout."""
    groups: tuple[Group, ...]
    counts: tuple[int, ...]
    """Images per group, in the order of `groups`; 0 for an empty one, which has no map."""
    limit: float
    """Colours run from -limit to +limit for every group of the layer."""
    positions: str
    """Array key: (n_units, 2) in [0, 1], float."""
    values: str
    """Array key: (n_groups, n_units), contrasted spatial-mean profiles, float."""
    rasters: str
    """Array key: (n_groups, 100, 100), interpolated values, row 0 at the bottom, float."""
    shares: tuple[AttributeShare, ...] = ()
    """One per attribute, where the groups are the levels of every attribute."""
    earlier: EarlierMap | None = None
    """Beside which the layout was laid, where the groups are the levels of every attribute."""


class MapRegion(_Frozen):
    """Neighbouring units at which two groups differ in one direction."""

    n_units: int
    units: tuple[int, ...]
    """The strongest, by index."""
    is_higher: bool
    """Whether the first group's mean is the higher one."""
    effect: Estimate | None
    """Standardised mean difference; `DifferenceMap.effect` says over which images and units."""
    p_value: float
    adjusted_p: float
    """Over the regions of the map and the maps of the layer."""


class GroupDifference(_Frozen):
    """One group against another at every unit of a layer."""

    attribute: str
    one: str
    """A level."""
    other: str | None
    """A level; None: all others."""
    counts: tuple[int, int]
    """Images of each group; 0 where the map could not be drawn."""
    tested: tuple[int, int]
    """Of them, images that the test saw."""
    n_fixed: int = 0
    """Of the images tested, those whose label no permutation can change."""
    adjusted_p: float | None = None
    """Of no difference anywhere on the map, over the maps of the layer; None: not tested."""
    n_units: int = 0
    """In regions that are rejected."""
    n_regions: int = 0
    """Rejected."""
    regions: tuple[MapRegion, ...] = ()
    """The strongest, smallest p first; those that are not rejected included."""
    reason: str | None = None
    """Why it was not drawn or not tested."""

    @property
    def is_against_rest(self) -> bool:
        """Whether the second group is all other levels of the attribute."""
        return self.other is None

    @property
    def label(self) -> str:
        """Such as "70+ against all others"."""
        return f"{self.one} against {self.other or 'all others'}"


class DifferenceMap(_Block):
    """Differences of two groups, drawn over the layout of a layer, with a test of where."""

    block: Literal["difference_map"] = "difference_map"
    title: str
    layer: str
    layout: str
    n_units: int
    limit: float
    """Colours run from -limit to +limit standard deviations within groups, for every map."""
    test: str
    """How regions were found and tested, in a sentence; empty where they were not."""
    effect: str
    """What the effects of regions are, in a sentence."""
    alpha: float
    draws: int | None
    """Permutations; None where nothing was tested."""
    smallest_p: float | None
    """The smallest adjusted p-value that a single map can attain with so many permutations."""
    differences: tuple[GroupDifference, ...]
    positions: str
    """Array key: (n_units, 2) in [0, 1], float."""
    values: str
    """Array key: (n_differences, n_units), standardised mean differences, float."""
    p_values: str
    """Array key: (n_differences, n_units), adjusted p of the unit's region, 1 outside regions;
    NaN only on disk, for maps that were not tested."""
    rasters: str
    """Array key: (n_differences, 100, 100), interpolated values, row 0 at the bottom, float."""
    masks: str
    """Array key: (n_differences, 100, 100), the direction of the nearest unit's region, +1 or -1,
    where that is rejected, else 0, float."""


class Confusion(_Frozen):
    """How often faces annotated as one group were predicted as another."""

    true: Group
    predicted: Group
    count: int
    n_true: int
    share: Estimate
    """count / n_true."""
    changed: tuple[str, ...]
    """Attributes in which the two groups differ."""


class ConfusionClass(_Frozen):
    """All confusions that change the same set of attributes."""

    changed: tuple[str, ...]
    count: int
    share: Estimate
    """Of all confusions."""
    expected: float
    """Share that would be seen if a wrong prediction fell on any other group as often as that
    group is predicted at all."""


class Confusions(_Block):
    """The most frequent confusions of a probe, and which attributes changed in all of them."""

    block: Literal["confusions"] = "confusions"
    title: str
    layer: str
    n_images: int
    n_confused: int
    most_frequent: tuple[Confusion, ...]
    classes: tuple[ConfusionClass, ...]


class ProfileRow(_Frozen):
    """How far one group's profile lies from the mean over groups."""

    group: Group
    n: int
    deviation: Estimate | None
    """Root mean square over units of (profile - mean over groups) / pooled within-group sd."""
    strongest_units: tuple[tuple[int, float], ...]
    """(unit index, standardised contrast), strongest first."""
    reason: str | None = None


class GroupProfiles(_Block):
    """Profiles of every group at one layer."""

    block: Literal["group_profiles"] = "group_profiles"
    title: str
    layer: str
    rows: tuple[ProfileRow, ...]
    means: str
    """Array key: (n_groups, n_units), mean activation; NaN only on disk, for empty groups."""
    deviations: str
    """Array key: (n_groups, n_units), sample standard deviation."""


class HypothesisFamily(_Frozen):
    """Hypotheses that were declared together and are adjusted together."""

    name: str
    """Such as "cells"."""
    n_hypotheses: int
    """Declared, those that could not be measured included."""
    n_tested: int
    """With a p-value."""
    method: str
    """Such as "single-step max-T"."""
    controls: str
    """What the method keeps at alpha: "family-wise error rate", "false discovery rate"."""
    alpha: float
    draws: int | None
    """Resampling draws; None where p-values come from a formula."""
    smallest_p: float | None
    """The smallest adjusted p-value that a single effect can attain with so many draws."""
    rejected: int | None
    """None where the family was not tested."""
    is_open: bool
    """Whether the gate before it let the family be tested."""
    gate: str
    """Why: such as "something was rejected in marginals"."""


class HypothesisFamilies(_Block):
    """The declared plan of tests, and what became of each family."""

    block: Literal["test_families"] = "test_families"
    title: str
    families: tuple[HypothesisFamily, ...]
    """In the order in which they are tested."""


class GroupLedgerEntry(_Frozen):
    """One group that is not reported like the others."""

    group: Group
    n: int
    """Independent images."""
    action: Literal["shrunk", "suppressed", "pooled"]
    reason: str
    effect: str
    """On the numbers printed."""


class GroupLedger(_Block):
    """Every group that was suppressed, pooled or flagged as small; printed even if empty."""

    block: Literal["group_ledger"] = "group_ledger"
    title: str
    n_groups: int
    """Declared."""
    rule: str
    """The policy in a sentence."""
    entries: tuple[GroupLedgerEntry, ...]


class ComparedMeasure(_Frozen):
    """One of the numbers by which methods are compared."""

    name: str
    """Heads a column, such as "trustworthiness"."""
    better: Literal["higher", "lower"]
    meaning: str
    """What it tells, for a reader who does not know it."""


class ComparedMethod(_Frozen):
    """One of the methods that are compared."""

    name: str
    """Such as "PCA (cosine), refined"."""
    estimates: tuple[Estimate | None, ...]
    """In the order of the measures; None where a repetition has no value."""
    mean_rank: Estimate
    """Over the measures; 1 is best."""
    standing: Literal["recommended", "tied", "behind"]
    """"tied": its mean rank does not differ from that of the recommended one."""


class MethodComparison(_Block):
    """Methods that do the same at one layer, by several measures."""

    block: Literal["method_comparison"] = "method_comparison"
    title: str
    noun: str
    """What is compared, in the singular: "layout"."""
    layer: str
    measures: tuple[ComparedMeasure, ...]
    methods: tuple[ComparedMethod, ...]
    """Best mean rank first."""
    rule: str
    """How the recommended one is chosen, in a sentence."""


class RobustnessPoint(_Frozen):
    """What a method's pictures lose at one strength of a disturbance."""

    strength: float
    change: Estimate


class RobustnessCurve(_Frozen):
    """One method under growing disturbance."""

    method: str
    points: tuple[RobustnessPoint, ...]
    """By growing strength; empty where the method has no pictures to disturb."""


class RobustnessPanel(_Frozen):
    """One disturbance."""

    disturbance: str
    """Such as "Gaussian blur"."""
    strength: str
    """Name of the strength, for an axis, with its unit."""
    curves: tuple[RobustnessCurve, ...]
    """The recommended method first, as `MethodComparison.methods` has them."""


class RobustnessCurves(_Block):
    """How much of the pictures that several methods make survives growing disturbance."""

    block: Literal["robustness_curves"] = "robustness_curves"
    title: str
    noun: str
    """What is compared, in the singular: "layout"."""
    layer: str
    metric: str
    """Name for an axis; 0 where a picture stays as it is."""
    panels: tuple[RobustnessPanel, ...]


class FaceArea(_Frozen):
    """An ellipse or a box of a face template, in shares of the input's sides."""

    region: str
    shape: Literal["ellipse", "box"]
    left: float
    top: float
    """From the input's upper edge."""
    right: float
    bottom: float


class AttributionMaps(_Block):
    """Where a decision's attribution lies on the input, as means over groups of aligned faces."""

    block: Literal["attribution_maps"] = "attribution_maps"
    title: str
    layer: str
    target: str
    decision: str
    """What is attributed, in words."""
    methods: tuple[str, ...]
    flagged: tuple[str, ...] = ()
    """Of the methods, those that did not pass the sanity check."""
    groups: tuple[Group, ...]
    """All images first, then the levels of one attribute."""
    counts: tuple[int, ...]
    """Independent images of each group."""
    reasons: tuple[str | None, ...]
    """Why a group has no map; None where it has."""
    limit: float
    """Colours run over this factor, less and more than an even spread."""
    areas: tuple[FaceArea, ...]
    """Of the face template, which are drawn as an outline."""
    maps: str
    """Array key: (n_methods, n_groups, side, side), mean absolute attribution relative to an even
    spread, row 0 at the top; NaN only on disk, for groups without a map."""


class FaceRegionArea(_Frozen):
    """A region of a face template."""

    name: str
    area: float
    """Its share of the input."""
    part_of: str | None = None
    """The region that it is a part of, which is listed as well."""


class RegionRow(_Frozen):
    """How the attribution of some images is spread over the regions."""

    method: str
    group: Group
    n: int
    """Independent images."""
    shares: tuple[Estimate | None, ...]
    """Of every region; None where it was not measured."""
    reason: str | None = None
    """Why it was not."""


class RegionDifference(_Frozen):
    """A region's share in one group, less that in another."""

    region: str
    one: Group
    other: Group | None
    """None: all other images."""
    estimate: Estimate
    adjusted_p: float


class RegionShares(_Block):
    """Shares of attribution by region of a face template."""

    block: Literal["region_shares"] = "region_shares"
    title: str
    layer: str
    target: str
    by: Literal["method", "group"]
    """What the rows that are drawn differ in."""
    regions: tuple[FaceRegionArea, ...]
    rows: tuple[RegionRow, ...]
    n_drawn: int
    """Of the rows, the first so many are drawn; the rest is in the table."""
    differences: tuple[RegionDifference, ...] = ()
    adjustment: str = ""
    """How p-values were adjusted, in a sentence; empty without differences."""


class TrustMeasure(_Frozen):
    """One way to ask whether a method's maps show what the backbone does."""

    name: str
    better: Literal["higher", "lower"]
    meaning: str
    reference: float | None = None
    """Where a line is drawn: what a random map or the rule's limit gives."""


class TrustedMethod(_Frozen):
    """An attribution method and what its checks came to."""

    name: str
    standing: Literal["passes", "fails", "undecided", "does not apply"]
    """Of the sanity check."""
    estimates: tuple[Estimate | None, ...]
    """In the order of the measures."""
    reason: str | None = None
    """Why it does not apply."""


class MethodAgreement(_Frozen):
    """How alike the maps of two methods are, image by image."""

    one: str
    other: str
    estimate: Estimate


class AttributionTrust(_Block):
    """Whether maps of attribution methods can be relied on."""

    block: Literal["attribution_trust"] = "attribution_trust"
    title: str
    layer: str
    target: str
    n: int
    """Independent images that were drawn for the checks."""
    rule: str
    """Of the sanity check, in a sentence."""
    measures: tuple[TrustMeasure, ...]
    methods: tuple[TrustedMethod, ...]
    agreements: tuple[MethodAgreement, ...]
    covariances: tuple[tuple[tuple[float, ...], ...], ...] = ()
    """Of every measure, those of the estimates of the methods that apply, whose images are the
    same; then those of the agreements. They give means over some of the methods their errors;
    empty in older results."""


class Voter(_Frozen):
    """A way to decide, by one backbone or by all."""

    name: str
    """Such as "soft vote", or a backbone's name."""
    layer: str | None
    """Whose probe decides; None for a vote."""


class VoteGroup(_Frozen):
    """How often each voter is right in one group."""

    group: Group
    n: int
    """Independent images."""
    estimates: tuple[tuple[Estimate | None, ...], ...]
    """By voter, then by measure; None where it was not measured."""
    reasons: tuple[str | None, ...]
    """Why a measure was not, by measure."""


class VoteDifference(_Frozen):
    """A vote less one of its members, over the same images."""

    group: Group | None
    """None: all images."""
    vote: str
    member: str
    measure: str
    estimate: Estimate
    adjusted_p: float | None
    """Of no difference, over the family; None where the two never differ."""


class EnsembleVotes(_Block):
    """What probes of several backbones decide together, beside what each decides alone."""

    block: Literal["ensemble_votes"] = "ensemble_votes"
    title: str
    target: str
    n: int
    """Independent images."""
    n_tied: int | None
    """Images at which the majority vote was tied; None where there is no such vote."""
    voters: tuple[Voter, ...]
    """The votes first, then the members."""
    measures: tuple[str, ...]
    guessing: tuple[float, ...]
    """Of every measure: what naming the most frequent level for every image gives."""
    estimates: tuple[tuple[Estimate | None, ...], ...]
    """Of all images, by voter, then by measure."""
    groups: tuple[VoteGroup, ...]
    differences: tuple[VoteDifference, ...]
    """Of all images first."""
    adjustment: str
    """How p-values were adjusted, in a sentence."""


class ComparedBackbone(_Frozen):
    """What the checks of attribution maps came to on one backbone."""

    name: str
    layer: str
    passing: int
    """Methods that pass the sanity check."""
    applied: int
    """Methods that apply."""
    estimates: tuple[Estimate | None, ...]
    """In the order of the measures, as means over the methods."""
    ranks: tuple[tuple[int, int] | None, ...]
    """The best and the worst rank that the comparisons leave open; None where it has no value."""


class BackboneComparison(_Block):
    """Backbones side by side, by the checks of their attribution maps."""

    block: Literal["backbone_comparison"] = "backbone_comparison"
    title: str
    target: str
    methods: tuple[str, ...]
    """Over which the means are taken."""
    measures: tuple[TrustMeasure, ...]
    backbones: tuple[ComparedBackbone, ...]
    rule: str
    """How ranks were found, in a sentence."""


Block = Annotated[
    LayerCurve
    | GroupTable
    | GroupMatrix
    | LayerMatrix
    | UnitMap
    | DifferenceMap
    | Confusions
    | GroupProfiles
    | HypothesisFamilies
    | MethodComparison
    | RobustnessCurves
    | AttributionMaps
    | RegionShares
    | AttributionTrust
    | EnsembleVotes
    | BackboneComparison
    | GroupLedger,
    Field(discriminator="block"),
]


Question = Literal["encoded", "groups", "used", "where"]
"""What a reader with five minutes asks: what is linearly decodable, which groups stand out,
whether the backbone's own decisions use it, and which part of an image they look at."""


class Finding(_Frozen):
    """One sentence the summary may print, with the numbers it rests on."""

    text: str
    """A sentence of plain text; it contains its own intervals."""
    weight: float
    """How surely it is decided, for ordering; 0: undecided. It has no unit, so findings of all
    analyses compare: how many times the reach of the deciding interval the value lies from no
    effect, minus 1; see `bias_audit.statistics.sureness`."""
    estimates: dict[str, Estimate] = {}
    question: Question | None = None
    """Which question of the summary it answers; None: none directly."""
    is_warning: bool = False
    """Whether it goes before all other answers to its question, as a possible shortcut does."""
    evidence: str | None = None
    """Quantity or shape of the block that it is about, where its estimates are not in there as
    they are; None: the block with most of them."""
