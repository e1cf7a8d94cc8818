"""What page one says to do next, what not to conclude, and how sure the numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from markupsafe import Markup

from bias_audit.config.schema import SmallGroups
from bias_audit.groups import INTERSECTION
from bias_audit.report.sections.readings import readings, value_of
from bias_audit.results.audit import AuditResult
from bias_audit.shapes.printed import counted, listed_all

_MOST_STEPS: Final = 4


def steps(result: AuditResult) -> list[str]:
    """What a reviewer does next, the most pressing first."""
    found = [*_repairs(result), *_decisions(result), *_more_images(result)]
    if result.data.label_origin.startswith("by construction"):
        found.append("Audit photographs: rendered faces show how an audit works.")
    found.append("Test the downstream task itself: what can be read need not be used.")
    return found[:_MOST_STEPS]


def _repairs(result: AuditResult) -> Iterator[str]:
    if result.failed:
        titles = dict.fromkeys(analysis.title for analysis in result.failed)
        yield f"Repair what failed: {listed_all([*titles])}."
    if result.selftest and result.selftest.not_ok:
        yield "Do not rely on numbers whose self-test failed; report it to the tool's makers."
    warned = [
        f for _, analyses in result.analysed for a in analyses for f in a.findings if f.is_warning
    ]
    if warned:
        yield f"Check a possible shortcut: {warned[0].text}"


def _decisions(result: AuditResult) -> Iterator[str]:
    if not result.verdicts:
        yield Markup(
            "Decide which use is planned, and set thresholds for it (<code>bias-audit "
            "suggest</code>)."
        )
    failed = dict.fromkeys(v.criterion.name for v in result.verdicts if v.outcome == "FAIL")
    if failed:
        yield f"Decide what follows from the failed criteria: {listed_all([*failed])}."
    waiting = [v for v in result.verdicts if v.outcome == "INCONCLUSIVE" and v.n_to_decide]
    for verdict in sorted(waiting, key=lambda v: v.n_to_decide or 0)[:1]:
        group = verdict.deciding.group.label if verdict.deciding and verdict.deciding.group else ""
        of = f" of {group}" if group else ""
        yield (
            f"Add images{of}: about {counted(verdict.n_to_decide or 0, 'image')} in all would "
            f"decide “{verdict.criterion.name}”."
        )


def _more_images(result: AuditResult) -> Iterator[str]:
    fewest = SmallGroups.model_validate(result.config.get("small_groups") or {}).minimum
    few = [cell for cell in result.data.cells if cell.used < fewest]
    if few:
        text = Markup(
            "Add images of {} of the {} groups: they have fewer than {} "
            '(<a href="#data">Data</a>).'
        )
        yield text.format(len(few), len(result.data.cells), fewest)


def cautions(result: AuditResult) -> list[str]:
    """What must not be concluded, whatever was found."""
    found = [
        "that the network, or a product, treats groups alike or differently: no decision about "
        "people was measured;",
        "anything about a single person, or what people are: labels are annotations;",
    ]
    if result.data.label_origin.startswith("by construction"):
        found.append("anything about real people: these faces are computer renders.")
    else:
        single = [r for r in readings(result) if r.number and r.target != INTERSECTION]
        if len({r.target for r in single}) > 1:
            name = min(single, key=value_of).target
            found.append(f"that {name} is unimportant because it is harder to read.")
    return found


def sureness(result: AuditResult) -> list[str]:
    """How far the numbers can be trusted."""
    found = [r.number for r in readings(result) if r.number and r.number.estimate]
    levels = {f"{100 * n.estimate.level:.4g} %" for n in found if n.estimate}
    layers = max((len(s.backbone.layers) for s in result.subjects), default=0)
    said = []
    if levels:
        choice = f"; at a best layer, they allow for the choice among {layers}"
        said.append(f"{listed_all(sorted(levels))} intervals{choice if layers > 1 else ''}")
        said.append(
            "“easier to read” and “changes the classes” are corrected for layers, attributes and "
            "backbones"
        )
    shown = result.data.n_identities
    people = f"{shown:,} annotated identities" if shown else "it is not recorded whom they show"
    said.append(f"{counted(result.data.n_images, 'image')}; {people}")
    if result.selftest:
        rows, failed = result.selftest.rows, len(result.selftest.not_ok)
        decided = sum(row.outcome != "UNDECIDED" for row in rows)
        link = Markup('<a href="#selftest">Self-test</a>: ')
        if failed:
            said.append(link + f"{failed} of {len(rows)} checks failed")
        elif decided < len(rows):
            said.append(
                link + f"no check failed; {decided} of {len(rows)} had enough runs to judge"
            )
        else:
            said.append(link + f"all {len(rows)} checks passed")
    return said
