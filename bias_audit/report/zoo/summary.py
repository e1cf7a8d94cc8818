"""A run of a zoo in a few lines, for chat or mail."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from bias_audit.durations import duration, written_date
from bias_audit.errors import OutputError
from bias_audit.files import write_text
from bias_audit.report.page import damage_named
from bias_audit.report.zoo.attention import KINDS, Notice, counts_of, notices, subject_of
from bias_audit.report.zoo.links import Links
from bias_audit.results.history.reading import History, read_history
from bias_audit.results.history.recording import State
from bias_audit.results.history.tables import CostRow
from bias_audit.shapes.printed import counted

MOST_LINES: Final = 25
_MOST_NOTICES: Final = 12
_MOST_LETTERS: Final = 280
_MOST_STAGES: Final = 3
_MOST_FAILING: Final = 6


def summary_text(
    database: Path, run: int | None = None, *, zoo: str | None = None, report: Path | None = None
) -> str:
    """What a run of a zoo came to, the outcome first; at most 25 lines.

    Args:
        database: The history.
        run: Id of the run; default: the latest.
        zoo: Only this zoo; default: that of the run.
        report: The zoo's page, to be named at the end.

    Raises:
        OutputError: The history cannot be read, or has no such run.
    """
    history = _history(database, run, zoo)
    with damage_named(database):
        return "\n".join(_lines(history, database, report)) + "\n"


def summary_data(
    database: Path, run: int | None = None, *, zoo: str | None = None, report: Path | None = None
) -> dict[str, Any]:
    """The same for programs; see `summary_text`."""
    history = _history(database, run, zoo)
    with damage_named(database):
        found = _notices(history, _links(database, report))
        costs = _costs(history)
        return {
            "schema_version": 1,
            "zoo": _zoo(history),
            "outcome": outcome_of(history, found),
            "started": history.run.started if history.run else None,
            "seconds": history.run.seconds if history.run else None,
            "states": _states(history),
            "verdicts": dict(Counter(verdict.outcome for verdict in history.verdicts)),
            "notices": [
                {"kind": n.kind, "subject": n.subject, "text": n.text, "link": n.link}
                for n in found
            ],
            "images_passed_forward": _images(costs),
            "report": str(report) if report else None,
            "history": str(database),
        }


def write_summary(
    database: Path,
    to: Path,
    run: int | None = None,
    *,
    zoo: str | None = None,
    report: Path | None = None,
) -> Path:
    """Write the summary; as JSON where the file's name ends so.

    Raises:
        OutputError: The history cannot be read, or the file not be written.
    """
    if to.suffix.lower() == ".json":
        data = summary_data(database, run, zoo=zoo, report=report)
        write_text(to, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    else:
        write_text(to, summary_text(database, run, zoo=zoo, report=report))
    return to


def outcome_of(history: History, found: tuple[Notice, ...]) -> str:
    """The most serious outcome now: failed, FAIL, worse, INCONCLUSIVE, PASS or none."""
    kinds = {notice.kind for notice in found}
    outcomes = {verdict.outcome for verdict in history.verdicts}
    if "failed" in kinds:
        return "failed"
    if "FAIL" in outcomes:
        return "FAIL"
    if "worse" in kinds:
        return "worse"
    return next((word for word in ("INCONCLUSIVE", "PASS") if word in outcomes), "none")


def _history(database: Path, run: int | None, zoo: str | None) -> History:
    history = read_history(database, zoo=zoo, run=run)
    if run is not None and history.run is None:
        raise OutputError(f"{database}: expected a run with id {run}, found none")
    if zoo is None and history.run is not None:
        return read_history(database, zoo=history.run.zoo, run=history.run.id)
    return history


def _links(database: Path, report: Path | None) -> Links:
    home = database.parent.resolve()
    return Links(home, report.parent.resolve() if report else home)


def _notices(history: History, links: Links) -> tuple[Notice, ...]:
    """What is so now, and what changed in this run; earlier runs reported earlier changes."""
    new = _audited(history)
    return tuple(n for n in notices(history, links) if n.audit_id is None or n.audit_id in new)


def _audited(history: History) -> frozenset[int]:
    """Audits that the run made; all latest ones without a run."""
    if history.run is None:
        return frozenset(audit.id for audit in history.audits if audit.is_latest)
    states = history.run.states
    return frozenset(s.audit_id for s in states if s.state == "audited" and s.audit_id)


def _zoo(history: History) -> str:
    if history.run:
        return history.run.zoo
    return ", ".join(dict.fromkeys(audit.zoo for audit in history.audits)) or "no zoo"


def _lines(history: History, database: Path, report: Path | None) -> Iterator[str]:
    found = _notices(history, _links(database, report))
    verdicts = counts_of(list(history.verdicts)) or "no acceptance threshold set"
    yield f"**Zoo {plain(_zoo(history))}: {outcome_of(history, found)}** ({verdicts})"
    if history.run:
        states = ", ".join(f"{n} {state}" for state, n in _states(history).items()) or "nothing"
        started = written_date(history.run.started)
        yield f"Run of {started}, {duration(history.run.seconds)}: {states}."
    yield from _failing(history)
    yield ""
    if not found:
        yield "Nothing failed, changed its verdict, became worse, is stale or is missing."
    for notice in found[:_MOST_NOTICES]:
        text = f"{KINDS[notice.kind]}: {notice.subject}: {notice.text}"
        yield f"- {plain(text)}" + (f" <{notice.link}>" if notice.link else "")
    if len(found) > _MOST_NOTICES:
        rest = Counter(KINDS[notice.kind].lower() for notice in found[_MOST_NOTICES:])
        yield f"- and {', '.join(f'{n} more {kind}' for kind, n in rest.items())}"
    yield ""
    yield from _cost_lines(history)
    if report is not None:
        yield f"Report: {plain(str(report))}"
    yield f"History: {plain(str(database))}"


def _failing(history: History) -> Iterator[str]:
    """Criteria that fail now, whether or not they did before."""
    by_id = {each.id: each for each in history.latest}
    failing = [
        f"{subject_of(by_id[verdict.backbone_id])} ({verdict.criterion})"
        for verdict in history.verdicts
        if verdict.outcome == "FAIL"
    ]
    if failing:
        more = len(failing) - _MOST_FAILING
        rest = f" and {more} more" if more > 0 else ""
        yield f"FAIL: {plain('; '.join(failing[:_MOST_FAILING]))}{rest}."


def plain(text: str) -> str:
    """One line of text that neither chat nor mail takes for markup, and not too long.

    Mentions and links are what a hostile name could do harm with; letters stay readable.
    """
    line = " ".join(text.split())
    line = re.sub(r"([<>`*_\[\]@&|])", lambda found: _HARMLESS.get(found[0], found[0]), line)
    return line if len(line) <= _MOST_LETTERS else f"{line[: _MOST_LETTERS - 1]}…"


_HARMLESS: Final = {
    "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
    ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
    "`": "'",
    "*": "\N{ASTERISK OPERATOR}",
    "@": "\N{FULLWIDTH COMMERCIAL AT}",
}


def _states(history: History) -> dict[str, int]:
    """How many entries the run left in each state."""
    found = [state.state for state in history.run.states] if history.run else []
    return {state: found.count(state) for state in get_args(State) if state in found}


def _costs(history: History) -> list[CostRow]:
    """Of the audits that the run made."""
    made = _audited(history)
    return [cost for cost in history.costs if cost.audit_id in made]


def _images(costs: list[CostRow]) -> int:
    return sum(cost.images or 0 for cost in costs if cost.stage == "forward pass")


def _cost_lines(history: History) -> Iterator[str]:
    costs = _costs(history)
    if not costs:
        yield "Cost: none, no audit was repeated."
        return
    by_stage: dict[str, float] = {}
    for cost in costs:
        by_stage[cost.stage] = by_stage.get(cost.stage, 0.0) + cost.seconds
    longest = sorted(by_stage.items(), key=lambda pair: -pair[1])[:_MOST_STAGES]
    stages = ", ".join(f"{plain(stage)} {duration(seconds)}" for stage, seconds in longest)
    images = counted(_images(costs), "image")
    total = duration(sum(by_stage.values()))
    yield f"Cost: {total} of work, {images} in forward passes; longest: {stages}."
