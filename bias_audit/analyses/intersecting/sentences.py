"""What an analysis of intersections says."""

from __future__ import annotations

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import GroupTests, draws_of
from bias_audit.analyses.intersecting.group_aucs import GroupMeasures
from bias_audit.analyses.intersecting.group_tests import Tested, extremes
from bias_audit.analyses.wording import ONE_ANNOTATOR, SCORE_INTERVALS, coverage, listed
from bias_audit.groups import INTERSECTION
from bias_audit.results.finding import Finding
from bias_audit.shapes.printed import chance_of, interval, listed_all, sentence
from bias_audit.statistics.estimate import Estimate, worst_case
from bias_audit.statistics.inference import bounds, estimate, quantile_for
from bias_audit.statistics.label_noise import GroupContrast, cleared
from bias_audit.statistics.multiplicity import CONTROLS, NAMES, smallest_attainable
from bias_audit.statistics.sureness import sureness, sureness_above, weight_of

EXPLAINED = "could be explained by the disagreement of annotators"


def method_of(subject: Subject, layer: str, chosen: str) -> tuple[str, ...]:
    """How groups were compared at a layer, and how that was chosen."""
    plan = subject.multiplicity
    gates = (
        "each is tested only where a test in the one before it was significant, and a group only "
        "where the test of a group that contains it was significant"
        if plan.gatekeeping
        else "without gates between them"
    )
    sentences = [
        f"Groups are compared at {layer} ({chosen}) by the out-of-fold scores of the linear "
        "probes of single attributes and of their intersection; nothing is fitted again. Within "
        "a group of other attributes, an attribute is read by its own probe, fitted to all "
        "images, over pairs of images of one fold and that group (macro one-vs-rest AUC over the "
        "groups of the attribute that have images enough there, by the probabilities among "
        "these). A fold without a pair contributes none. Each group is also compared with all "
        "other images by its probability, which for pairs of attributes is summed over the "
        "intersections.",
        "Intervals rest on the influence of every image (DeLong et al. 1988), summed over the "
        f"images of a cluster. Those of AUCs {SCORE_INTERVALS}; those of interactions are "
        "symmetric. They are widened by the correction of Nadeau & Bengio (2003) in "
        "proportion to how much the scores depend on the training images and, within a group, to "
        "the group's share of these: only images of the group both train for it and are judged "
        "in it. Differences between groups need no widening, because the errors that the probe "
        "brings to all groups alike cancel.",
        "What single attributes predict of a group is an additive model of them (least squares "
        "over groups, weighted by images), or the mean over groups where a single attribute "
        "spans them. An interaction is the value of a group minus that; its interval counts that "
        "the model was fitted to the same images.",
        "Hypotheses are declared in families from coarse to fine (global, marginals, pairs, "
        f"cells); {gates}. p-values come from joint draws of the errors (a multiplier "
        f"bootstrap). Tables show them adjusted by {NAMES[plan.discovery]} "
        f"({CONTROLS[plan.discovery]}) within a family, before gates, to point at groups to look "
        f"into; what findings claim is decided by {NAMES[plan.verdicts]} "
        f"({CONTROLS[plan.verdicts]}) at {plan.alpha:g}, behind the gates.",
        "Published claims of Krug & Stober (2025) are tested where age, race and gender are "
        "annotated: supported where every comparison lies above 0 beyond chance, contradicted "
        "where one lies below, undecided otherwise, adjusted for all claims together. Where none "
        "of the attributes compared can be read beyond chance, the claim is not examined. "
        "Attributes are compared by the mean AUC over pairs of groups (Hand & Till 2001), "
        "because the task of a one-vs-rest AUC changes with the number of groups. The middle "
        "ages are all but the two youngest and the two oldest of six or more groups, else all "
        "but the ends.",
        "Each difference between groups is given with the label error that would explain it, if "
        "labels of the lower groups are wrong at random, in proportion to how frequent the "
        "groups of the attribute are there, and labels of the others are right: a share s of "
        "labels drawn at random takes the share s from the distance of an AUC to 0.5 (Menon et "
        "al. 2015). With errors in both, a smaller difference between the errors is enough.",
    ]
    if subject.faces.table.label_sets is not None:
        sentences.append(ONE_ANNOTATOR)
    if subject.faces.table.disagreement:
        sentences.append(
            "Intervals and tests of differences between groups allow for every label error "
            "between 0 and the disagreement of annotators, in each group by itself, as if each "
            "disagreement were an error of the label used (outer bounds, Manski 2003). A "
            "difference that these errors alone could explain is not claimed."
        )
    return tuple(sentences)


LIMITS = (
    "Within groups, the probe is the one fitted to all images: a direction that only a group of "
    "its own would need is not found.",
    "Where the layer is the most separable one, it was chosen on the same images, which favours "
    "high values a little; intervals and tests allow for the choice.",
    "Interactions are on the scale of the AUC; values near 1 leave less room for differences.",
    "Label errors that fall on particular images, such as on faces that are hard to read, can "
    "raise or lower an AUC by more than errors at random; neither the errors that would explain a "
    "difference nor the disagreement of annotators counts this, nor errors that annotators share.",
)


