"""What attributions come to, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from bias_audit.analyses.attributing.groups_shown import ALL
from bias_audit.analyses.attributing.region_blocks import Shares
from bias_audit.analyses.attributing.trust import Checked
from bias_audit.analyses.wording import (
    coverage,
    decided_at,
    listed,
    percent,
    percent_interval,
)
from bias_audit.results.blocks import Finding
from bias_audit.statistics.inference import estimate
from bias_audit.statistics.sureness import sureness, sureness_above


def findings_of(shares: Shares, trust: Checked, *, alpha: float) -> tuple[Finding, ...]:
    """The region with most attribution for its size, a warning about the outside, and failures.

    Args:
        shares: Of one target.
        trust: Which methods pass their check.
        alpha: Error rate of the claim about the region, and of that about the outside.
    """
    return (*_densest(shares, alpha), *_outside(shares, alpha), *_failed(shares, trust))


def _densest(shares: Shares, alpha: float) -> Iterator[Finding]:
    if not shares.trusted:
        return
    inside = range(len(shares.printed) - 1)
    found = [
        (region, value)
        for region in inside
        if (value := shares.measured({ALL: 1}, shares.trusted, region)) is not None
        and shares.printed[region].area > 0
    ]
    if not found:
        return
    region, most = max(found, key=lambda entry: entry[1].value / shares.printed[entry[0]].area)
    share = estimate(most, level=shares.level)
    area = shares.printed[region].area
    # The highest of several: its claim allows for all of them (Bonferroni).
    allowed = estimate(most, level=1 - alpha / len(found))
    if allowed.lower > area:
        than = "more than an even spread would put there"
    else:
        than = "which an even spread may give"
    yield Finding(
        text=(
            f"For its size, {shares.printed[region].name} has the most attribution of the "
            f"decision about {shares.target} at {shares.layer}: {percent_interval(share)} of it "
            f"({coverage(share.level)}, n = {share.n}) on {percent(area)} of the image, as the "
            f"mean of {len(shares.trusted)} methods; {than}, allowing for the choice among "
            f"{len(found)} regions{decided_at(alpha, share.level)}."
        ),
        weight=sureness_above(allowed.value, allowed.lower, area),
        estimates={"attribution_share": share},
        question="where",
    )


def _outside(shares: Shares, alpha: float) -> Iterator[Finding]:
    """More attribution outside the face than its area has is a sign of a shortcut."""
    region = len(shares.printed) - 1
    area = shares.printed[region].area
    if not shares.trusted or area == 0:
        return
    found = shares.measured({ALL: 1}, shares.trusted, region)
    if found is None:
        return
    share = estimate(found, level=shares.level)
    told = (
        f"{percent_interval(share)} of the attribution of the decision about {shares.target} at "
        f"{shares.layer} lies outside the face ({coverage(share.level)}, n = {share.n}), which "
        f"is {percent(area)} of the image"
    )
    claimed = estimate(found, level=1 - alpha)
    is_above, is_below = claimed.lower > area, claimed.upper < area
    rate = decided_at(alpha, share.level)
    if is_above:
        text = (
            f"Possible shortcut: {told}: more than an even spread would put there{rate}, so the "
            "decision may rest on what surrounds faces."
        )
    elif is_below:
        text = f"{told}: less than an even spread would put there{rate}."
    else:
        text = f"{told}: no clear excess{rate}."
    yield Finding(
        text=text,
        weight=sureness(claimed, area),
        estimates={"attribution_share": share},
        question="where",
        is_warning=is_above,
    )


def _failed(shares: Shares, trust: Checked) -> Iterator[Finding]:
    failed = [
        name
        for name, standing in zip(shares.methods, trust.standing, strict=True)
        if standing != "passes"
    ]
    if failed:
        yield Finding(
            text=(
                f"{len(failed)} of {len(shares.methods)} methods did not pass the sanity check "
                f"for {shares.target} at {shares.layer} and are in no mean over methods: "
                f"{listed(failed, most=6)}."
            ),
            weight=0.0,
        )
