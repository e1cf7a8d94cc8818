"""A zoo's history as a page; never loads a model, needs no run folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from markupsafe import Markup

import bias_audit
from bias_audit.durations import duration, written_date
from bias_audit.errors import OutputError
from bias_audit.files import write_text
from bias_audit.report.page import (
    Choices,
    Fact,
    Facts,
    Fold,
    Item,
    Items,
    Page,
    Part,
    Picker,
    Prose,
    Section,
    Tabled,
    bullets,
    damage_named,
    html,
    linked,
    number_columns,
    parts,
    text_columns,
)
from bias_audit.report.sections.verdicts import badge
from bias_audit.report.zoo.attention import KINDS, Notice, counts_of, matrices, notices
from bias_audit.report.zoo.costs import costs
from bias_audit.report.zoo.curves import palette, questions
from bias_audit.report.zoo.links import Links
from bias_audit.report.zoo.profiles import profiles
from bias_audit.report.zoo.ranking import ranking, ranking_table
from bias_audit.report.zoo.trends import lines_of, trends
from bias_audit.results.history.reading import Audit, Diff, History, read_history
from bias_audit.results.history.tables import ChangeRow
from bias_audit.shapes.printed import count, counted, interval, signed_interval
from bias_audit.shapes.tables import Column, Table

_MOST_EARLIER: Final = 300
"""Earlier audits listed, the newest."""
_MOST_NOTICES: Final = 60


def write_zoo_report(database: Path, to: Path, *, zoo: str | None = None) -> Path:
    """Write the overview of a zoo.

    Args:
        database: The history.
        to: The page, such as `zoo.html` beside the database; links to audits are relative.
        zoo: Only audits of this zoo; default: all in the history.

    Returns:
        The page.

    Raises:
        OutputError: The history is missing, damaged or of a newer release, or holds no audit of
            the zoo; or the disk refuses.
    """
    history = read_history(database, zoo=zoo)
    if not history.audits:
        of = f" of zoo {zoo!r}" if zoo is not None else ""
        raise OutputError(f"{database}: expected audits{of}, found none; run `bias-audit zoo run`")
    with damage_named(database):
        text = html(zoo_page(history, to))
    write_text(to, text)
    return to


def zoo_page(history: History, page: Path) -> Page:
    """Turn a history with an audit into text and figures, which are drawn when needed."""
    links = Links(history.database.parent.resolve(), page.parent.resolve())
    every = questions(history)
    colours, lines = palette(every), lines_of(history)
    drawn = [question for question in every if question.is_drawn]
    further = [question for question in every if not question.is_drawn]
    times = [audit.started for audit in history.audits]
    written = max([*times, history.run.started] if history.run else times)
    name = ", ".join(dict.fromkeys(audit.zoo for audit in history.audits))
    followed = (trends(q, history, lines, colours, f"trend-{i}") for i, q in enumerate(drawn))
    return Page(
        kind=f"Zoo report · {name}",
        title=name,
        headline=_headline(history),
        lead="",
        cover=(Facts(_facts(history)),),
        sections=(
            Section("attention", "What needs attention?", _attention(notices(history, links))),
            Section("verdicts", "Do backbones meet the criteria?", _verdicts(history, links)),
            Section(
                "ranking",
                "How do backbones compare?",
                _ranking(
                    [ranking(q, history, colours, f"ranking-{i}") for i, q in enumerate(drawn)],
                    [ranking_table(question, history) for question in further],
                ),
            ),
            Section(
                "profiles",
                "At which layers can attributes be read?",
                _curves(
                    [profiles(q, history, colours, f"profile-{i}") for i, q in enumerate(drawn)],
                    "Each panel is one backbone, in the order of its rank; all panels share their "
                    "axes.",
                    Prose(
                        "No latest audit has a quantity measured over layers.",
                        "box",
                        "No profile.",
                    ),
                ),
            ),
            Section(
                "trends",
                "How did values change over time?",
                _curves(
                    [view for view in followed if view is not None],
                    "Each panel is one backbone, audit after audit. An audit is repeated only "
                    "when something that it depends on has changed, so a value stays until the "
                    "next one. Whether two values differ significantly is in the section on "
                    "changes.",
                    Prose("No backbone has two audits.", "box", "No trend yet."),
                ),
            ),
            changes(history, links),
            costs(history),
            Section("audits", "Which audits are these?", _audits(history, links)),
            Section("method", "How was this computed?", _method(history)),
        ),
        footer=(
            f"Made from {history.database.name} as of {written[:16].replace('T', ' ')} "
            f"UTC, by bias-audit {bias_audit.__version__}."
        ),
        created=written,
        look="zoo",
        description=f"Overview of the audits of {name}",
        pickers=(
            Picker(
                "group",
                "Backbone",
                "all backbones",
                (
                    Choices(
                        "backbone", tuple(dict.fromkeys(sorted(b.label for b in history.latest)))
                    ),
                ),
            ),
        ),
    )


def _headline(history: History) -> str:
    latest = [audit for audit in history.audits if audit.is_latest]
    entries = len({audit.entry for audit in latest})
    audits = (
        f"{counted(len(latest), 'latest audit')} of "
        f"{counted(entries, 'entry').replace('entrys', 'entries')} on "
        f"{counted(len(history.datasets), 'dataset')}"
    )
    verdicts = counts_of(list(history.verdicts)) or "no acceptance threshold set"
    return f"{audits}: {verdicts}."


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


def _attention(found: Sequence[Notice]) -> tuple[Part, ...]:
    if not found:
        return (
            Prose(
                "No audit failed, is missing or is stale; no verdict changed; and no number is "
                "significantly worse than in the previous audit.",
                "box",
                "Nothing.",
            ),
        )
    kinds = [notice.kind for notice in found]
    counts = ", ".join(f"{kinds.count(k)} {KINDS[k].lower()}" for k in KINDS if k in kinds)
    listed = tuple(
        Item(
            Markup("<strong>{}</strong>: {}").format(linked(n.subject, n.link), n.text),
            look=n.kind,
            tag=n.label,
        )
        for n in found[:_MOST_NOTICES]
    )
    rest = (
        f"The {_MOST_NOTICES} most serious of {len(found)}; the others are in the sections below "
        "and in the history."
    )
    return parts(
        Prose(f"{counts}."),
        Items(listed, "notices"),
        (Prose(rest, "note"),) if len(found) > _MOST_NOTICES else (),
    )


def _verdicts(history: History, links: Links) -> tuple[Part, ...]:
    found = matrices(history, links)
    if not found:
        return (
            Prose(
                "No acceptance threshold was set, so there is no pass or fail; what follows is "
                "description.",
                "box",
                "No verdict.",
            ),
        )
    return (
        Prose(
            "The latest audit of each backbone, compared with the acceptance thresholds of the "
            "zoo's config. PASS: the whole interval is within the threshold. FAIL: the whole "
            "interval is beyond. INCONCLUSIVE: neither. A verdict is about these images and "
            "annotations, not about whether a use of the backbone is acceptable."
        ),
        *found,
    )


def _ranking(views: Sequence[Section], further: Sequence[Tabled]) -> tuple[Part, ...]:
    if not views:
        nothing = "No latest audit has a quantity measured over layers."
        return (Prose(nothing, "box", "Nothing to rank."),)
    rest = (Section("further", "Further quantities", tuple(further)),) if further else ()
    return (
        Prose(
            "Backbones in the order of how well a linear probe can read each annotated attribute. "
            "Rank 1 is the highest value, which is not a merit in itself. Possible ranks are "
            "those that the intervals do not rule out. Numbers are never combined into a score."
        ),
        *views,
        *rest,
    )


def _curves(views: Sequence[Section], words: str, nothing: Prose) -> tuple[Part, ...]:
    return (Prose(words), *views) if views else (nothing,)


def _audits(history: History, links: Links) -> tuple[Part, ...]:
    """List the latest audits by dataset and entry, the earlier ones by date."""
    latest = sorted((a for a in history.audits if a.is_latest), key=lambda audit: audit.key)
    earlier = [audit for audit in reversed(history.audits) if not audit.is_latest]
    n_more = len(earlier) - _MOST_EARLIER
    older = Markup("{} older ones are in the table <code>audits</code> of the history.").format(
        n_more
    )
    listed = _listed("Earlier audits, the newest first", earlier[:_MOST_EARLIER], links)
    folded = Fold("Earlier audits", parts(listed, (Prose(older, "note"),) if n_more > 0 else ()))
    return parts(
        Prose(
            "Each audit has its own report, with all its numbers, baselines and limits. The "
            "outcome is the most serious verdict of the audit; failed: at least one analysis "
            "could not be computed."
        ),
        _listed("Latest audits", latest, links),
        (folded,) if earlier else (),
    )


def _listed(caption: str, audits: Sequence[Audit], links: Links) -> Tabled:
    def folder(audit: Audit) -> str:
        link, place = links.report(audit), audit.folder.as_posix()
        if link:
            return linked(place, link)
        why = "pruned" if audit.is_pruned else "no report there"
        return Markup('{} <span class="rationale">({})</span>').format(place, why)

    names = ("backbone", "dataset", "started (UTC)", "outcome", "images", "duration", "run folder")
    return Tabled(
        Table(
            caption=caption,
            columns=tuple(Column(name, numeric=name == "images") for name in names),
            rows=tuple(
                (
                    audit.entry,
                    audit.dataset,
                    audit.started[:16].replace("T", " "),
                    badge(audit.outcome),
                    count(audit.n_images),
                    duration(audit.seconds),
                    folder(audit),
                )
                for audit in audits
            ),
        ),
        "listed",
    )


def _method(history: History) -> tuple[Part, ...]:
    return parts(
        bullets(_METHOD),
        Prose(
            Markup(
                "The history is one SQLite file. Comments in its tables explain each column: "
                "<code>sqlite3 {} .schema</code>."
            ).format(history.database.name),
            "note",
        ),
    )


_METHOD: Final = (
    "Everything here is read from the history; only comparisons between backbones are computed "
    "for this page. The report of each audit says how its intervals were made.",
    "Two backbones are compared through their intervals, combined by square-and-add (Newcombe; "
    "MOVER) as if the backbones were independent. On the same images, backbones usually make "
    "similar errors, so a paired comparison would find more significant differences.",
    "All pairs of backbones for one quantity, attribute and dataset are one family of tests, "
    "adjusted by Holm's procedure. The possible ranks follow from the significant differences "
    "(Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91:476-518): with a "
    "probability of at least 95 %, they include all true ranks. Families are not adjusted for "
    "each other.",
    "The highest value over the layers was picked after looking at all of them. For comparisons, "
    "its interval is therefore widened by Bonferroni's rule for the number of layers; the printed "
    "interval is not. The last layer was not picked, so its interval needs no widening.",
    "Groups of backbones without a significant difference are the largest sets in which no pair "
    "differs significantly (Piepho 2004, Journal of Computational and Graphical Statistics "
    "13:456-466). No significant difference does not mean equal.",
    "A high value shows that an annotated attribute can be read from a layer by a linear probe, "
    "not that anything uses it. Annotations are perceptions of annotators.",
    "Datasets differ in images, sampling and categories, so values on different datasets are not "
    "compared with each other.",
    "Letters beside a trend show what differs from one audit to the next (weights, data, config, "
    "software); where several differ, they do not show the cause.",
)


OUTCOMES: Final = ("worse", "improved", "higher", "lower", "undecided", "equivalent")
_LISTED: Final = ("worse", "improved", "higher", "lower")
"""Listed one by one."""
_MOST: Final = 150
_PRINTED: Final = {"undecided": "inconclusive"}
TITLE: Final = "What changed since the previous audits?"


def changes(history: History, links: Links) -> Section:
    """Count the outcomes of every diff, and list what moved."""
    audits = {audit.id: audit for audit in history.audits}
    diffs = [diff for diff in history.diffs if {diff.before_id, diff.after_id} <= audits.keys()]
    if not diffs:
        nothing = "No latest audit has been compared with an earlier one."
        return Section("changes", TITLE, (Prose(nothing, "box", "No comparison."),))
    moved = sorted(
        (
            (audits[diff.after_id], change)
            for diff in diffs
            for change in diff.changes
            if change.outcome in _LISTED
        ),
        key=lambda pair: (_LISTED.index(pair[1].outcome), -abs(pair[1].difference)),
    )
    rest = (
        f"The first {_MOST} of {counted(len(moved), 'change')}; the table `changes` of the "
        "history has all."
    )
    return Section(
        "changes",
        TITLE,
        parts(
            Prose(
                Markup(
                    "Each latest audit compared with the one before, by <code>bias-audit "
                    "diff</code>. Equivalent: the interval of the difference lies within the "
                    "margin. Worse or improved: the difference is significant, and a direction "
                    "was declared. Higher or lower: significant, without a declared direction. "
                    "Inconclusive: neither."
                )
            ),
            Tabled(_overview(diffs, audits, links), "dated"),
            Tabled(_largest(moved[:_MOST]))
            if moved
            else Prose("No number changed significantly.", "note"),
            (Prose(rest, "note"),) if len(moved) > _MOST else (),
        ),
    )


def _overview(diffs: list[Diff], audits: dict[int, Audit], links: Links) -> Table:
    found = [(diff, Counter(change.outcome for change in diff.changes)) for diff in diffs]
    found.sort(key=lambda pair: [-pair[1][outcome] for outcome in _LISTED])
    names = ("backbone", "dataset", "before", "after", "numbers", "possible causes")
    return Table(
        caption="How many numbers of each latest audit differ from the audit before",
        columns=text_columns(*names),
        rows=tuple(
            (
                audits[diff.after_id].entry,
                audits[diff.after_id].dataset,
                audits[diff.before_id].started[:10],
                linked(audits[diff.after_id].started[:10], links.diff(audits[diff.after_id])),
                ", ".join(f"{count(n[o])} {_PRINTED.get(o, o)}" for o in OUTCOMES if n[o])
                or "none compared",
                _differing(diff),
            )
            for diff, n in found
        ),
    )


def _differing(diff: Diff) -> str:
    """What differs besides the numbers, with what may change them first."""
    causes = sorted(diff.causes, key=lambda cause: cause.is_minor)
    return "\n".join(f"{cause.name}: {cause.detail}" for cause in causes) or "nothing recorded"


def _largest(moved: list[tuple[Audit, ChangeRow]]) -> Table:
    return Table(
        caption="Significant changes, worse ones first, then the largest",
        columns=(
            *text_columns("backbone", "dataset", "number"),
            *number_columns("before", "after", "difference", "margin"),
            *text_columns("outcome"),
        ),
        rows=tuple(_row(audit, change) for audit, change in moved),
    )


def _row(audit: Audit, change: ChangeRow) -> tuple[str, ...]:
    lift = "lift of " if change.of_what == "lift" else ""
    group = "" if change.group_name is None else f", {change.group_name},"
    paired = "paired" if change.is_paired else "unpaired"
    return (
        change.backbone,
        audit.dataset,
        f"{lift}{change.quantity} of {change.target}{group} at {change.layer}",
        interval(change.before),
        interval(change.after),
        signed_interval(change.difference_estimate),
        f"{change.margin:g}",
        f"{change.outcome} ({paired})",
    )
