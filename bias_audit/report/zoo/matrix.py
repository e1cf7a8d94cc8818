"""Backbones by criteria, from their latest audits."""

from __future__ import annotations

from markupsafe import Markup

from bias_audit.report.page import Item, Items, Section, Tabled, linked, text_columns
from bias_audit.report.sections.verdicts import badge, claim, tally
from bias_audit.report.zoo.links import Links
from bias_audit.results.history.reading import Backbone, History, TrackedVerdict
from bias_audit.shapes.printed import interval, signed_interval
from bias_audit.shapes.tables import Table


def matrices(history: History, links: Links) -> tuple[Section, ...]:
    """A matrix for every dataset whose audits have criteria."""
    by_backbone: dict[int, dict[str, TrackedVerdict]] = {}
    for verdict in history.verdicts:
        by_backbone.setdefault(verdict.backbone_id, {})[verdict.criterion] = verdict
    found = []
    for place, dataset in enumerate(history.datasets):
        here = [each for each in history.latest if each.audit.dataset == dataset]
        verdicts = [v for each in here for v in by_backbone.get(each.id, {}).values()]
        if not verdicts:
            continue
        names = list(dict.fromkeys(verdict.criterion for verdict in verdicts))
        claims = tuple(
            Item(Markup("<strong>{}</strong>: {}").format(name, _claims(verdicts, name)))
            for name in names
        )
        table = Table(
            caption=f"Verdicts of the latest audits on {dataset}",
            columns=text_columns("backbone", *names, "audit"),
            rows=tuple(
                (
                    each.label,
                    *(_cell(each, by_backbone.get(each.id, {}).get(n), links) for n in names),
                    linked(each.audit.started[:10], links.backbone(each)),
                )
                for each in here
            ),
        )
        title = f"{dataset}: {counts_of(verdicts)}"
        parts = (Items(claims, "claims"), Tabled(table, "matrix"))
        found.append(Section(f"verdicts-{place}", title, parts))
    return tuple(found)


def counts_of(verdicts: list[TrackedVerdict]) -> str:
    """Such as "3 PASS, 1 FAIL"; empty without verdicts."""
    return tally([verdict.outcome for verdict in verdicts])


def claim_of(verdict: TrackedVerdict) -> str:
    """What was to be shown, with the margin."""
    margin = verdict.lowest, verdict.highest
    return claim(verdict.of_what, verdict.quantity, verdict.target, verdict.layers, margin)


def _claims(verdicts: list[TrackedVerdict], name: str) -> str:
    claims = dict.fromkeys(claim_of(v) for v in verdicts if v.criterion == name)
    return " | ".join(claims)


def _cell(backbone: Backbone, verdict: TrackedVerdict | None, links: Links) -> str:
    if verdict is None:
        return Markup('<span class="rationale">not examined</span>')
    form = signed_interval if verdict.of_what == "lift" else interval
    group = "" if verdict.group_name is None else f"{verdict.group_name}, "
    link = links.report(backbone.audit, f"verdict-{verdict.position}")
    was = Markup(' <span class="tag">before: {}</span>').format(verdict.before)
    where = Markup('<br><span class="rationale">{}at {}</span>').format(group, verdict.layer)
    return Markup("{}{}<br>{}{}").format(
        badge(verdict.outcome, link),
        was if verdict.before else "",
        form(verdict.estimate),
        where if verdict.layer else "",
    )
