"""How a comparison was made, and what does not follow from it."""

from __future__ import annotations

from bias_audit.results.differing.shapes import AuditDiff


def methods(found: AuditDiff) -> tuple[str, ...]:
    """Sentences for the page."""
    level = 100 * found.policy.level
    alpha = 1 - found.policy.level
    return (
        "Numbers are matched by backbone, quantity, target, layer and group. Each audit keeps "
        "what every image contributes to each number (its influence). Images that both audits "
        "have are joined, with all of a person or of a set of near duplicates, and their "
        "contributions subtracted; what only one audit has enters on its own. So what both share "
        "cancels, and a partial overlap is treated exactly.",
        "What does not cancel is the noise of refitting: with other folds the same images and "
        "weights give another value. Each audit measures it by fitting its probes anew, and the "
        "standard deviations of both are added to the error of a paired difference, in squares; "
        "since the contributions differ between fits as well, part of it counts twice, and paired "
        "intervals cover more often than they say. "
        "For a lift over a control the control is taken to vary as the probe does; for a group "
        "the noise is the same share of its standard error as for all images. Where it was not "
        "measured, or contributions are gone, numbers are compared as those of independent "
        "audits (Newcombe's square-and-add), whose intervals hold the noise already.",
        f"A change is equivalent where its {100 * (1 - 2 * alpha):g} % interval lies within the "
        f"margin on both sides of 0 (two one-sided tests at {alpha:.2g}; Schuirmann 1987). "
        f"Otherwise it is called improved, worse, higher or lower where its p-value, adjusted by "
        f"Holm over all numbers compared, is at most {alpha:.2g}; and undecided where neither "
        f"holds. Intervals printed are of {level:g} % and not adjusted.",
        "Which way is better is what the config (changes.better) or the command says, else what a "
        "criterion on the same number asks for: at most, lower; at least, higher. Where nobody "
        "said it, a change is higher or lower, and neither worse nor improved.",
        "Causes are read from what both audits record: digests of weights, images and labels, "
        "preprocessing, configs, versions of the packages that numbers pass through, hardware.",
    )


def limits(found: AuditDiff) -> tuple[str, ...]:
    """Sentences for the page."""
    sentences = [
        "A cause is named because it is the only recorded difference, not because it was varied "
        "on its own; what is not recorded cannot be named.",
        "An undecided change is not evidence that nothing changed: more images, or a wider margin "
        "with a reason, would decide it.",
        "Numbers of one audit depend on each other (layers follow each other), so that several "
        "changes may be one.",
        *found.notes,
    ]
    without = [n for n in found.noise if n.before is None or n.after is None]
    if without or not found.noise:
        sentences.append(
            "The noise floor was not measured in both audits for every quantity, so those "
            "numbers are compared as independent ones; set controls.refits to measure it."
        )
    if found.shared_images == 0:
        sentences.append("The audits share no image: a difference may be one of the people shown.")
    return tuple(sentences)
