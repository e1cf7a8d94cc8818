"""What an analysis of intersections says."""

from __future__ import annotations

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.families import draws_of
from bias_audit.analyses.intersecting.group_tests import model_of
from bias_audit.analyses.intersecting.measures import GroupMeasures, GroupTests, Part, extremes
from bias_audit.analyses.targets import INTERSECTION
from bias_audit.analyses.wording import coverage, interval, listed
from bias_audit.data.faces import FaceTable
from bias_audit.results.blocks import Finding
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, bounds, estimate, quantile_for
from bias_audit.statistics.label_noise import GroupContrast, cleared
from bias_audit.statistics.proportions import worst_case
from bias_audit.statistics.sureness import sureness, sureness_above, weight_of

METHOD = (
    "Each difference between groups is given with the label error that would explain it, if "
    "labels of the lower groups are wrong at random, in proportion to how frequent levels are "
    "there, and labels of the others are right: a share s of labels drawn at random takes the "
    "share s from the distance of an AUC to 0.5 (Menon et al. 2015). With errors in both, a "
    "smaller difference between the errors is enough."
)
LIMIT = (
    "Label errors that fall on particular images, such as on faces that are hard to read, can "
    "raise or lower an AUC by more than errors at random; neither the errors that would explain a "
    "difference nor the disagreement of annotators counts this, nor errors that annotators share."
)
EXPLAINED = "could be explained by the disagreement of annotators"


def disagreement_method(table: FaceTable) -> tuple[str, ...]:
    """How intervals of differences count the disagreement; nothing where none is declared."""
    if not table.disagreement:
        return ()
    return (
        "Intervals and tests of differences between groups allow for every label error between 0 "
        "and the disagreement of annotators, in each group by itself, as if each "
        "disagreement were an error of the label used (outer bounds, Manski 2003). A difference "
        "that these errors alone could explain is not claimed.",
    )


def explaining(contrast: GroupContrast, own: str, others: str, quantile: float) -> str:
    """The sentence about one difference.

    Args:
        contrast: The difference, not 0.
        own: Its own groups, such as "in Black".
        others: What they are compared with, such as "elsewhere".
        quantile: Half the width of its interval in standard errors.
    """
    found = contrast.explaining(quantile)
    wrong, right = (own, others) if found.is_own else (others, own)
    if found.error is None:
        text = f"No label error {wrong}, up to labels at random, would explain this difference"
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


def within_findings(part: Part, *, level: float) -> tuple[Finding, ...]:
    """For each attribute and set of others: in how many groups it is told apart."""
    return tuple(
        finding
        for measures, tests in part.measured
        if (finding := _within(measures, tests, level)) is not None
    )


def _within(measures: GroupMeasures, tests: GroupTests, level: float) -> Finding | None:
    known = sorted(measures.known, key=lambda entry: entry[1].value)
    if not known:
        return None
    within, where = " x ".join(measures.given), f"at {measures.layer}"
    told = [
        f"{measures.values[index].group.label} (AUC {interval(estimate(value, level=level))})"
        for index, value in (known[-1], known[0])
    ]
    n = len(measures.values)
    ends = f"highest in {told[0]}, lowest in {told[1]}, {coverage(level)}s."
    ends += _ends_explained(measures, (known[-1][0], known[0][0]), level)
    if not tests.is_open:
        text = (
            f"Whether annotated {measures.target} is told apart within single groups of {within} "
            f"{where} was {tests.gate}; {ends}"
        )
        return Finding(text=text, weight=0.0)
    found = [index for index, _ in known if tests.rejected[index]]
    claimed = [measures.values[index].value for index in found]
    sure = [sureness(estimate(v, level=level), 0.5) for v in claimed if v is not None]
    text = (
        f"Annotated {measures.target} is told apart beyond chance {where} within {len(found)} of "
        f"the {n} groups of {within}, by p-values adjusted for the family; {ends}"
    )
    high = estimate(known[-1][1], level=level)
    return Finding(
        text=text,
        weight=weight_of(max(sure, default=0.0), is_decided=bool(sure)),
        estimates={f"within_auc_{measures.target}": high},
    )


def _ends_explained(measures: GroupMeasures, ends: tuple[int, int], level: float) -> str:
    """The label errors that would explain the highest and the lowest group's difference."""
    high, low = (measures.values[index] for index in ends)
    values = [entry.contrast or entry.value for entry in (high, low)]
    if values[0] is None or values[1] is None or high is low:
        return ""
    contrast = GroupContrast.pair((values[0], values[1]), (high.labels, low.labels))
    names = f"in {high.group.label}", f"in {low.group.label}"
    text = explaining(contrast, *names, quantile_for(contrast.observed, level))
    return f" {text}{explained_too(contrast, level)}"


