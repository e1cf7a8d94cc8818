"""Making the analyses of a config, or taking what an earlier audit found."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel

from bias_audit.activations.extract import extract
from bias_audit.activations.store import StoredActivations
from bias_audit.analyses.analysis import Analysis, Head, JointAnalysis, Member, Outcome, Subject
from bias_audit.analyses.small_groups import small_intersections
from bias_audit.audit.cache import (
    KeptAnalyses,
    KeptAnalysis,
    analysis_key,
    joint_key,
    keep_contributions,
)
from bias_audit.audit.plan import Plan, PlannedAnalysis
from bias_audit.audit.provenance import Costs
from bias_audit.backbones.loading import Backbone
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.errors import AnalysisError, AuditError, OutputError
from bias_audit.files import writing
from bias_audit.progress import Progress
from bias_audit.results.audit import TOGETHER, AnalysisResult, StageCost
from bias_audit.results.blocks import Block, Finding
from bias_audit.results.claims import refuse_overclaims
from bias_audit.results.store import write_arrays
from bias_audit.statistics.estimate import Estimate

_NAME: Final = "errors.log"


def forget_errors(folder: Path) -> None:
    """Remove what an earlier run into the folder left.

    Raises:
        OutputError: The folder cannot be written to.
    """
    log = folder / _NAME
    with writing(log):
        log.unlink(missing_ok=True)


def keep_error(error: Exception, folder: Path, *, is_inside: bool = False) -> str:
    """Add a traceback to the folder's log.

    Args:
        error: A defect.
        folder: Of the run.
        is_inside: Whether the line is read in the folder, where the log needs no path.

    Returns:
        The error in a line, with where its traceback is, unless that could not be written, as on
        a full disk.
    """
    log = folder / _NAME
    told = f"{type(error).__name__}: {error}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return told
    return f"{told} (see {log.name if is_inside else log})"


def refuse_small_intersections(faces: Faces, fewest: int) -> None:
    """Stop an analysis of images that `without_small_intersections` would have left out.

    Raises:
        AnalysisError: An intersection has fewer independent images than `fewest`.
    """
    small = small_intersections(faces, fewest)
    if len(small):
        raise AnalysisError(
            f"expected intersections of {fewest} independent images or more, got {len(small)} "
            "with fewer, whose values would follow from those of others; leave their images out "
            "with without_small_intersections before an analysis sees them"
        )


def refuse_few(blocks: Sequence[Block], findings: Sequence[Finding], fewest: int) -> None:
    """Stop a result that holds a value or a map of few images.

    Raises:
        AnalysisError: It rests on fewer than `fewest`.
    """
    of_images = [block for block in blocks if block.counts_images]
    of_other_things = {
        estimate for block in blocks if not block.counts_images for estimate in _estimates(block)
    }
    for finding in findings:
        own = set(finding.estimates.values()) - of_other_things
        least = min((estimate.n for estimate in own if estimate.n > 0), default=fewest)
        if least < fewest:
            raise AnalysisError(
                f"a finding: expected numbers of {fewest} independent images or more, got one of "
                f"{least}; the analysis must not say it (small_groups.suppress_below sets the "
                "limit)"
            )
    for block in of_images:
        counts = (*block.map_sizes, *(estimate.n for estimate in _estimates(block)))
        least = min((n for n in counts if n > 0), default=fewest)
        if least < fewest:
            raise AnalysisError(
                f"{block.name} {block.title!r}: expected values and maps of {fewest} independent "
                f"images or more, got one of {least}; the analysis must leave such groups out "
                "(small_groups.suppress_below sets the limit)"
            )


def _estimates(value: Any) -> Iterator[Estimate]:
    """Every estimate inside."""
    if isinstance(value, Estimate):
        yield value
    elif isinstance(value, BaseModel):
        yield from _estimates(tuple(vars(value).values()))
    elif isinstance(value, dict):
        yield from _estimates(tuple(value.values()))
    elif isinstance(value, tuple):
        for part in value:
            yield from _estimates(part)


@dataclass(frozen=True)
class ForHead:
    """What analyses of the classification layer need."""

    asked: bool
    """Whether any analysis of the plan asks for it."""
    reference: Faces | None = None
    """Images to compare with."""


@dataclass(frozen=True)
class FoundHead:
    """The classification layer, or why there is none."""

    head: Head | None
    why_not: str = ""


def head_of(
    backbone: Backbone,
    activations: StoredActivations,
    wanted: ForHead,
    config: AuditConfig,
    *,
    progress: Progress,
) -> FoundHead:
    """Put the classification layer together from the weights and the recorded inputs.

    Raises:
        DataError: A reference image became unreadable after the scan.
        OutputError: The disk refuses.
    """
    if not wanted.asked:
        return FoundHead(None, "no analysis of this audit asked for it")
    inputs = activations.head_inputs
    if backbone.head is None or inputs is None:
        return FoundHead(None, backbone.without_head)
    reference = None
    if wanted.reference is not None:
        passed = _only_head(backbone, wanted.reference, config, progress=progress)
        reference = passed.head_inputs
    layer = backbone.head
    return FoundHead(Head(layer.name, layer.weight, layer.bias, inputs, reference))


def _only_head(
    backbone: Backbone, images: Faces, config: AuditConfig, *, progress: Progress
) -> StoredActivations:
    """Pass images through a backbone for what its classification layer receives alone."""
    name = f"{backbone.record.name}, reference images"
    record = backbone.record.model_copy(update={"layers": (), "name": name})
    extraction = extract(
        dataclasses.replace(backbone, record=record),
        images,
        config.activations,
        cache=config.output.cache,
        progress=progress,
        with_head=True,
    )
    return extraction.activations


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
