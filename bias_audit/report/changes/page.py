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
    format_counts,
    format_images,
    headline,
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
_NO_THRESHOLD = "No acceptance threshold was set, so there is no pass or fail."


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
    """Put a comparison together; its figures are drawn when they are needed."""
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
                    Fact("Images", (format_images(found),)),
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
                "What could not be compared?",
                maybe(
                    _not_compared(found),
                    otherwise="Every number of each audit was compared with one of the other.",
                ),
            ),
            Section(
                "noise",
                "How much do numbers vary when nothing changes?",
                parts(
                    Prose(
                        "How much a number varies when the same probes are fitted again to the "
                        "same images, with other folds. A change that is not larger than this "
                        "says nothing about the backbone."
                    ),
                    maybe(_noise(found), otherwise="Neither audit measured this."),
                ),
            ),
            Section(
                "method",
                "How was this computed, and what are its limits?",
                (
                    Section("how", "Method", paragraphs(_methods(found))),
                    Section("limits", "Limits", bullets(_limits(found))),
                ),
            ),
            Section(
                "provenance",
                "Where do these numbers come from?",
                (
                    Prose(
                        "This page is made from diff.json beside it, which is made from the "
                        "results of both audits and from cached values of single images; neither "
                        "file contains any value of a single image."
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
        "What changed?",
        parts(
            (Prose(gate, "box failure" if is_closed else "box", "Gate."),) if gate else (),
            Prose(headline(found)),
            [Prose(c.text, "box", f"{c.backbone}.") for c in found.conclusions],
            Tabled(_counts(found, names)),
            _significant(found),
            Section(
                "verdicts",
                "Did verdicts change?",
                parts(unchanged, maybe(verdicts, otherwise=_NO_THRESHOLD)),
            ),
        ),
    )


def _significant(found: AuditDiff) -> tuple[Part, ...]:
    table = _strongest(found)
    if table is not None:
        return (Section("significant", "Which numbers changed significantly?", (Tabled(table),)),)
    return (
        Prose(
            "No number changed significantly. This is not evidence that nothing changed: the "
            "table above counts the inconclusive comparisons."
        ),
    )


def _of_causes(found: AuditDiff) -> Section:
    table = _causes(found)
    if table is None:
        said: tuple[Part, ...] = (
            Prose(
                "No recorded difference: weights, preprocessing, images, labels, config, "
                "versions and hardware are the same."
            ),
        )
    else:
        said = (
            Prose(
                "The recorded differences between the audits. A single difference is the likely "
                "cause. Among several, only an audit that changes one alone can show the cause."
            ),
            Tabled(table),
        )
    return Section("causes", "Why did it change?", said)


def _backbone(found: AuditDiff, name: str, index: int) -> Section:
    own = tuple(change for change in found.changes if change.backbone == name)
    anchor = f"backbone-{index}"
    counts = {outcome: sum(c.outcome == outcome for c in own) for outcome in found.counts()}
    said = " ".join(c.text for c in found.conclusions if c.backbone == name)
    return Section(
        anchor,
        f"Backbone {name}",
        parts(
            Prose(f"{format_counts(counts)}. {said}"),
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
        "open": "Open: nothing that should stop the pipeline was found.",
        "failed": "Failed:",
        "undecided": "Inconclusive:",
        "missing": "Closed, because evidence is missing:",
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
    note = "" if decided == len(shown) else f" ({len(shown)} of {decided} shown)"
    return Table(
        caption=f"Significant changes beyond the margin, worse ones first{note}",
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
        caption="Verdicts before and after",
        columns=text_columns("criterion", "backbone", "before", "after", "change"),
        rows=tuple(
            (
                f"{v.criterion} ({v.target}, {v.layer})",
                v.backbone,
                _verdict(v.before),
                _verdict(v.after),
                v.outcome
                if v.is_same_criterion or None in {v.before, v.after}
                else f"{v.outcome}; the criterion itself changed",
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
        caption="How many numbers changed",
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
        columns=text_columns("what", "backbone", "before -> after", "effect"),
        rows=tuple(
            (
                cause.name,
                cause.backbone or "all",
                cause.detail,
                "rounding or refitting only" if cause.is_minor else "possible cause",
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
            *text_columns("quantity", "attribute", "layer"),
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
        caption="Numbers without a counterpart in the other audit",
        columns=(*text_columns("what"), *number_columns("numbers"), *text_columns("why")),
        rows=tuple((e.what, count(e.count), e.reason) for e in found.not_compared),
    )


def _noise(found: AuditDiff) -> Table | None:
    if not found.noise:
        return None
    return Table(
        caption="How much numbers vary when probes are fitted again (standard deviation)",
        columns=(
            *text_columns("backbone", "quantity", "attribute"),
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
        "Numbers are matched by backbone, quantity, attribute, layer and group. Each audit keeps "
        "what every image contributes to each number (its influence). For images that both "
        "audits have, these contributions are subtracted, together for one person or one set of "
        "near duplicates; images of only one audit enter on their own. So what both audits share "
        "cancels, and a partial overlap is treated exactly.",
        "The noise of refitting does not cancel: with other folds, the same images and weights "
        "give another value. Each audit measures this noise by fitting its probes again. The "
        "error of a paired difference adds the squares of both standard deviations. "
        "Contributions differ between fits as well, so part of the noise counts twice, and paired "
        "intervals are somewhat wider than necessary. For a lift, the baseline is assumed to vary "
        "as much as the probe; for a group, the noise is the same share of its standard error as "
        "for all images. Where the noise was not measured, or contributions are gone, numbers "
        "are compared like those of independent audits (Newcombe's square-and-add), whose "
        "intervals already include the noise.",
        f"A change is equivalent if its {100 * (1 - 2 * alpha):g} % interval lies within the "
        f"margin on both sides of 0 (two one-sided tests at {alpha:.2g}; Schuirmann 1987). "
        f"Otherwise it is improved, worse, higher or lower if its p-value, adjusted by Holm over "
        f"all compared numbers, is at most {alpha:.2g}, and inconclusive if not. The intervals "
        f"printed are {level:g} % intervals, not corrected for multiple comparisons.",
        "The config (changes.better) or the command says which way is better; otherwise a "
        "criterion on the same number does (at most: lower is better; at least: higher). If none "
        "says so, a change is called higher or lower, not worse or improved.",
        "Causes are read from the records of both audits: digests of weights, images and labels, "
        "preprocessing, configs, versions of the packages that affect numbers, and hardware.",
    )


def _limits(found: AuditDiff) -> tuple[str, ...]:
    sentences = [
        "A cause is named because it is the only recorded difference, not because an experiment "
        "varied it; what is not recorded cannot be named.",
        "An inconclusive change is not evidence that nothing changed: more images, or a wider "
        "margin with a reason, would decide it.",
        "Numbers of one audit depend on each other (layers follow each other), so several changes "
        "may have one cause.",
        *found.notes,
    ]
    without = [n for n in found.noise if n.before is None or n.after is None]
    if without or not found.noise:
        sentences.append(
            "For some quantities, one audit did not measure the noise of refitting, so their "
            "numbers are compared as independent ones; set controls.refits to measure it."
        )
    if found.shared_images == 0:
        sentences.append(
            "The audits share no image, so a difference may come from the people shown."
        )
    return tuple(sentences)