def explaining(contrast: GroupContrast, own: str, others: str, quantile: float) -> str:
    """The sentence about one difference.

    The difference is not 0; its own groups and what they are compared with are such as "in Black"
    and "elsewhere". The quantile is half the width of its interval in standard errors.
    """
    found = contrast.explaining(quantile)
    wrong, right = (own, others) if found.is_own else (others, own)
    if found.error is None:
        text = f"No label error {wrong}, not even labels at random, would explain this difference"
    else:
        text = (
            f"A label error {_points(found.error)} higher {wrong} than {right} would explain this "
            "difference"
        )
    if found.inconclusive is None:
        return f"{text}."
    return f"{text} ({_points(found.inconclusive)} would leave it inconclusive)."


def explained_too(contrast: GroupContrast, level: float) -> str:
    """That what is conclusive without label errors is not with them; empty where it is not so."""

    def is_open(found: Estimate) -> bool:
        return found.lower <= 0 <= found.upper

    alone, allowing = estimate(contrast.observed, level=level), contrast.estimate(level)
    return f" It {EXPLAINED}." if is_open(allowing) and not is_open(alone) else ""


def _points(error: float) -> str:
    shown = f"{100 * error:.1f}"
    return "less than 0.1 points" if shown == "0.0" else f"{shown} points"


def within_findings(part: Tested, *, level: float) -> tuple[Finding, ...]:
    """For each attribute and set of others: in how many groups it can be read."""
    return tuple(
        finding
        for measures, tests in part.measured
        if (finding := _within(measures, tests, level)) is not None
    )


def _within(measures: GroupMeasures, tests: GroupTests, level: float) -> Finding | None:
    known = sorted(measures.known.items(), key=lambda entry: entry[1].value)
    if not known:
        return None
    within, where = listed_all(measures.given), f"at {measures.layer}"
    (low, lowest), (high, highest) = known[0], known[-1]
    best = estimate(highest, level=level)
    ends = (
        f" Its macro AUC is highest for {measures.values[high].group.label}: {interval(best)} "
        f"({coverage(level)})."
    )
    if high != low:
        one, other = measures.values[high], measures.values[low]
        ends += (
            f" It is lowest for {other.group.label}: {interval(estimate(lowest, level=level))}."
        )
        # differences between groups hold no error that all groups share
        values = one.contrast or highest, other.contrast or lowest
        contrast = GroupContrast.pair(values, (one.labels, other.labels))
        quantile = quantile_for(contrast.observed, level)
        names = f"in {one.group.label}", f"in {other.group.label}"
        ends += f" {explaining(contrast, *names, quantile)}{explained_too(contrast, level)}"
    if not tests.is_open:
        text = (
            f"Whether {measures.target} can be read in single groups of {within} {where} was "
            f"{tests.gate}.{ends}"
        )
        return Finding(text=text, weight=0.0)
    found = [value for index, value in known if tests.rejected[index]]
    n, some = len(measures.values), len(found)
    how_many = f"{some} of {n} groups"
    if some == n:
        how_many = {1: "the one group", 2: "both groups"}.get(n, f"all {n} groups")
    text = (
        f"{sentence(measures.target)} can be read in {how_many} of {within} {where}, significant "
        f"after adjustment for the family.{ends}"
    )
    if not found:
        text = (
            f"{sentence(measures.target)} was not shown to be readable in any of {n} groups of "
            f"{within} {where}.{ends}"
        )
    sure = max((sureness(estimate(v, level=level), 0.5) for v in found), default=0.0)
    return Finding(
        text=text,
        weight=weight_of(sure, is_decided=bool(found)),
        estimates={f"within_auc_{measures.target}": best},
    )


