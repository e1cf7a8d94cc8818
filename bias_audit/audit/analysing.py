"""Making the analyses of a config, or taking what an earlier audit found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ValidationError

from bias_audit.analyses.analysis import Analysis, Head, JointAnalysis, Member, Outcome, Subject
from bias_audit.analyses.probing.separability import Units
from bias_audit.analyses.small_groups import small_intersections
from bias_audit.audit.plan import Plan, PlannedAnalysis
from bias_audit.audit.provenance import Costs
from bias_audit.cache import Arrays, Cache, CacheEntry, Input
from bias_audit.config.catalog import LAYOUTS
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.deferred import torch
from bias_audit.errors import AnalysisError, AuditError, OutputError
from bias_audit.files import ERRORS, digest, keep_error, warn_of_damage, writing
from bias_audit.results.audit import TOGETHER, AnalysisResult, StageCost
from bias_audit.results.claims import refuse_overclaims
from bias_audit.results.contributions import Contributions, has_contributions, write_contributions
from bias_audit.results.finding import Finding
from bias_audit.results.store import audit_bytes, write_arrays
from bias_audit.shapes.shape import Block
from bias_audit.software import software_of
from bias_audit.statistics.estimate import Estimate

_RESULT: Final = "__result__"
"""Beside the arrays of a result that is kept."""


def forget_errors(folder: Path) -> None:
    """Remove what an earlier run into the folder left."""
    with writing(folder / ERRORS):
        (folder / ERRORS).unlink(missing_ok=True)


def analyses_of(
    subject: Subject,
    plan: Plan,
    prefix: str,
    costs: Costs,
    stage: Callable[[str], AbstractContextManager[None]],
) -> Iterator[AnalysisResult]:
    """Make every analysis of one backbone; `prefix` begins the names of the folders for arrays.

    `stage` is open while an analysis of its kind is made.
    """
    for index, planned in enumerate(plan.analyses):
        if isinstance(planned.analysis, Analysis):
            run = partial(planned.analysis.run, subject, planned.params)
            place = analysis_entry(planned, subject, plan.config)
            name = f"{prefix}-{index:02d}-{planned.kind}"
            with stage(planned.kind):
                found = _result(
                    planned, [subject], run, place, plan.config, name=name, costs=costs
                )
            yield found


def analyses_of_all(
    members: Sequence[Member], plan: Plan, prefix: str, costs: Costs
) -> Iterator[AnalysisResult]:
    """Make every analysis of all backbones together, which may read what was found on each."""
    subjects = [member.subject for member in members]
    for index, planned in enumerate(plan.analyses):
        if isinstance(planned.analysis, JointAnalysis):
            run = partial(planned.analysis.run, members, planned.params)
            found = [
                result.model_dump_json(exclude={"seconds", "arrays", "contributions"})
                for member in members
                for result in member.results
            ]
            of_each = [digest(*_inputs(subject, plan.config)) for subject in subjects]
            place = _entry(planned, plan.config, *of_each, *found)
            name = f"{prefix}-{index:02d}-{planned.kind}"
            yield _result(planned, subjects, run, place, plan.config, name=name, costs=costs)


def _result(
    planned: PlannedAnalysis,
    subjects: Sequence[Subject],
    run: Callable[[], Outcome],
    place: CacheEntry,
    config: AuditConfig,
    *,
    name: str,
    costs: Costs,
) -> AnalysisResult:
    """What is kept, or found now and then kept; `name` is the folder of its arrays."""
    began, faces = time.monotonic(), subjects[0].faces
    found = _kept(place, config.output.cache)
    is_kept = found is not None
    if found is None:
        found = _found(planned, subjects, run, config)
        if found[0].status == "done":
            raw = np.frombuffer(found[0].model_dump_json().encode(), dtype=np.uint8)
            place.write({**found[1], _RESULT: raw})
    else:
        shown = TOGETHER if planned.analysis.is_joint else subjects[0].name
        subjects[0].progress.say(f"{shown}: {planned.analysis.title}, reused from cache")
    result, arrays = found
    write_arrays(config.folder, name, arrays)
    seconds = round(time.monotonic() - began, 2)
    costs.stages.append(StageCost(stage=planned.kind, seconds=seconds, reused=is_kept))
    families = planned.analysis.families(planned.params, faces.table.attributes)
    folder = name if result.status == "done" else ""
    return result.model_copy(update={"arrays": folder, "families": families})


def _kept(place: CacheEntry, cache: Path) -> tuple[AnalysisResult, Arrays] | None:
    """What an earlier audit found, with what single images contribute: comparisons need that."""
    arrays = place.read()
    if arrays is None or _RESULT not in arrays:
        return None
    try:
        result = AnalysisResult.model_validate_json(arrays.pop(_RESULT).tobytes())
    except ValidationError as error:
        warn_of_damage(place.path, error)
        return None
    named = result.contributions
    is_whole = named is None or has_contributions(cache, named)
    return (result, arrays) if is_whole else None


def _found(
    planned: PlannedAnalysis,
    subjects: Sequence[Subject],
    run: Callable[[], Outcome],
    config: AuditConfig,
) -> tuple[AnalysisResult, Arrays]:
    began, title = time.monotonic(), planned.analysis.title
    fewest, threads = config.small_groups.suppress_below, torch.get_num_threads()
    params = planned.params.model_dump(mode="json")
    result = partial(
        AnalysisResult,
        kind=planned.kind,
        title=title,
        question=planned.analysis.question,
        params=params,
    )
    try:
        refuse_small_intersections(subjects[0].faces, fewest)
        try:
            outcome = run()
        finally:
            # Results must not depend on earlier analyses; UMAP's compiler changes the threads.
            torch.set_num_threads(threads)
        refuse_few(outcome.blocks, outcome.findings, fewest)
        findings = (finding.text for finding in outcome.findings)
        quoted = []  # names that others chose, which sentences may hold
        for subject in subjects:
            for attribute in subject.faces.table.attributes:
                quoted += [attribute.name, *attribute.levels]
            quoted += [subject.name, *subject.activations.layers]
        refuse_overclaims((*findings, *outcome.method, *outcome.limits), quoted)
    except OutputError:
        raise  # a full disk stops the audit; it says nothing about the analysis
    except Exception as error:  # noqa: BLE001  a failed analysis is a result, and reported
        shown = TOGETHER if planned.analysis.is_joint else subjects[0].name
        subjects[0].progress.say(f"{shown}: {title} failed: {error}")
        is_expected = isinstance(error, AuditError)
        message = str(error) if is_expected else keep_error(error, config.folder, is_inside=True)
        seconds = round(time.monotonic() - began, 1)
        return result(status="failed", error=message, seconds=seconds), {}
    is_joint, cache = planned.analysis.is_joint, config.output.cache
    done = result(
        status="done",
        blocks=outcome.blocks,
        findings=outcome.findings,
        method=outcome.method,
        limits=outcome.limits,
        seconds=round(time.monotonic() - began, 1),
        contributions=None if is_joint else keep_contributions(outcome, subjects[0], cache),
    )
    return done, outcome.arrays


def analysis_entry(planned: PlannedAnalysis, subject: Subject, config: AuditConfig) -> CacheEntry:
    """Where the result of an analysis is kept: by everything that it depends on."""
    return _entry(planned, config, *_inputs(subject, config))


def _entry(planned: PlannedAnalysis, config: AuditConfig, *of_subjects: str) -> CacheEntry:
    audits = []
    for folder in planned.analysis.reads(planned.params):
        with suppress(OutputError):  # the analysis, which needs it, will say so
            audits.append(digest(audit_bytes(folder)))
    # What is refused now was never kept.
    inputs: tuple[Input, ...] = (
        planned.params.model_dump_json(),
        refuse_overclaims,
        *_of_extensions(planned),
        *audits,
        *of_subjects,
    )
    return CacheEntry(
        Cache(config.output.cache / "analyses"), planned.kind, inputs, planned.analysis.run
    )


def _of_extensions(planned: PlannedAnalysis) -> Iterator[str]:
    """What identifies layouts of other packages; built-in ones count as code of the analysis."""
    for kind in planned.layouts:
        if extension := LAYOUTS.extension(kind):
            yield software_of(extension.module).digest


def _inputs(subject: Subject, config: AuditConfig) -> Iterator[str]:
    yield subject.name
    yield subject.architecture
    yield subject.weights_sha256
    yield f"{subject.seed} {subject.shuffles} {subject.refits}"
    yield subject.multiplicity.model_dump_json()
    yield subject.small_groups.model_dump_json()
    yield subject.activations.fingerprint
    yield json.dumps([subject.activations.layers, config.activations.positions])
    yield faces_digest(subject.faces)
    yield "" if subject.likeness is None else subject.likeness.digest
    yield from (digest(c.kind, c.name, c.fingerprint) for c in subject.controls)
    yield _head_digest(subject.head) or subject.without_head
    if subject.training is not None:
        yield str(subject.training.n_steps)
        for step in subject.training.steps:
            yield digest(step.name, step.activations.fingerprint, _head_digest(step.head))
    if subject.network is not None:
        network = subject.network
        yield network.fingerprint
        yield digest(network.data.model_dump_json(), str(network.without_classes))


def faces_digest(faces: Faces) -> str:
    """Of the images in their order, their labels, and what else is known of them."""
    table = faces.table
    return digest(
        table.name,
        *faces.pixels,
        repr([(attribute.name, attribute.levels) for attribute in table.attributes]),
        table.label_bytes,
        faces.clusters.tobytes(),
        faces.found.tobytes(),
        repr((table.identities, table.splits, table.label_origin, table.cautions)),
        repr(sorted(table.disagreement.items())),
    )


def _head_digest(head: Head | None) -> str:
    if head is None:
        return ""
    arrays = (head.weight, head.bias, head.reference)
    return digest(head.name, *(b"" if a is None else a.tobytes() for a in arrays))


def keep_contributions(outcome: Outcome, subject: Subject, cache: Path) -> str | None:
    """Write what an analysis measured, unit by unit, into the cache, and name the entry.

    None if the analysis has nothing to compare image by image.
    """
    if not outcome.measures:
        return None
    units, table = Units.of(subject), subject.faces.table
    answers: dict[str, list[dict[str, str]]] = {}
    for sha, row in zip(subject.faces.sha256, table.codes, strict=True):
        levels = {a.name: a.levels[c] for a, c in zip(table.attributes, row, strict=True)}
        answers.setdefault(sha, []).append(levels)
    first = np.unique(subject.faces.sha256, return_index=True)[1]
    first.sort()  # of several rows of an image
    return write_contributions(
        cache,
        Contributions(
            images=tuple(answers),
            labels=tuple(_label_digest(own) for own in answers.values()),
            clusters=units.clusters[first],
            n_clusters=units.n_clusters,
            seeds=_seeds(subject, units.n_seeds),
            measures=outcome.measures,
        ),
    )


def _label_digest(answers: Sequence[Mapping[str, str]]) -> str:
    """Of the levels of an image; of one answer as before there could be several."""
    own = answers[0] if len(answers) == 1 else answers
    return digest(json.dumps(own, sort_keys=True))[:12]


def _seeds(subject: Subject, n_seeds: int) -> tuple[str, ...]:
    """What stands at each seed's place, by content: the n-th draw of every control with several.

    Two audits with the same draws, such as random weights of one architecture seen through the
    same images, share them; all else is independent.
    """
    by_kind: dict[str, list[str]] = {}
    for control in subject.controls:
        by_kind.setdefault(control.kind, []).append(control.fingerprint)
    drawn = [prints for prints in by_kind.values() if len(prints) > 1]
    return tuple(
        digest(str(place), *(prints[place] for prints in drawn if place < len(prints)))
        for place in range(n_seeds)
    )


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
    """Stop a result that contains a value or a map of few images.

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
