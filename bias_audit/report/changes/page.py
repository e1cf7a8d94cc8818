"""A comparison as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bias_audit.durations import written_date
from bias_audit.files import write_text
from bias_audit.report.changes.figures import change_figures
from bias_audit.report.changes.wording import (
    SYMBOLS,
    WORDS,
    counts_told,
    headline,
    images_told,
    quantity_named,
    strongest,
    what,
)
from bias_audit.report.page import (
    Choices,
    Fact,
    Facts,
    Page,
    Part,
    Picker,
    Prose,
    Section,
    Tabled,
    bullets,
    html,
    maybe,
    number_columns,
    paragraphs,
    parts,
    text_columns,
)
from bias_audit.report.sections.verdicts import SHAPES
from bias_audit.results.differing.shapes import AuditDiff, Change, RunReference
from bias_audit.results.verdict import Outcome
from bias_audit.shapes.printed import chance_of, count, decimal, interval, signed_interval
from bias_audit.shapes.tables import Table

_MOST_IN_SUMMARY = 12


def write_diff(found: AuditDiff, folder: Path) -> tuple[Path, Path]:
    """Write `diff.html` and `diff.json` into a folder; never loads a model.

    Returns:
        Both files, the page first.

    Raises:
        OutputError: The disk refuses.
    """
    page, data = folder / "diff.html", folder / "diff.json"
    text = html(diff_page(found))
    write_text(data, found.model_dump_json(indent=1) + "\n")
    write_text(page, text)
    return page, data


def diff_page(found: AuditDiff) -> Page:
    """Put a comparison together; its figures are drawn when they are asked for."""
    names = tuple(dict.fromkeys(change.backbone for change in found.changes))
    title = found.after.name
    if found.before.name != title:
        title = f"{found.before.name} and {title}"
    layers = tuple(
        Choices(name, tuple(dict.fromkeys(c.layer for c in found.changes if c.backbone == name)))
        for name in names
    )
    return Page(
        kind="Comparison of two audits",
        title=title,
        headline=headline(found),
        running="Comparison of audits",
        lead=title,
        cover=(
            Facts(
                (
                    Fact("Before", _run(found.before)),
                    Fact("After", _run(found.after)),
                    Fact("Images", (images_told(found),)),
                    Fact("Margin", (_margin(found), found.policy.rationale)),
                )
            ),
        ),
        sections=(
            _summary(found, names),
            _of_causes(found),
            *(_backbone(found, name, index) for index, name in enumerate(names)),
            Section(
                "missing",
                "Not compared",
                maybe(
                    _not_compared(found),
                    otherwise="Every number of either audit has a counterpart.",
                ),
            ),
            Section(
                "noise",
                "Noise floor",
                parts(
                    Prose(
                        "How much a value moves when the same probes are fitted to the same "
                        "images with other folds. A change of the same images that is not larger "
                        "than this says nothing about the backbone."
                    ),
                    maybe(_noise(found), otherwise="No audit measured it."),
                ),
            ),
            Section(
                "method",
                "Method and limits",
                (
                    Section("how", "Method", paragraphs(_methods(found))),
                    Section("limits", "Limits", bullets(_limits(found))),
                ),
            ),
            Section(
                "provenance",
                "Provenance",
                (
                    Prose(
                        "This page is made from diff.json beside it, which is made from the "
                        "results of both audits and from what their cache holds of single images; "
                        "nothing of the latter is in either."
                    ),
                    Facts(_digests(found)),
                ),
            ),
        ),
        footer=(
            f"Comparison of {title}. Aggregates only: no face, and no number about a single "
            "person."
        ),
        created=found.after.started,
        description=f"Comparison of two audits: {title}",
        pickers=(Picker("layer", "Layer", "all layers", layers),),
    )


def _summary(found: AuditDiff, names: Sequence[str]) -> Section:
    is_closed = found.gate.outcome != "open"
    turned = [v for v in found.verdict_changes if v.outcome != "same"]
    verdicts = _verdicts(found)
    unchanged = (Prose("No verdict changed."),) if verdicts and not turned else ()
    gate = _gate(found)
    return Section(
        "summary",
        "What changed",
        parts(
            (Prose(gate, "box failure" if is_closed else "box", "Gate."),) if gate else (),
            Prose(headline(found)),
            [Prose(c.text, "box", f"{c.backbone}.") for c in found.conclusions],
            Tabled(_counts(found, names)),
            _surest(found),
            Section(
                "verdicts",
                "Verdicts",
                parts(unchanged, maybe(verdicts, otherwise="Neither audit declares a criterion.")),
            ),
        ),
    )


def _surest(found: AuditDiff) -> tuple[Part, ...]:
    table = _strongest(found)
    if table is not None:
        return (Section("surest", "Changes beyond chance", (Tabled(table),)),)
    return (
        Prose(
            "No number changed beyond chance and margin. That is not evidence that nothing "
            "changed: what is undecided is counted above."
        ),
    )


def _of_causes(found: AuditDiff) -> Section:
    table = _causes(found)
    if table is None:
        said: tuple[Part, ...] = (
            Prose(
                "Nothing that is recorded differs: weights, preprocessing, images, labels, "
                "config, versions and hardware are the same."
            ),
        )
    else:
        said = (
            Prose(
                "What is recorded of both audits and differs. A single difference is the likely "
                "cause; several cannot be told apart without an audit that changes only one of "
                "them."
            ),
            Tabled(table),
        )
    return Section("causes", "Likely causes", said)


def _backbone(found: AuditDiff, name: str, index: int) -> Section:
    own = tuple(change for change in found.changes if change.backbone == name)
    anchor = f"backbone-{index}"
    counts = {outcome: sum(c.outcome == outcome for c in own) for outcome in found.counts()}
    said = " ".join(c.text for c in found.conclusions if c.backbone == name)
    return Section(
        anchor,
        f"Backbone {name}",
        parts(
            Prose(f"{counts_told(counts)}. {said}"),
            [*change_figures(own, anchor)],
            Section(
                f"{anchor}-numbers",
                "All numbers",
                tuple(Tabled(table, is_folded=True) for table in _tables(own)),
            ),
        ),
        look="backbone",
        name=name,
    )


def _run(run: RunReference) -> tuple[str, ...]:
    return f"{run.name}, {written_date(run.started)}", run.folder


def _margin(found: AuditDiff) -> str:
    used = dict.fromkeys((quantity_named(c.quantity), c.margin) for c in found.changes)
    sizes = {margin for _, margin in used}
    if len(sizes) == 1:
        return f"{sizes.pop():g} for every quantity"
    return "; ".join(f"{name} {margin:g}" for name, margin in used)


def _gate(found: AuditDiff) -> str:
    gate = found.gate
    if not gate.fail_on:
        return ""
    words = {
        "open": "Nothing that was to stop it does.",
        "failed": "It fails:",
        "undecided": "It is undecided:",
        "missing": "It does not open, because evidence is missing:",
    }
    return f"{words[gate.outcome]} {'; '.join(gate.reasons)}".strip()


def _outcome(change: Change) -> str:
    return f"{SYMBOLS[change.outcome]} {WORDS[change.outcome]}"


def _strongest(found: AuditDiff) -> Table | None:
    shown = strongest(found, _MOST_IN_SUMMARY)
    if not shown:
        return None
    decided = sum(
        change.outcome in {"worse", "improved", "higher", "lower"} for change in found.changes
    )
    note = "" if decided == len(shown) else f", {len(shown)} of {decided}"
    return Table(
        caption=f"What changed beyond chance and margin, the surest first{note}",
        columns=(
            *text_columns("number", "backbone", "outcome"),
            *number_columns("before", "after", "difference", "adjusted p"),
        ),
        rows=tuple(
            (
                what(change),
                change.backbone,
                _outcome(change),
                interval(change.before),
                interval(change.after),
                signed_interval(change.difference),
                chance_of(change.adjusted_p),
            )
            for change in shown
        ),
    )


def _verdicts(found: AuditDiff) -> Table | None:
    if not found.verdict_changes:
        return None
    order = ("worse", "changed", "improved", "not compared", "same")
    entries = sorted(found.verdict_changes, key=lambda each: order.index(each.outcome))
    return Table(
        caption="Verdicts on the declared criteria",
        columns=text_columns("criterion", "backbone", "before", "after", "change"),
        rows=tuple(
            (
                f"{v.criterion} ({v.target}, {v.layer})",
                v.backbone,
                _verdict(v.before),
                _verdict(v.after),
                v.outcome
                if v.is_same_criterion or None in {v.before, v.after}
                else f"{v.outcome}; the criterion itself was changed",
            )
            for v in entries
        ),
    )


def _verdict(outcome: Outcome | None) -> str:
    return "not declared" if outcome is None else f"{SHAPES[outcome]} {outcome}"


def _counts(found: AuditDiff, names: Sequence[str]) -> Table:
    outcomes = found.counts()
    shown = [outcome for outcome in outcomes if outcomes[outcome]]
    rows = []
    for name in names:
        own = [change.outcome for change in found.changes if change.backbone == name]
        rows.append((name, *(count(own.count(outcome)) for outcome in shown), count(len(own))))
    return Table(
        caption="Numbers compared, by outcome",
        columns=(
            *text_columns("backbone"),
            *number_columns(*(f"{SYMBOLS[o]} {WORDS[o]}" for o in shown), "all"),
        ),
        rows=tuple(rows),
    )


def _causes(found: AuditDiff) -> Table | None:
    if not found.causes:
        return None
    return Table(
        caption="What differs between the audits",
        columns=text_columns("what", "backbone", "before -> after", "weight"),
        rows=tuple(
            (
                cause.name,
                cause.backbone or "all",
                cause.detail,
                "moves numbers by rounding or refitting alone" if cause.is_minor else "may be why",
            )
            for cause in found.causes
        ),
    )


def _tables(changes: Sequence[Change]) -> Iterator[Table]:
    curves = [change for change in changes if change.group is None]
    groups = [change for change in changes if change.group is not None]
    if curves:
        yield _table("All changes by layer", curves, of_groups=False)
    if groups:
        yield _table("All changes by group", groups, of_groups=True)


def _table(caption: str, changes: Sequence[Change], *, of_groups: bool) -> Table:
    return Table(
        caption=caption,
        columns=(
            *text_columns("quantity", "target", "layer"),
            *text_columns(*(("group",) if of_groups else ()), "outcome"),
            *number_columns("before", "after", "difference", "noise", "adjusted p"),
            *text_columns("compared"),
        ),
        rows=tuple(
            (
                ("lift of " if c.of == "lift" else "") + quantity_named(c.quantity),
                c.target,
                c.layer,
                *((c.group or "",) if of_groups else ()),
                _outcome(c),
                interval(c.before),
                interval(c.after),
                signed_interval(c.difference),
                "none added" if c.noise is None else decimal(c.noise, 4),
                "identical" if c.identical else chance_of(c.adjusted_p),
                "identical" if c.identical else "image by image" if c.paired else "independent",
            )
            for c in changes
        ),
        n_headers=4 if of_groups else 3,
    )


def _not_compared(found: AuditDiff) -> Table | None:
    if not found.not_compared:
        return None
    return Table(
        caption="What has no counterpart",
        columns=(*text_columns("what"), *number_columns("numbers"), *text_columns("why")),
        rows=tuple((e.what, count(e.count), e.reason) for e in found.not_compared),
    )


def _noise(found: AuditDiff) -> Table | None:
    if not found.noise:
        return None
    return Table(
        caption="How much values move by refitting alone (standard deviation)",
        columns=(
            *text_columns("backbone", "quantity", "target"),
            *number_columns("before", "after"),
        ),
        rows=tuple(
            (n.backbone, quantity_named(n.quantity), n.target, _sd(n.before), _sd(n.after))
            for n in found.noise
        ),
        n_headers=3,
    )


def _sd(value: float | None) -> str:
    return "not measured" if value is None else decimal(value, 4)


def _digests(found: AuditDiff) -> tuple[Fact, ...]:
    return tuple(
        Fact(f"{what_of} of {side}", (value,), is_code=True)
        for side, run in (("BEFORE", found.before), ("AFTER", found.after))
        for what_of, value in (("audit.json", run.audit_sha256), ("Config", run.config_sha256))
    )


def _methods(found: AuditDiff) -> tuple[str, ...]:
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


def _limits(found: AuditDiff) -> tuple[str, ...]:
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