def extremes_finding(subject: Subject, part: Tested, *, level: float) -> tuple[Finding, ...]:
    """The most and the least distinguishable of the full cells."""
    (measures,) = (m for m, _ in part.measured if m.target == INTERSECTION)
    known = measures.known
    if len(known) < 2:  # noqa: PLR2004
        return ()
    plan, groups = subject.multiplicity, [measures.values[index] for index in known]
    values = list(known.values())
    n_draws = draws_of(plan, len(known))
    found = extremes(
        values,
        n_draws=n_draws,
        alpha=plan.alpha,
        rng=subject.rng("extremes"),
        without_errors=[
            cleared(value, group.labels.replaced)
            for value, group in zip(values, groups, strict=True)
        ],
    )
    ends = found.highest, found.lowest
    names = [group.group.label for group in groups]
    high, low = (estimate(values[place], level=level) for place in ends)
    contrast = GroupContrast.pair(
        (values[found.highest], values[found.lowest]),
        (groups[found.highest].labels, groups[found.lowest].labels),
    )
    verdict, explained = "These two do not differ significantly", ""
    if bounds(contrast.observed, found.quantile)[0] > 0:
        verdict = (
            "The two differ significantly"
            if found.claim > 0
            else f"The difference of the two {EXPLAINED}"
        )
        high_in, low_in = (f"in {names[place]}" for place in ends)
        explained = f" {explaining(contrast, high_in, low_in, found.quantile)}"
    shown_p = chance_of(found.p_value, smallest_attainable(1, draws=n_draws, method="max_t"))
    text = (
        f"Of {len(known)} groups at {measures.layer}, {names[found.highest]} is the easiest to "
        f"recognise: one-vs-rest AUC {interval(high)} ({coverage(level)}). "
        f"{names[found.lowest]} is the hardest: {interval(low)}. {verdict} (adjusted {shown_p}, "
        "max-T over all pairs). Other groups that may be the easiest, because no group is "
        f"significantly easier: {_named(found.like_highest, names)}. Other groups that may be "
        "the hardest, because no group is significantly harder: "
        f"{_named(found.like_lowest, names)}. Extremes among many groups are partly chance."
        f"{explained}"
    )
    return (
        Finding(
            text=text,
            weight=sureness_above(found.gap, found.claim),
            estimates={"cell_auc_highest": high, "cell_auc_lowest": low},
            question="groups",
        ),
    )


def _named(places: tuple[int, ...], names: list[str]) -> str:
    if not places:
        return "none"
    return f"{len(places)} ({listed([names[place] for place in places], most=3)})"


def interaction_findings(subject: Subject, part: Tested, *, level: float) -> tuple[Finding, ...]:
    """Whether there is any interaction, and the largest of every table that has one."""
    p_value, alpha = part.p_global, subject.multiplicity.alpha
    if p_value is None:
        return ()
    largest = [
        finding
        for measures, tests in part.measured
        if (finding := _interaction(measures, tests, level)) is not None
    ]
    if largest:
        return tuple(largest)
    n = sum(len(measures.known) for measures, _ in part.measured)
    layer = part.measured[0][0].layer
    beyond = "chance"
    if subject.faces.table.disagreement:
        beyond += " and what the disagreement of annotators could explain"
    text = (
        f"No interaction was found at {layer}: none of {n} differences from what single "
        f"attributes predict is beyond {beyond} (max-T, global {chance_of(p_value)}, alpha "
        f"{alpha:g}). This is not evidence that there is none."
    )
    return (Finding(text=text, weight=0.0, question="groups", evidence="interaction"),)


def _interaction(measures: GroupMeasures, tests: GroupTests, level: float) -> Finding | None:
    found = [(i, value) for i, value in measures.known.items() if tests.rejected[i]]
    if not found:
        return None
    index, value = max(found, key=lambda entry: abs(entry[1].value))
    entry = measures.values[index]
    own, contrast = entry.estimate(level), entry.between
    if own is None or contrast is None:
        raise ValueError(f"{measures.title}: expected a difference for {entry.group.label}")
    quantile = quantile_for(value, level)
    degree = "easier" if own.value > 0 else "harder"
    group, over = entry.group.label, listed_all(measures.given)
    expected = f"{over} alone predict" if len(measures.given) > 1 else f"on average over {over}"
    what = f"{sentence(measures.target)} is {degree} to read for {group}"
    metric = "macro AUC"
    if measures.target == INTERSECTION:
        what, metric = f"Group {group} is {degree} to recognise", "one-vs-rest AUC"
    shown_p = chance_of(tests.verdicts[index], tests.smallest_p)
    which = "only significant difference"
    if len(found) > 1:
        which = f"largest of {len(found)} significant differences"
    text = (
        f"{what} at {measures.layer} than {expected}: a difference of {interval(own)} in "
        f"{metric} ({coverage(level)}, adjusted {shown_p}). This is the {which} among "
        f"{len(measures.known)} groups of {over}. "
        f"{explaining(contrast, f'in {group}', 'elsewhere', quantile)}"
    )
    name = f"interaction_{measures.target}_{'_'.join(measures.given)}"
    return Finding(
        text=text,
        weight=weight_of(sureness(own), is_decided=True),
        estimates={name: own},
        question="groups",
    )


def bounds_sentences(*parts: Tested) -> tuple[str, ...]:
    """What means and gaps could be if the groups without a value had any value at all."""
    sentences = []
    for measures, _ in (each for part in parts for each in part.measured):
        values = [None if v.value is None else v.value.value for v in measures.values]
        missing = values.count(None)
        if not 0 < missing < len(values):
            continue
        mean, gap = worst_case(values, "mean"), worst_case(values, "gap")
        sentences.append(
            f"{measures.title} {missing} of {len(values)} groups have no value. Whatever theirs "
            f"are, the mean AUC over groups lies between {mean[0]:.2f} and {mean[1]:.2f}, and "
            f"the largest minus the smallest between {gap[0]:.2f} and {gap[1]:.2f}."
        )
    return tuple(sentences)
