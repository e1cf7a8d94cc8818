"""The interface for Python: make an audit, read it, compare it, and take its numbers.

`import bias_audit` offers these functions and imports this module when one is used; the functions
import what they need.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    import pandas as pd

    from bias_audit.config.schema import AuditConfig
    from bias_audit.progress import Progress
    from bias_audit.results.audit import AuditResult
    from bias_audit.results.diff import AuditDiff

    Run: TypeAlias = "str | Path | Audit"
    """A finished audit, or its run folder."""


@dataclass(frozen=True)
class Audit:
    """A finished audit; as the last expression of a notebook's cell it shows its summary."""

    folder: Path
    """The run folder."""
    result: AuditResult
    """Everything found; `result.model_dump()` gives plain dictionaries."""
    brief: tuple[str, ...] = ()
    """At most ten lines."""
    notice: str = ""
    """What was left as it is, in a sentence; empty where the audit was made now."""

    @property
    def reports(self) -> tuple[Path, ...]:
        """The reports that are in the run folder, HTML first."""
        paths = (self.folder / "report.html", self.folder / "report.pdf")
        return tuple(path for path in paths if path.is_file())

    def __str__(self) -> str:
        """At most ten lines."""
        from bias_audit.report.brief import brief

        return "\n".join(self.brief or brief(self.result, self.reports))

    def _repr_html_(self) -> str:
        """Verdicts, the conclusion and its numbers; one HTML fragment that loads nothing."""
        from bias_audit.report.brief import brief
        from bias_audit.report.figures.style import PLAIN
        from bias_audit.report.page import template_engine
        from bias_audit.report.sections.answer import answer_rows
        from bias_audit.report.sections.questions import failures
        from bias_audit.report.sections.readings import headline

        reports = self.reports
        where = quote(Path(os.path.relpath(reports[0])).as_posix()) if reports else None
        page = template_engine().get_template("notebook.html")
        return page.render(
            lines=brief(self.result, ()),
            headline=headline(self.result),
            failures=failures(self.result),
            rows=answer_rows(self.result, PLAIN).rows,
            report=where,
        )


def run(
    config: str | Path | Mapping[str, Any] | AuditConfig,
    overrides: Sequence[str] = (),
    *,
    replace: bool = False,
    progress: Progress | None = None,
    command: str = "bias_audit.run",
) -> Audit:
    """Make an audit and write its report, as `bias-audit run` does.

    After an interruption the same call resumes. A criterion that fails, or an analysis, is part of
    the result and raises nothing: see `Audit.result.verdicts` and `Audit.result.failed`.

    Args:
        config: A YAML file, the name of a shipped config such as "quickstart", the same as a
            mapping, or a config that was loaded.
        overrides: "dotted.key=value" texts that win over a file or a mapping; values are YAML.
        replace: Whether the run folder may hold the audit of another config, which is lost.
        progress: Where the stages report to; default: lines on standard output. `Silent` of
            `bias_audit.progress` shows nothing.
        command: What the provenance says the audit was made by.

    Raises:
        ConfigError: The config is not valid; with every problem.
        AuditError: Nothing could be audited, or written; the message says why and what to do.
    """
    from rich.console import Console

    from bias_audit import process
    from bias_audit.console import ConsoleProgress
    from bias_audit.finished import finish

    process.prepare_caches()
    settings = _config(config, overrides)
    shown = progress or ConsoleProgress(Console(force_jupyter=False))
    done = finish(settings, command=command, progress=shown, replace=replace)
    return Audit(settings.folder, done.result, done.brief, done.notice)


def _config(
    config: str | Path | Mapping[str, Any] | AuditConfig, overrides: Sequence[str]
) -> AuditConfig:
    from bias_audit.config.load import load_config, parse_config
    from bias_audit.config.schema import AuditConfig

    overrides = _several(overrides)
    if isinstance(config, str | Path):
        return load_config(Path(config), overrides)
    if isinstance(config, Mapping):
        return parse_config(config, overrides)
    if not isinstance(config, AuditConfig):
        raise TypeError(
            "config: expected a path, the name of a shipped config, a mapping or an AuditConfig, "
            f"got {type(config).__name__}"
        )
    return parse_config(config.model_dump(mode="json"), overrides) if overrides else config


def _several(texts: Sequence[str]) -> Sequence[str]:
    """One text alone is a sequence of texts for Python: its letters."""
    return [texts] if isinstance(texts, str) else texts


def open(run: str | Path) -> Audit:
    """Read a finished audit from its run folder; no model is loaded.

    Raises:
        OutputError: The folder contains no finished audit, or a damaged one.
    """
    from bias_audit.results.store import read_audit

    folder = Path(run).expanduser()
    return Audit(folder, read_audit(folder))


def diff(
    before: Run,
    after: Run,
    *,
    fail_on: Sequence[str] = (),
    margin: float | None = None,
    better: Sequence[str] = (),
    cache: str | Path | None = None,
) -> AuditDiff:
    """Compare two audits: what changed, by how much, and why; nothing is written.

    Args:
        before: The earlier audit, or its run folder.
        after: The later one.
        fail_on: Outcomes at which the gate closes: "worse", "changed", "undecided"; default: those
            of the config of `after`, as for the two settings below.
        margin: Changes smaller than this do not matter, for every quantity.
        better: Which way is better, such as "macro_auc=lower".
        cache: Of both audits; default: the one that each config names. Without what it keeps of
            single images, audits are compared as if they shared none.

    Raises:
        ConfigError: A setting is not valid.
        NotComparableError: No backbone, or no number, is in both.
        OutputError: A folder contains no finished audit, or a damaged one.
    """
    from bias_audit.results.diff import diff as compared
    from bias_audit.results.diff import overridden, policy_of
    from bias_audit.results.differing.comparables import open_audited

    place = None if cache is None else Path(cache)
    earlier, later = (open_audited(_folder(each), cache=place) for each in (before, after))
    policy = overridden(
        policy_of(later), fail_on=_several(fail_on), margin=margin, better=_several(better)
    )
    return compared(earlier, later, policy)


def numbers(run: Run) -> pd.DataFrame:
    """Every number of an audit that can be named, a row each; missing ones say why in `reason`.

    Columns mean what they mean in the tables of the exports (docs/tables.md): `estimate` is the
    value, `lower` and `upper` its interval at the coverage `level`, `n` its independent images,
    `lift` the estimate minus the strongest baseline. `place` counts the analyses of one kind and
    `block` the blocks of an analysis, from 0.

    Raises:
        OutputError: The folder contains no finished audit, or a damaged one.
    """
    import pandas as pd

    from bias_audit.results.numbers import table

    columns, rows = table((run if isinstance(run, Audit) else open(run)).result)
    types = {"text": "object", "whole": "Int64", "number": "float64"}
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)  # missing text stays None
    return frame.astype({name: types[kind] for name, kind in columns.items()})


def _folder(run: Run) -> Path:
    return run.folder if isinstance(run, Audit) else Path(run).expanduser()
