"""Making the analyses of a config, or taking what an earlier audit found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from bias_audit.analyses.analysis import Analysis, JointAnalysis, Member, Outcome, Subject
from bias_audit.audit.contributions import keep_contributions
from bias_audit.audit.costs import Costs
from bias_audit.audit.error_log import keep_error
from bias_audit.audit.guarding import refuse_few, refuse_small_intersections
from bias_audit.audit.kept import KeptAnalyses, KeptAnalysis, analysis_key, joint_key
from bias_audit.audit.plan import Plan, PlannedAnalysis
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.errors import AuditError, OutputError
from bias_audit.progress import Progress
from bias_audit.results.audit import TOGETHER, AnalysisResult, StageCost
from bias_audit.results.claims import refuse_overclaims
from bias_audit.results.store import write_arrays


@dataclass(frozen=True)
class _Work:
    """One analysis of one backbone, or of all."""

    name: str
    """Of what is looked at."""
    planned: PlannedAnalysis
    families: int
    """Families of tests that decide its claims."""
    key: str
    """Of everything the result depends on."""
    run: Callable[[], Outcome]
    quoted: tuple[str, ...]
    """Names that others chose, which sentences may hold."""
    faces: Faces
    keep: Callable[[Outcome], str | None]
    """Keeps what single images contribute."""


def analyses_of(
    subject: Subject, plan: Plan, prefix: str, costs: Costs
) -> Iterator[AnalysisResult]:
    """Make every analysis of one backbone.

    Args:
        subject: The backbone, seen through the faces.
        plan: The plan of the audit.
        prefix: Begins the names of the folders for arrays.
        costs: Told what each took.

    Raises:
        OutputError: The disk refuses.
    """
    config = plan.config
    for index, planned in enumerate(plan.analyses):
        made = planned.analysis
        if not isinstance(made, Analysis):
            continue
        work = _Work(
            subject.name,
            planned,
            planned.families(subject.faces.table.attributes),
            analysis_key(planned, subject, config),
            partial(made.run, subject, planned.params),
            _quoted([subject]),
            subject.faces,
            partial(keep_contributions, subject=subject, cache=config.output.cache),
        )
        yield _made(work, config, f"{prefix}-{index:02d}", costs, subject.progress)


def analyses_of_all(
    members: Sequence[Member], plan: Plan, prefix: str, costs: Costs
) -> Iterator[AnalysisResult]:
    """Make every analysis of all backbones together.

    Args:
        members: The backbones with what was found on each.
        plan: The plan of the audit.
        prefix: Begins the names of the folders for arrays.
        costs: Told what each took.

    Raises:
        OutputError: The disk refuses.
    """
    for index, planned in enumerate(plan.analyses):
        made = planned.analysis
        if not isinstance(made, JointAnalysis):
            continue
        work = _Work(
            TOGETHER,
            planned,
            planned.families(members[0].subject.faces.table.attributes),
            joint_key(planned, members, plan.config),
            partial(made.run, members, planned.params),
            _quoted([member.subject for member in members]),
            members[0].subject.faces,
            lambda _: None,
        )
        progress = members[0].subject.progress
        yield _made(work, plan.config, f"{prefix}-{index:02d}", costs, progress)


def _quoted(subjects: Iterable[Subject]) -> tuple[str, ...]:
    names: list[str] = []
    for subject in subjects:
        levels = [name for a in subject.faces.table.attributes for name in (a.name, *a.levels)]
        names += [*levels, subject.name, *subject.activations.layers]
    return tuple(dict.fromkeys(names))


def _made(
    work: _Work, config: AuditConfig, prefix: str, costs: Costs, progress: Progress
) -> AnalysisResult:
    began = time.monotonic()
    planned, stored = work.planned, KeptAnalyses(config.output.cache)
    name = f"{prefix}-{planned.kind}"
    known = stored.get(work.key)
    if known is None:
        found = _analysed(work, config, progress)
        if found.result.status == "done":
            stored.put(work.key, found)
    else:
        found = known
        progress.say(f"{work.name}: {planned.analysis.title} as stored")
    write_arrays(config.folder, name, found.arrays)
    seconds = round(time.monotonic() - began, 2)
    costs.add(StageCost(stage=planned.kind, seconds=seconds, reused=known is not None))
    arrays = name if found.result.status == "done" else ""
    return found.result.model_copy(update={"arrays": arrays, "families": work.families})


def _analysed(work: _Work, config: AuditConfig, progress: Progress) -> KeptAnalysis:
    began = time.monotonic()
    planned, title = work.planned, work.planned.analysis.title
    fewest = config.small_groups.suppress_below
    try:
        refuse_small_intersections(work.faces, fewest)
        with _threads_kept():
            outcome = work.run()
        refuse_few(outcome.blocks, outcome.findings, fewest)
        findings = (finding.text for finding in outcome.findings)
        refuse_overclaims((*findings, *outcome.method, *outcome.limits), work.quoted)
    except OutputError:
        raise  # a full disk stops the audit; it says nothing about the analysis
    except Exception as error:  # noqa: BLE001  a failed analysis is a result, and reported
        progress.say(f"{work.name}: {title} failed: {error}")
        return KeptAnalysis(_failed(planned, error, time.monotonic() - began, config.folder), {})
    result = AnalysisResult(
        kind=planned.kind,
        title=title,
        params=planned.params.model_dump(mode="json"),
        status="done",
        blocks=outcome.blocks,
        findings=outcome.findings,
        method=outcome.method,
        limits=outcome.limits,
        seconds=round(time.monotonic() - began, 1),
        contributions=work.keep(outcome),
    )
    return KeptAnalysis(result, dict(outcome.arrays))


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Results must not depend on which analyses ran before; UMAP's compiler sets threads anew."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _failed(
    planned: PlannedAnalysis, error: Exception, seconds: float, folder: Path
) -> AnalysisResult:
    is_expected = isinstance(error, AuditError)
    message = str(error) if is_expected else keep_error(error, folder, is_inside=True)
    return AnalysisResult(
        kind=planned.kind,
        title=planned.analysis.title,
        params=planned.params.model_dump(mode="json"),
        status="failed",
        error=message,
        seconds=round(seconds, 1),
    )
