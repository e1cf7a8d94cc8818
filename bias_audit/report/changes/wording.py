"""A comparison in words, and in about ten lines of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
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


_MOST: Final = 3


def diff_brief(found: AuditDiff, paths: Sequence[Path]) -> tuple[str, ...]:
    """At most a dozen lines: what changed, why, what a gate does, where the page is."""
    return (
        f"{found.before.name} ({found.before.started}) -> {found.after.name} "
        f"({found.after.started}): {format_images(found)}",
        headline(found),
        *_changes(found),
        *_verdicts(found),
        *_conclusions(found),
        *_lacking(found),
        *_gate(found),
        *([f"Comparison: {paths[0]} and {paths[-1].name}"] if paths else []),
    )


def _changes(found: AuditDiff) -> Iterator[str]:
    shown = strongest(found, _MOST)
    for change in shown:
        symbol = f"{SYMBOLS[change.outcome]} {WORDS[change.outcome]}"
        yield f"  {symbol}: {change.backbone}, {what(change)}: {moved(change)}"


def _verdicts(found: AuditDiff) -> Iterator[str]:
    turned = [v for v in found.verdict_changes if v.outcome != "same"]
    if not turned:
        return
    listed = [f"{v.criterion} ({v.backbone}) {v.before} -> {v.after}" for v in turned[:_MOST]]
    more = f"; and {len(turned) - _MOST} more" if len(turned) > _MOST else ""
    yield f"Verdicts that changed: {'; '.join(listed)}{more}"


def _conclusions(found: AuditDiff) -> Iterator[str]:
    """A conclusion about several backbones is printed once."""
    texts: dict[str, list[str]] = {}
    for conclusion in found.conclusions:
        texts.setdefault(conclusion.text, []).append(conclusion.backbone)
    for text, names in list(texts.items())[:_MOST]:
        yield f"{', '.join(names[:_MOST])}: {text}" if len(found.conclusions) > 1 else text


def _lacking(found: AuditDiff) -> Iterator[str]:
    total = sum(entry.count for entry in found.not_compared)
    if total:
        yield f"Not compared: {total} numbers, such as {found.not_compared[0].what} " + (
            f"({found.not_compared[0].reason})"
        )


def _gate(found: AuditDiff) -> Iterator[str]:
    gate = found.gate
    if not gate.fail_on:
        return
    conditions = ", ".join(gate.fail_on)
    if gate.outcome == "open":
        yield f"Gate (fails on {conditions}): OPEN"
        return
    word = {"failed": "FAILED", "undecided": "INCONCLUSIVE", "missing": "EVIDENCE MISSING"}
    more = f"; and {len(gate.reasons) - _MOST} more" if len(gate.reasons) > _MOST else ""
    outcome = f"Gate (fails on {conditions}): {word[gate.outcome]}"
    yield f"{outcome}: {'; '.join(gate.reasons[:_MOST])}{more}"
