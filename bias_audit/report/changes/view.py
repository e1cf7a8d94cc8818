"""A comparison as rows and strings, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bias_audit.report.changes.figures import ChangeFigure, change_figures
from bias_audit.report.changes.method import limits, methods
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
from bias_audit.report.elements import Fact
from bias_audit.report.sections.cover import written_date
from bias_audit.report.sections.selectors import Choices, Selectors
from bias_audit.report.sections.verdicts import SHAPES
from bias_audit.results.differing.shapes import AuditDiff, Change, RunReference
from bias_audit.results.verdict import Outcome
from bias_audit.shapes.printed import chance_of, count, decimal, interval, signed_interval
from bias_audit.shapes.tables import Column, Table

_MOST_IN_SUMMARY = 12


@dataclass(frozen=True)
class BackboneChanges:
    """One backbone."""

    anchor: str
    name: str
    counts: str
    conclusion: str
    figures: tuple[ChangeFigure, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class DiffView:
    """Everything that the page prints, in the order in which it does."""

    title: str
    facts: tuple[Fact, ...]
    headline: str
    gate: str
    """What the gate does; empty where none was asked for."""
    is_gate_closed: bool
    strongest: Table | None
    verdicts: Table | None
    n_verdicts_changed: int
    counts: Table
    causes: Table | None
    conclusions: tuple[tuple[str, str], ...]
    """Backbone and sentence."""
    backbones: tuple[BackboneChanges, ...]
    not_compared: Table | None
    noise: Table | None
    methods: tuple[str, ...]
    limits: tuple[str, ...]
    digests: tuple[Fact, ...]
    selectors: Selectors
    started: str


def diff_view(found: AuditDiff) -> DiffView:
    """Put a comparison together; its figures are drawn when they are asked for."""
    names = tuple(dict.fromkeys(change.backbone for change in found.changes))
    turned = [v for v in found.verdict_changes if v.outcome != "same"]
    return DiffView(
        title=f"{found.before.name} and {found.after.name}"
        if found.before.name != found.after.name
        else found.after.name,
        facts=_facts(found),
        headline=headline(found),
        gate=_gate(found),
        is_gate_closed=found.gate.outcome != "open",
        strongest=_strongest(found),
        verdicts=_verdicts(found),
        n_verdicts_changed=len(turned),
        counts=_counts(found, names),
        causes=_causes(found),
        conclusions=tuple((c.backbone, c.text) for c in found.conclusions),
        backbones=tuple(_backbone(found, name, index) for index, name in enumerate(names)),
        not_compared=_not_compared(found),
        noise=_noise(found),
        methods=methods(found),
        limits=limits(found),
        digests=_digests(found),
        selectors=Selectors(
            layers=tuple(
                Choices(
                    name,
                    tuple(dict.fromkeys(c.layer for c in found.changes if c.backbone == name)),
                )
                for name in names
            ),
            groups=(),
        ),
        started=found.after.started,
    )


def _facts(found: AuditDiff) -> tuple[Fact, ...]:
    return (
        Fact("Before", _run(found.before)),
        Fact("After", _run(found.after)),
        Fact("Images", (images_told(found),)),
        Fact("Margin", (_margin(found), found.policy.rationale)),
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
            Column("number"),
            Column("backbone"),
            Column("outcome"),
            Column("before", numeric=True),
            Column("after", numeric=True),
            Column("difference", numeric=True),
            Column("adjusted p", numeric=True),
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
        columns=(
            Column("criterion"),
            Column("backbone"),
            Column("before"),
            Column("after"),
            Column("change"),
        ),
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
            Column("backbone"),
            *(Column(f"{SYMBOLS[o]} {WORDS[o]}", numeric=True) for o in shown),
            Column("all", numeric=True),
        ),
        rows=tuple(rows),
    )


def _causes(found: AuditDiff) -> Table | None:
    if not found.causes:
        return None
    return Table(
        caption="What differs between the audits",
        columns=(Column("what"), Column("backbone"), Column("before -> after"), Column("weight")),
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


def _backbone(found: AuditDiff, name: str, index: int) -> BackboneChanges:
    own = tuple(change for change in found.changes if change.backbone == name)
    anchor = f"backbone-{index}"
    counts = {outcome: sum(c.outcome == outcome for c in own) for outcome in found.counts()}
    said = [c.text for c in found.conclusions if c.backbone == name]
    return BackboneChanges(
        anchor=anchor,
        name=name,
        counts=counts_told(counts),
        conclusion=" ".join(said),
        figures=tuple(change_figures(own, anchor)),
        tables=tuple(_tables(own)),
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
            Column("quantity"),
            Column("target"),
            Column("layer"),
            *((Column("group"),) if of_groups else ()),
            Column("outcome"),
            Column("before", numeric=True),
            Column("after", numeric=True),
            Column("difference", numeric=True),
            Column("noise", numeric=True),
            Column("adjusted p", numeric=True),
            Column("compared"),
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
        columns=(Column("what"), Column("numbers", numeric=True), Column("why")),
        rows=tuple((e.what, count(e.count), e.reason) for e in found.not_compared),
    )


def _noise(found: AuditDiff) -> Table | None:
    if not found.noise:
        return None
    return Table(
        caption="How much values move by refitting alone (standard deviation)",
        columns=(
            Column("backbone"),
            Column("quantity"),
            Column("target"),
            Column("before", numeric=True),
            Column("after", numeric=True),
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