def extremes_finding(subject: Subject, part: Part, *, level: float) -> tuple[Finding, ...]:
    """The most and the least distinguishable of the full cells."""
    (measures,) = (m for m, _ in part.measured if m.target == INTERSECTION)
    known = list(measures.known)
    if len(known) < 2:  # noqa: PLR2004
        return ()
    plan = subject.multiplicity
    labels = [measures.values[index].labels for index, _ in known]
    found = extremes(
        [value for _, value in known],
        n_draws=draws_of(plan, len(known)),
        alpha=plan.alpha,
        rng=subject.rng("extremes"),
        without_errors=[
            cleared(value, own.replaced) for (_, value), own in zip(known, labels, strict=True)
        ],
    )
    ends = found.highest, found.lowest
    contrast = GroupContrast.pair(
        (known[ends[0]][1], known[ends[1]][1]), (labels[ends[0]], labels[ends[1]])
    )
    names = [measures.values[index].group.label for index, _ in known]
    high, low = (estimate(known[place][1], level=level) for place in (found.highest, found.lowest))
    verdict, explained = "Even these two cannot be distinguished from each other", ""
    if bounds(contrast.observed, found.quantile)[0] > 0:
        verdict = "The two differ" if found.claim > 0 else f"The difference of the two {EXPLAINED}"
        high_in, low_in = (f"in {names[place]}" for place in ends)
        explained = f" {explaining(contrast, high_in, low_in, found.quantile)}"
    text = (
        f"Of {len(known)} groups at {measures.layer}, {names[found.highest]} is told apart from "
        f"all others best (one-vs-rest AUC {interval(high)}) and {names[found.lowest]} worst "
        f"({interval(low)}, {coverage(level)}s). {verdict} (max-T over all pairs, adjusted p = "
        f"{found.p_value:.3g}). Not distinguishable from the best, in that no group exceeds them "
        f"beyond chance: {_named(found.like_highest, names)}; from the worst: "
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


def interaction_findings(subject: Subject, part: Part, *, level: float) -> tuple[Finding, ...]:
    """Whether there is any interaction, and the largest of every table that has one."""
    p_value, alpha = part.result.p_global, subject.multiplicity.alpha
    if p_value is None:
        return ()
    largest = [
        finding
        for measures, tests in part.measured
        if (finding := _interaction(measures, tests, level)) is not None
    ]
    if largest:
        return tuple(largest)
    n = sum(len(list(measures.known)) for measures, _ in part.measured)
    layer = part.measured[0][0].layer
    beyond = "chance"
    if subject.faces.table.disagreement:
        beyond += " and what the disagreement of annotators could explain"
    text = (
        f"No interaction found at {layer}: none of {n} differences to additive models is beyond "
        f"{beyond} (max-T, global p = {p_value:.3g}, alpha {alpha:g}), which is not evidence "
        "that there is none."
    )
    return (Finding(text=text, weight=0.0, question="groups", evidence="interaction"),)


def _interaction(measures: GroupMeasures, tests: GroupTests, level: float) -> Finding | None:
    found = [(i, value) for i, value in measures.known if tests.rejected[i]]
    if not found:
        return None
    index, value = max(found, key=lambda entry: abs(entry[1].value))
    entry = measures.values[index]
    own, contrast = entry.estimate(level), entry.between
    if own is None or contrast is None:
        raise ValueError(f"{measures.title}: expected a difference for {entry.group.label}")
    quantile = quantile_for(value, level)
    text = (
        f"{_subject_of(measures)} {measures.layer} interacts with groups: in {len(found)} of "
        f"{len(list(measures.known))} it differs from {model_of(measures.given)} beyond chance, "
        f"most in {entry.group.label}, by {interval(own)} ({coverage(level)}, "
        f"adjusted p = {tests.verdicts[index]:.3g}). "
        f"{explaining(contrast, f'in {entry.group.label}', 'elsewhere', quantile)}"
    )
    name = f"interaction_{measures.target}_{'_'.join(measures.given)}"
    return Finding(
        text=text,
        weight=weight_of(sureness(own), is_decided=True),
        estimates={name: own},
        question="groups",
    )


def _subject_of(measures: GroupMeasures) -> str:
    if measures.target == INTERSECTION:
        return "How well a group is told apart from all others (one-vs-rest AUC) at"
    within = " x ".join(measures.given)
    return f"How well annotated {measures.target} is told apart within {within} (macro AUC) at"


def bounds_sentences(*parts: Part) -> tuple[str, ...]:
    """What means and gaps could be if the groups without a value had any value at all."""
    return tuple(
        sentence
        for part in parts
        for measures, _ in part.measured
        if (sentence := _bounds(measures)) is not None
    )


def _bounds(measures: GroupMeasures) -> str | None:
    values: list[float | None] = [_value(measured) for measured in measures.measures]
    missing = sum(value is None for value in values)
    if not missing or missing == len(values):
        return None
    mean, gap = worst_case(values, "mean"), worst_case(values, "gap")
    return (
        f"{measures.title}: {missing} of {len(values)} groups have no value; whatever theirs are, "
        f"the mean AUC over groups lies between {mean.lower:.2f} and {mean.upper:.2f} and the "
        f"largest minus the smallest between {gap.lower:.2f} and {gap.upper:.2f}."
    )


def _value(measured: Measured | None) -> float | None:
    return None if measured is None else measured.value
