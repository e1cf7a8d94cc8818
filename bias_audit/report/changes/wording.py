"""A comparison in words."""

from __future__ import annotations

from typing import Final

from bias_audit.results.differing.shapes import AuditDiff, Change, ChangeOutcome
from bias_audit.shapes.printed import chance_of, counted, decimal, interval, signed_interval

SYMBOLS: Final[dict[ChangeOutcome, str]] = {
    "worse": "\N{BLACK DOWN-POINTING TRIANGLE}",
    "improved": "\N{BLACK UP-POINTING TRIANGLE}",
    "higher": "\N{BLACK RIGHT-POINTING TRIANGLE}",
    "lower": "\N{BLACK LEFT-POINTING TRIANGLE}",
    "undecided": "\N{WHITE DIAMOND}",
    "equivalent": "\N{BLACK CIRCLE}",
}
"""Beside the word, as figures draw them."""
WORDS: Final[dict[ChangeOutcome, str]] = {
    "worse": "worse",
    "improved": "improved",
    "higher": "higher",
    "lower": "lower",
    "undecided": "undecided",
    "equivalent": "equivalent within the margin",
}
_QUANTITIES: Final = {
    "macro_auc": "macro AUC",
    "balanced_accuracy": "balanced accuracy",
    "bits": "information in bits",
    "within_auc": "AUC within the group",
    "cell_auc": "AUC against all others",
}


def quantity_named(quantity: str) -> str:
    """For a reader; a name that is not known as it is."""
    return _QUANTITIES.get(quantity, quantity.replace("_", " "))


def what(change: Change) -> str:
    """Such as "macro AUC of age at blocks.5" or "recall of age at blocks.5, 20-29"."""
    lift = "lift of " if change.of == "lift" else ""
    group = "" if change.group is None else f", {change.group}"
    return f"{lift}{quantity_named(change.quantity)} of {change.target} at {change.layer}{group}"


def moved(change: Change) -> str:
    """Such as "0.61 -> 0.55, difference -0.06 [-0.08, -0.04], adjusted p < 0.001"."""
    if change.identical:
        return f"{interval(change.before)} in both audits"
    before, after = (decimal(each.value, 3) for each in (change.before, change.after))
    return (
        f"{before} -> {after}, difference {signed_interval(change.difference)}, "
        f"adjusted {chance_of(change.adjusted_p)}"
    )


def told(change: Change) -> str:
    """All that a figure shows of it."""
    level = f"{100 * change.difference.level:g} %"
    how = "identical" if change.identical else "paired" if change.paired else "not paired"
    return f"{moved(change)} ({level}, {how}); margin {change.margin:g}; {WORDS[change.outcome]}"


def counts_told(counts: dict[ChangeOutcome, int]) -> str:
    """Such as "3 worse, 210 equivalent within the margin"."""
    return ", ".join(f"{n} {WORDS[outcome]}" for outcome, n in counts.items() if n)


def headline(found: AuditDiff) -> str:
    """What changed, in one sentence."""
    counts = found.counts()
    total = len(found.changes)
    if all(change.identical for change in found.changes):
        return f"All {counted(total, 'number')} compared are identical."
    return f"{counted(total, 'number')} compared: {counts_told(counts)}."


def images_told(found: AuditDiff) -> str:
    """Which images both audits rest on."""
    if found.shared_images is None:
        return "how many images both audits share is not known"
    parts = [f"{counted(found.shared_images, 'shared image')}"]
    parts += [
        f"{count} only {side}"
        for count, side in ((found.only_before, "before"), (found.only_after, "after"))
        if count
    ]
    if found.relabelled:
        parts.append(f"{found.relabelled} of the shared ones relabelled")
    elif found.relabelled is None:
        parts.append("whether labels changed is not known")
    return ", ".join(parts)


def strongest(found: AuditDiff, most: int) -> tuple[Change, ...]:
    """The changes that were decided, worse ones first, then by the distance from no change."""
    order = ("worse", "lower", "higher", "improved")
    decided = [change for change in found.changes if change.outcome in order]
    decided.sort(key=lambda c: (order.index(c.outcome) > 0, c.adjusted_p or 0.0, -_size(c)))
    return tuple(decided[:most])


def _size(change: Change) -> float:
    return abs(change.difference.value)
