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
    "undecided": "inconclusive",
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
    """A quantity in words; an unknown one is named as it is."""
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


def format_change(change: Change) -> str:
    """Everything that a figure shows about a change."""
    level = f"{100 * change.difference.level:g} %"
    how = "identical" if change.identical else "paired" if change.paired else "not paired"
    return f"{moved(change)} ({level}, {how}); margin {change.margin:g}; {WORDS[change.outcome]}"


def format_counts(counts: dict[ChangeOutcome, int]) -> str:
    """Such as "3 worse, 210 equivalent within the margin"."""
    return ", ".join(f"{n} {WORDS[outcome]}" for outcome, n in counts.items() if n)


def headline(found: AuditDiff) -> str:
    """What changed, in one sentence."""
    counts = found.counts()
    total = len(found.changes)
    if all(change.identical for change in found.changes):
        return f"All {counted(total, 'number')} compared are identical."
    return f"{counted(total, 'number')} compared: {format_counts(counts)}."


def format_images(found: AuditDiff) -> str:
    """Which images both audits rest on."""
    if found.shared_images is None:
        return "it is unknown how many images both audits share"
    parts = [f"{counted(found.shared_images, 'shared image')}"]
    parts += [
        f"{count} only in {side}"
        for count, side in ((found.only_before, "BEFORE"), (found.only_after, "AFTER"))
        if count
    ]
    if found.relabelled:
        parts.append(f"{found.relabelled} of the shared ones with other labels")
    elif found.relabelled is None:
        parts.append("it is unknown whether labels changed")
    return ", ".join(parts)


def strongest(found: AuditDiff, most: int) -> tuple[Change, ...]:
    """The significant changes, worse ones first, then by the distance from no change."""
    order = ("worse", "lower", "higher", "improved")
    decided = [change for change in found.changes if change.outcome in order]
    decided.sort(key=lambda c: (order.index(c.outcome) > 0, c.adjusted_p or 0.0, -_size(c)))
    return tuple(decided[:most])


def _size(change: Change) -> float:
    return abs(change.difference.value)
