"""From a config to a result on disk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from datetime import UTC, datetime
from functools import partial

import yaml

from bias_audit.activations.extract import Extraction, extract
from bias_audit.activations.likeness import Likeness
from bias_audit.activations.store import StoredActivations
from bias_audit.analyses.analysis import Control, Head, Member, Step, Subject, Training
from bias_audit.analyses.small_groups import without_small_intersections
from bias_audit.audit.analysing import analyses_of, analyses_of_all, forget_errors
from bias_audit.audit.controls import (
    LoadedNetwork,
    MadeControl,
    image_controls,
    random_weight_controls,
    reference_images,
)
from bias_audit.audit.estimate import estimate
from bias_audit.audit.pace import FORWARD, Pace
from bias_audit.audit.people import embedding_of, likeness_of, with_people
from bias_audit.audit.plan import (
    Plan,
    PlannedBackbone,
    find_faces,
    gathered,
    make_plan,
    refuse_unanswerable,
    without_networks,
)
from bias_audit.audit.provenance import Costs, config_sha256, describe, extensions_of, fingerprints
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.cache import Cache
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces, data_record, exclusions_csv
from bias_audit.data.identities import identity_cautions
from bias_audit.durations import duration
from bias_audit.errors import ConfigError, OutputError
from bias_audit.files import digest, locked, write_text
from bias_audit.progress import Progress
from bias_audit.results.audit import AuditResult, ControlRecord, SubjectResult
from bias_audit.results.judge import judge
from bias_audit.results.selftest import SelfTest
from bias_audit.results.store import read_audit, remove_unused_arrays, write_audit

_UNUSED = "no analysis of this audit needs it"


def run(
    config: AuditConfig,
    *,
    command: str,
    progress: Progress,
    replace: bool = False,
    selftest: Callable[[], SelfTest] | None = None,
    extensions: Mapping[str, str] | None = None,
) -> AuditResult:
    """Audit every backbone of a config and write the result into its run folder.

    Activations and fitted probes are kept in the cache as they are made: after an interruption the
    same call resumes and gives the same numbers. `command`, and `extensions` beside those of the
    config, are for the provenance; `replace` allows the folder to hold another config's audit;
    `selftest` gives the self-test to put into the result, once the inputs are known to be good.

    Raises:
        AuditError: Nothing could be audited; the message says why and what to do.
    """
    started, began = datetime.now(UTC), time.monotonic()
    folder = config.folder
    with locked(
        folder,
        busy=f"another run is writing into {folder}: wait for it, or choose another folder "
        "with --set output.folder=...",
    ):
        _refuse_other_audit(config, replace=replace)
        forget_errors(folder)
        plan, costs = make_plan(config), Costs()
        with costs.stage("faces"):
            faces = find_faces(plan, progress=progress, with_backbones=True)
        progress.say(f"{faces.table.n_images} images of {faces.table.name} to audit")
        for sentence in without_networks(plan):
            progress.say(sentence)
        cautions = identity_cautions(faces, config.sampling.max_identity_share)
        for caution in cautions:
            progress.say(f"warning: {caution}")
        embedding_of(faces, config.sampling.unrecorded_identity)  # unreadable before any work
        reference = reference_images(config, progress=progress) if plan.needs_head else None
        with gathered(plan, faces.table):
            for planned in plan.backbones[1:]:  # found before hours of work if it cannot be loaded
                _load(plan, planned, faces)
        with costs.stage("self-test"):
            tested = selftest() if selftest else None
        run_id = digest(config_sha256(config), started.isoformat())[:8]
        try:
            faces, members, subjects = _audited(
                plan, faces, reference, run_id, progress=progress, costs=costs
            )
        finally:
            progress.audit_left = None
        unique = with_unique_names(subjects)
        renamed = [
            replaced(member, subject=replaced(member.subject, name=found.backbone.name))
            for member, found in zip(members, unique, strict=True)
        ]
        together = tuple(analyses_of_all(renamed, plan, f"{run_id}-together", costs))
        provenance = describe(
            config, command=command, started=started, seconds=time.monotonic() - began
        )
        result = AuditResult(
            name=config.name,
            description=config.description,
            config=config.model_dump(mode="json"),
            data=data_record(faces, config.data.kind, found_cautions=cautions),
            subjects=unique,
            together=together,
            verdicts=judge(config.criteria, unique, together, joint=plan.joint_quantities),
            provenance=provenance.model_copy(
                update={
                    "fingerprints": fingerprints(plan, faces),
                    "extensions": {**extensions_of(plan), **(extensions or {})},
                    "costs": tuple(costs.stages),
                }
            ),
            selftest=tested,
        )
        write_text(folder / "exclusions.csv", exclusions_csv(faces.table.exclusions))
        settings = yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True)
        write_text(folder / "config.yaml", settings)
        write_audit(folder, result)
        remove_unused_arrays(folder, result)
    return result


def _audited(
    plan: Plan,
    faces: Faces,
    reference: Faces | None,
    run_id: str,
    *,
    progress: Progress,
    costs: Costs,
) -> tuple[Faces, list[Member], list[SubjectResult]]:
    """Every backbone, one after the other, and the faces that all were seen through."""
    config = plan.config
    subjects: list[SubjectResult] = []
    members: list[Member] = []
    steps: tuple[Step, ...] = ()
    pace = Pace(lambda: estimate(plan, faces, 0 if reference is None else len(reference)))
    progress.audit_left = pace.left
    alike: Likeness | None = None
    about_images: tuple[MadeControl, ...] = ()
    for index, planned in enumerate(plan.backbones):
        took = Costs()
        with took.stage("loading"):
            backbone = _load(plan, planned, faces)
        for sentence in backbone.record.assumed:
            progress.say(f"Caution: {backbone.record.name}: {sentence}")
        passed = partial(_passed, plan, backbone, reference, progress=progress, costs=took)
        with pace.stage(index, FORWARD):
            seen = passed(faces)
        if index == 0:  # all backbones are seen through the same clusters
            seen, faces, alike = _by_people(plan, faces, seen, passed)
            with costs.stage("image controls", images=faces.table.n_images):
                about_images = image_controls(plan, faces, progress=progress)
        step = Step(backbone.record.name, seen.extraction.activations, seen.head)
        steps = (*(steps if planned.step else ()), step)
        controls: tuple[Control, ...] = (*seen.controls, *about_images)
        subject = Subject(
            name=backbone.record.name,
            faces=faces,
            activations=seen.extraction.activations,
            cache=Cache(config.output.cache / "intermediate"),
            seed=config.seed,
            progress=progress,
            controls=controls,
            head=seen.head,
            without_head=backbone.without_head if plan.needs_head else _UNUSED,
            shuffles=config.controls.shuffles,
            refits=config.controls.refits,
            multiplicity=plan.multiplicity(faces.table.attributes),
            small_groups=config.small_groups,
            training=Training(steps, planned.n_steps) if planned.n_steps > 1 else None,
            architecture=backbone.record.architecture,
            weights_sha256=backbone.record.weights_sha256,
            network=LoadedNetwork(backbone, faces, config) if plan.needs_network else None,
            device=config.activations.device,
            likeness=alike,
        )
        stage = partial(pace.stage, index)
        analyses = tuple(analyses_of(subject, plan, f"{run_id}-{index:02d}", took, stage))
        members.append(Member(replaced(subject, network=None, controls=()), analyses))
        extraction, head = seen.extraction, seen.head
        there = [ControlRecord(kind=each.kind, name=each.name) for each in controls]
        subjects.append(
            SubjectResult(
                backbone=backbone.record,
                analyses=analyses,
                extraction={
                    "images": faces.table.n_images,
                    "forward_images": extraction.forward_images,
                    "resumed_at": extraction.resumed_at,
                    "seconds": round(extraction.seconds, 1),
                    **extraction.checked,
                },
                controls=(*there, *seen.absent),
                head=head.name if head else None,
                without_head=backbone.without_head if plan.needs_head and not head else None,
                costs=tuple(took.stages),
            )
        )
    return faces, members, subjects


def with_unique_names(subjects: Sequence[SubjectResult]) -> tuple[SubjectResult, ...]:
    """Number the backbones that share a name, such as one file under two preprocessings."""
    seen: Counter[str] = Counter()
    result = []
    for subject in subjects:
        name = subject.backbone.name
        seen[name] += 1
        if seen[name] > 1:
            backbone = subject.backbone.model_copy(update={"name": f"{name} ({seen[name]})"})
            subject = subject.model_copy(update={"backbone": backbone})  # noqa: PLW2901
        result.append(subject)
    return tuple(result)


def _refuse_other_audit(config: AuditConfig, *, replace: bool) -> None:
    folder = config.folder
    if replace or not (folder / "audit.json").exists():
        return
    try:
        before = read_audit(folder).provenance.config_sha256
        held = "the audit of another config"
    except OutputError as error:
        before, held = "unreadable", f"an audit that cannot be read ({error})"
    if before != config_sha256(config):
        problem = (
            f"output.folder: {folder} contains {held}; choose another folder with --set "
            "output.folder=..., or pass --replace to write over it"
        )
        raise ConfigError([problem], source=config.name)


def _load(plan: Plan, planned: PlannedBackbone, faces: Faces) -> Backbone:
    backbone = load_backbone(planned.kind, planned.source, planned.params)
    refuse_unanswerable(plan, faces.table, backbone.layers, backbone=backbone.record.name)
    return backbone


@dataclass(frozen=True)
class _Passed:
    """A backbone whose activations, and those of its controls, are on disk."""

    extraction: Extraction
    head: Head | None
    controls: tuple[MadeControl, ...]
    absent: tuple[ControlRecord, ...]
    """Controls that could not be had."""


def _passed(
    plan: Plan,
    backbone: Backbone,
    reference: Faces | None,
    faces: Faces,
    *,
    progress: Progress,
    costs: Costs,
) -> _Passed:
    config, name = plan.config, backbone.record.name
    extraction = extract(
        backbone,
        faces,
        config.activations,
        cache=config.output.cache,
        progress=progress,
        with_head=plan.needs_head,
    )
    activations, n_passed = extraction.activations, extraction.forward_images
    if n_passed:
        resumed = f", resumed at image {extraction.resumed_at}" if extraction.resumed_at else ""
        progress.say(f"{name}: {n_passed} images in {duration(extraction.seconds)}{resumed}")
    elif backbone.given is not None:
        progress.say(f"{name}: activations that were handed over, no forward pass")
    else:
        progress.say(f"{name}: all activations reused from cache, no forward pass")
    costs.passes("forward pass", extraction.seconds, images=n_passed, size=activations.size)
    head = None
    if plan.needs_head:
        with costs.stage("classification layer"):
            head = head_of(backbone, activations, reference, config, progress=progress)
    began = time.monotonic()
    controls, absent = random_weight_controls(backbone, plan, faces, progress=progress)
    if controls:
        costs.passes(
            "random weights",
            time.monotonic() - began,
            images=sum(control.forward_images for control in controls),
            size=sum(control.size for control in controls),
        )
    return _Passed(extraction, head, controls, absent)


def head_of(
    backbone: Backbone,
    activations: StoredActivations,
    reference: Faces | None,
    config: AuditConfig,
    *,
    progress: Progress,
) -> Head | None:
    """The classification layer with the inputs recorded; None where the backbone has none.

    Raises:
        DataError: A reference image became unreadable after the scan.
    """
    layer, inputs, of_reference = backbone.head, activations.head_inputs, None
    if layer is None or inputs is None:
        return None
    if reference is not None:  # they pass for the head alone: no layer is recorded
        name = f"{backbone.record.name}, reference images"
        record = backbone.record.model_copy(update={"layers": (), "name": name})
        of_reference = extract(
            replaced(backbone, record=record),
            reference,
            config.activations,
            cache=config.output.cache,
            progress=progress,
            with_head=True,
        ).activations.head_inputs
    return Head(layer.name, layer.weight, layer.bias, inputs, of_reference)


def _by_people(
    plan: Plan, faces: Faces, seen: _Passed, passed: Callable[[Faces], _Passed]
) -> tuple[_Passed, Faces, Likeness | None]:
    """Count similar images as one person, and leave out intersections that then show few."""
    config, settings = plan.config, plan.config.sampling.unrecorded_identity
    while True:
        embedding = embedding_of(faces, settings)
        alike = likeness_of(faces, seen.extraction.activations, embedding, config)
        people = with_people(faces, alike, settings)
        shown = without_small_intersections(
            faces, config.small_groups.suppress_below, people=people.clusters
        )
        if len(shown) == len(people):
            return seen, people, alike
        refuse_unanswerable(plan, shown.table)
        faces, seen = shown, passed(shown)
