"""What an attribution analysis says: its findings, method and limits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter

from bias_audit.analyses.attributing.blocks import Shares, ShownGroups, area_of
from bias_audit.analyses.attributing.decision import Decided
from bias_audit.analyses.attributing.face_regions import Regions
from bias_audit.analyses.attributing.methods import METHODS, MethodSettings
from bias_audit.analyses.attributing.summing import ALL
from bias_audit.analyses.attributing.trust import RULE
from bias_audit.analyses.wording import coverage, decided_at, listed
from bias_audit.results.finding import Finding
from bias_audit.shapes.printed import percent, percent_interval
from bias_audit.statistics.inference import Measured, estimate
from bias_audit.statistics.sureness import sureness, sureness_above


def method_of(
    decisions: Sequence[Decided], settings: MethodSettings, regions: Regions
) -> tuple[str, ...]:
    """What was computed."""
    decisions_said = "; ".join(f"{one.target}: {one.said} ({one.chosen})" for one in decisions)
    sources = "; ".join(f"{method.title}: {method.source}" for method in METHODS)
    names = ", ".join(regions.names[: regions.n_inside])
    return (
        f"What is attributed: {decisions_said}. Backbone up to the layer, mean over positions, "
        "standardisation and probe are one differentiable function, and every image is "
        "attributed with the probe of the fold that did not see it.",
        f"Methods, as captum computes them: {sources}. Occlusion covers {settings.windows} places "
        f"along each side; integrated gradients take {settings.steps} steps; the empty reference "
        "image is the mean colour of the preprocessing. Modules that run twice or work in place "
        "are copied first, which changes no output.",
        "Absolute attributions are summed over colours and divided by their sum over the image, "
        "so that every image counts the same; maps are means over the images of a group, relative "
        "to an even spread. Only these sums are kept.",
        f"Regions come from a fixed template of aligned faces ({names}; the rest is outside the "
        "face, by quarters of the image), drawn as an outline. Shares are means over images with "
        "intervals from the influence of each cluster of images; methods are averaged image by "
        "image, over those that pass the sanity check.",
        f"Sanity check by model randomisation (Adebayo et al. 2018, arXiv:1810.03292): {RULE} "
        "Deletion and insertion after Petsiuk et al. 2018 (arXiv:1806.07421); infidelity and "
        "sensitivity after Yeh et al. 2019 (arXiv:1901.09392), by captum.metrics.",
    )


def limits_of(methods: Collection[str]) -> tuple[str, ...]:
    """What attributions cannot say."""
    own = "; ".join(f"{m.title}: {m.limits}" for m in METHODS if m.name in methods)
    return (
        "An attribution says which pixels a score depends on by one method's definition, not why, "
        "and not what a person would see there.",
        f"Known limits of the methods: {own}.",
        "The template is the same for all faces; where faces are turned, or alignment failed, "
        "regions contain other parts.",
        "Groups are compared as they are: a difference may come from their composition by other "
        "attributes, from hair style, glasses or background as well as from the face.",
        "Intervals do not include how much other probes or a backbone trained again would differ.",
    )


def limits_of_target(
    decided: Decided,
    shown: ShownGroups,
    blank: Mapping[str, int],
    absent: Sequence[tuple[str, str]],
    n_images: int,
) -> tuple[str, ...]:
    """What was not done, or not shown, of one decision.

    `blank` counts images without any attribution by the method's title; `absent` are the titles of
    methods that do not apply, and why.
    """
    sentences = [f"{name} was not used for {decided.target}: {why}." for name, why in absent]
    if n_images < len(decided.candidates):
        sentences.append(
            f"{decided.target}: {n_images} of {len(decided.candidates)} images were attributed, "
            "drawn evenly over the intersections."
        )
    sentences += [
        f"{title} gave {n_blank} of {n_images} images no attribution at all about "
        f"{decided.target}; they count as an even spread."
        for title, n_blank in blank.items()
        if n_blank
    ]
    hidden = sum(why is not None for why in shown.reasons)
    if hidden:
        sentences.append(
            f"{decided.target}: {hidden} of {len(shown.groups) - 1} groups have no map and no "
            "share, because a mean of few images could show a face."
        )
    return tuple(sentences)


def findings_of(shares: Shares, *, alpha: float) -> Iterator[Finding]:
    """The region with most attribution for its size, a warning about the outside, and failures.

    `alpha` is the error rate of the claim about the region, and of that about the outside.
    """
    if shares.trusted:
        overall = [
            shares.measured({ALL: 1}, shares.trusted, i) for i in range(len(shares.printed))
        ]
        yield from densest(shares, overall[:-1], alpha)
        yield from _outside(shares, overall[-1], alpha)
    failed = [name for i, name in enumerate(shares.methods) if i not in shares.trusted]
    if failed:
        yield Finding(
            text=(
                f"{len(failed)} of {len(shares.methods)} methods did not pass the sanity check "
                f"for {shares.target} at {shares.layer}, so means over methods leave them out: "
                f"{listed(failed, most=6)}."
            ),
            weight=0.0,
        )


def densest(shares: Shares, overall: Sequence[Measured | None], alpha: float) -> Iterator[Finding]:
    """The region with most attribution for its size.

    `overall` are the shares over all images, by region; `alpha` is the error rate of the claim.
    """
    found = [
        (value.value / area_of(region), value, region)
        for value, region in zip(overall, shares.printed, strict=False)
        if value is not None and area_of(region) > 0
    ]
    if not found:
        return
    _, most, region = max(found, key=itemgetter(0))
    share = estimate(most, level=shares.level)
    # The highest of several: its claim allows for all of them (Bonferroni).
    allowed = estimate(most, level=1 - alpha / len(found))
    if allowed.lower > area_of(region):
        than = "significantly more than an even spread would put there"
    else:
        than = "not significantly more than an even spread"
    yield Finding(
        text=(
            f"For its size, {region.name} has the most attribution of the decision about "
            f"{shares.target} at {shares.layer}: {percent_interval(share)} "
            f"({coverage(share.level)}, n = {share.n}) on {percent(area_of(region))} of the "
            f"image. This is {than}, after correction for the choice among {len(found)} "
            f"regions{decided_at(alpha, share.level)}. The share is the mean of "
            f"{len(shares.trusted)} methods."
        ),
        weight=sureness_above(allowed.value, allowed.lower, area_of(region)),
        estimates={"attribution_share": share},
        question="where",
    )


def _outside(shares: Shares, found: Measured | None, alpha: float) -> Iterator[Finding]:
    """More attribution outside the face than its area has is a sign of a shortcut."""
    area = area_of(shares.printed[-1])
    if area == 0 or found is None:
        return
    share = estimate(found, level=shares.level)
    measured = (
        f"{percent_interval(share)} of the attribution of the decision about {shares.target} at "
        f"{shares.layer} lies outside the face ({coverage(share.level)}, n = {share.n}), on "
        f"{percent(area)} of the image"
    )
    claimed = estimate(found, level=1 - alpha)
    rate = decided_at(alpha, share.level)
    is_above = claimed.lower > area
    if is_above:
        text = (
            f"Possible shortcut: {measured}: significantly more than an even spread would put "
            f"there{rate}, so the decision may rest on what surrounds faces."
        )
    elif claimed.upper < area:
        text = f"{measured}: significantly less than an even spread would put there{rate}."
    else:
        text = f"{measured}: no significant difference from an even spread{rate}."
    yield Finding(
        text=text,
        weight=sureness(claimed, area),
        estimates={"attribution_share": share},
        question="where",
        is_warning=is_above,
    )
