"""A zoo's history as rows, strings and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bias_audit.report.elements import Fact
from bias_audit.report.numbers import counted, duration
from bias_audit.report.sections.cover import written_date
from bias_audit.report.zoo.attention import KINDS, Notice, notices
from bias_audit.report.zoo.audits import AuditsView, audits
from bias_audit.report.zoo.changes import ChangesView, changes
from bias_audit.report.zoo.costs import CostsView, costs
from bias_audit.report.zoo.curves import palette, questions
from bias_audit.report.zoo.links import Links
from bias_audit.report.zoo.matrix import MatrixView, counts_of, matrices
from bias_audit.report.zoo.profiles import CurvesView, profiles
from bias_audit.report.zoo.standing import StandingView, standing
from bias_audit.report.zoo.trends import lines_of, trends
from bias_audit.results.history.reading import History


@dataclass(frozen=True)
class ZooView:
    """Everything the page prints, in order."""

    name: str
    written: str
    """ISO 8601: of the latest audit or run, so that one history gives one page."""
    headline: str
    facts: tuple[Fact, ...]
    notices: tuple[Notice, ...]
    counts: str
    """Of the notices by kind."""
    matrices: tuple[MatrixView, ...]
    standing: tuple[StandingView, ...]
    """With figures."""
    further: tuple[StandingView, ...]
    """Quantities that are told in tables alone."""
    profiles: tuple[CurvesView, ...]
    trends: tuple[CurvesView, ...]
    changes: ChangesView
    costs: CostsView
    audits: AuditsView
    backbones: tuple[str, ...]
    """To pick from."""


def zoo_view(history: History, page: Path) -> ZooView:
    """Turn a history into text and figures, which are drawn when they are asked for.

    Args:
        history: With at least one audit.
        page: Where the page is written, for its links.
    """
    links = Links(history.database.parent.resolve(), page.parent.resolve())
    asked = questions(history)
    colours = palette(asked)
    lines = lines_of(history)
    drawn = [question for question in asked if question.is_drawn]
    told = [question for question in asked if not question.is_drawn]
    found = notices(history, links)
    followed = (trends(q, history, lines, colours, f"trend-{i}") for i, q in enumerate(drawn))
    return ZooView(
        name=", ".join(dict.fromkeys(audit.zoo for audit in history.audits)),
        written=_written(history),
        headline=_headline(history),
        facts=_facts(history),
        notices=found,
        counts=_counts(found),
        matrices=matrices(history, links),
        standing=tuple(
            standing(q, history, colours, f"standing-{i}") for i, q in enumerate(drawn)
        ),
        further=tuple(standing(q, history, colours, f"further-{i}") for i, q in enumerate(told)),
        profiles=tuple(profiles(q, history, colours, f"profile-{i}") for i, q in enumerate(drawn)),
        trends=tuple(view for view in followed if view is not None),
        changes=changes(history, links),
        costs=costs(history),
        audits=audits(history, links),
        backbones=tuple(dict.fromkeys(sorted(each.label for each in history.latest))),
    )


def _written(history: History) -> str:
    times = [audit.started for audit in history.audits]
    return max([*times, history.run.started] if history.run else times)


def _headline(history: History) -> str:
    latest = [audit for audit in history.audits if audit.is_latest]
    entries = len({audit.entry for audit in latest})
    told = (
        f"{counted(len(latest), 'latest audit')} of "
        f"{counted(entries, 'entry').replace('entrys', 'entries')} on "
        f"{counted(len(history.datasets), 'dataset')}"
    )
    verdicts = counts_of(list(history.verdicts)) or "no criteria declared"
    return f"{told}: {verdicts}."


def _facts(history: History) -> tuple[Fact, ...]:
    first, last = history.audits[0], history.audits[-1]
    weights = {(each.label, each.weights) for each in history.latest}
    facts = [
        Fact("Backbones", (counted(len({label for label, _ in weights}), "backbone"),)),
        Fact("Datasets", tuple(history.datasets)),
        Fact(
            "Audits",
            (
                f"{counted(len(history.audits), 'audit')} from {written_date(first.started)} to "
                f"{written_date(last.started)}",
            ),
        ),
        Fact("History", (history.database.name,), is_code=True),
    ]
    if history.run:
        run = history.run
        when = f"{written_date(run.started)}, {duration(run.seconds)}"
        facts.insert(3, Fact("Latest run", (when, run.command)))
    return tuple(facts)


def _counts(found: tuple[Notice, ...]) -> str:
    kinds = [notice.kind for notice in found]
    return ", ".join(f"{kinds.count(k)} {KINDS[k].lower()}" for k in KINDS if k in kinds)
