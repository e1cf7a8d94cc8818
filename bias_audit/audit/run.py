"""From a config to a result on disk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from bias_audit.activations.extract import Extraction, extract
from bias_audit.activations.likeness import Likeness
from bias_audit.analyses.analysis import Control, Member, Step, Subject, Training
from bias_audit.analyses.small_groups import without_small_intersections
from bias_audit.audit.analysing import (
    ForHead,
    FoundHead,
    analyses_of,
    analyses_of_all,
    forget_errors,
    head_of,
)
from bias_audit.audit.cache import DiskCache
from bias_audit.audit.controls import (
    Drawn,
    ImageControl,
    LoadedNetwork,
    control_records,
    image_controls,
    random_weight_controls,
    reference_images,
)
from bias_audit.audit.people import embedding_of, likeness_of, with_people
from bias_audit.audit.plan import (
    Plan,
    PlannedBackbone,
    find_faces,
    gathered,
    make_plan,
    refuse_unanswerable,
)
from bias_audit.audit.provenance import Costs, config_sha256, describe, fingerprints
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces, data_record, exclusions_csv
from bias_audit.data.identities import identity_cautions
from bias_audit.errors import ConfigError, OutputError
from bias_audit.files import digest, write_text, writing
from bias_audit.progress import Progress
from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.judge import judge
from bias_audit.results.selftest import SelfTest
from bias_audit.results.store import read_audit, remove_unused_arrays, write_audit


def run(
    config: AuditConfig,
    *,
    command: str,
    progress: Progress,
    replace: bool = False,
    selftest: Callable[[], SelfTest] | None = None,
) -> AuditResult:
    """Audit every backbone of a config and write the result into its run folder.

    Activations and fitted probes are kept in the cache as they are made: after an interruption the
    same call goes on where it was and gives the same numbers.

    Args:
        config: A validated config.
        command: What the user typed, for the provenance.
        progress: Where to report.
        replace: Allow the run folder to hold another config's finished audit.
        selftest: Gives the self-test to put into the result, once the inputs are known to be good.

    Raises:
        AuditError: Nothing could be audited; the message says why and what to do.
    """
    started, began = datetime.now(UTC), time.monotonic()
    folder = config.folder
    with _locked(folder):
        _refuse_other_audit(config, replace=replace)
        forget_errors(folder)
        plan, costs = make_plan(config), Costs()
        with costs.stage("faces"):
            faces = find_faces(plan, progress=progress, with_backbones=True)
        progress.say(f"{len(faces)} images of {faces.table.name} to audit")
        cautions = identity_cautions(faces, config.sampling.max_identity_share)
        for caution in cautions:
            progress.say(f"warning: {caution}")
        embedding_of(faces, config.sampling.unrecorded_identity)  # unreadable before any work
        reference = reference_images(config, progress=progress) if plan.needs_head else None
        wanted = ForHead(plan.needs_head, reference)
        with gathered(plan, faces.table):
            for planned in plan.backbones[1:]:  # found before hours of work if it cannot be loaded
                _load(plan, planned, faces)
        with costs.stage("self-test"):
            tested = selftest() if selftest else None
        run_id = digest(config_sha256(config), started.isoformat())[:8]
        subjects: list[SubjectResult] = []
        members: list[Member] = []
        steps: tuple[Step, ...] = ()
        alike: Likeness | None = None
        about_images: tuple[ImageControl, ...] = ()
        for index, planned in enumerate(plan.backbones):
            prefix = f"{run_id}-{index:02d}"
            took = Costs()
            with took.stage("loading"):
                backbone = _load(plan, planned, faces)
            for sentence in backbone.record.assumed:
                progress.say(f"Caution: {backbone.record.name}: {sentence}")
            prepared = partial(_prepared, plan, backbone, wanted, progress=progress, costs=took)
            seen = prepared(faces)
            if index == 0:  # all backbones are seen through the same clusters
                seen, faces, alike = _of_people(plan, seen, prepared)
                with costs.stage("image controls", images=len(faces)):
                    about_images = image_controls(plan, faces, progress=progress)
            seen = seen.through(faces, alike)
            steps = (*(steps if planned.step else ()), seen.as_step)
            training = Training(steps, planned.n_steps) if planned.n_steps > 1 else None
            member, found = _audit_backbone(plan, seen, about_images, prefix, training)
            members.append(member)
            subjects.append(found)
        unique = with_unique_names(subjects)
        together = tuple(
            analyses_of_all(_renamed(members, unique), plan, f"{run_id}-together", costs)
        )
        result = AuditResult(
            name=config.name,
            description=config.description,
            config=config.model_dump(mode="json"),
            data=data_record(faces, config.data.kind, found_cautions=cautions),
            subjects=unique,
            together=together,
            verdicts=judge(config.criteria, unique, together, joint=plan.joint_quantities),
            provenance=describe(
                config, command=command, started=started, seconds=time.monotonic() - began
            ).model_copy(
                update={"fingerprints": fingerprints(plan, faces), "costs": costs.stages}
            ),
            selftest=tested,
        )
        write_text(folder / "exclusions.csv", exclusions_csv(faces.table.exclusions))
        write_text(
            folder / "config.yaml",
            yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True),
        )
        write_audit(folder, result)
        remove_unused_arrays(folder, result)
    return result


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


def _renamed(members: Sequence[Member], subjects: Sequence[SubjectResult]) -> tuple[Member, ...]:
    """The members by the names that the report gives them."""
    return tuple(
        replace(member, subject=replace(member.subject, name=subject.backbone.name))
        for member, subject in zip(members, subjects, strict=True)
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"another run is writing into {folder}: wait for it, or choose another folder "
                "with --set output.folder=..."
            ) from error
    try:
        yield
    finally:
        lock.release()


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
        raise ConfigError(
            [
                f"output.folder: {folder} holds {held}; choose another folder with --set "
                "output.folder=..., or pass --replace to write over it"
            ],
            source=config.name,
        )


def _load(plan: Plan, planned: PlannedBackbone, faces: Faces) -> Backbone:
    backbone = load_backbone(planned.kind, planned.source, planned.params)
    refuse_unanswerable(plan, faces.table, backbone.layers, backbone=backbone.record.name)
    return backbone


@dataclass(frozen=True)
class _Prepared:
    """A backbone whose activations, and those of its controls, are on disk."""

    backbone: Backbone
    faces: Faces
    extraction: Extraction
    found: FoundHead
    drawn: Drawn
    progress: Progress
    costs: Costs
    likeness: Likeness | None = None

    def through(self, faces: Faces, likeness: Likeness | None) -> _Prepared:
        """The same images in other clusters."""
        return replace(self, faces=faces, likeness=likeness)

    @property
    def as_step(self) -> Step:
        """As a checkpoint of a training."""
        name = self.backbone.record.name
        return Step(name, self.extraction.activations, self.found.head)


def _of_people(
    plan: Plan, seen: _Prepared, prepared: Callable[[Faces], _Prepared]
) -> tuple[_Prepared, Faces, Likeness | None]:
    """Count similar images as one person, and leave out intersections that then show few.

    Args:
        plan: Of the audit.
        seen: The first backbone.
        prepared: Gives it for fewer images, whose activations are kept.

    Returns:
        The backbone, its faces in clusters of people, and how similar they are.
    """
    config, settings = plan.config, plan.config.sampling.unrecorded_identity
    while True:
        embedding = embedding_of(seen.faces, settings)
        alike = likeness_of(seen.faces, seen.extraction.activations, embedding, config)
        people = with_people(seen.faces, alike, settings)
        shown = without_small_intersections(
            seen.faces, config.small_groups.suppress_below, people=people.clusters
        )
        if len(shown) == len(people):
            return seen, people, alike
        refuse_unanswerable(plan, shown.table)
        seen = prepared(shown)


def _prepared(
    plan: Plan,
    backbone: Backbone,
    wanted: ForHead,
    faces: Faces,
    *,
    progress: Progress,
    costs: Costs,
) -> _Prepared:
    config = plan.config
    extraction = extract(
        backbone,
        faces,
        config.activations,
        cache=config.output.cache,
        progress=progress,
        with_head=wanted.asked,
    )
    progress.say(_told(backbone, extraction))
    costs.forward_pass(extraction)
    if wanted.asked:
        with costs.stage("classification layer"):
            found = head_of(backbone, extraction.activations, wanted, config, progress=progress)
    else:
        found = head_of(backbone, extraction.activations, wanted, config, progress=progress)
    began = time.monotonic()
    drawn = random_weight_controls(backbone, plan, faces, progress=progress)
    if drawn.controls:
        costs.passes(
            "random weights",
            time.monotonic() - began,
            images=sum(control.forward_images for control in drawn.controls),
            size=sum(control.activations.size for control in drawn.controls),
        )
    return _Prepared(backbone, faces, extraction, found, drawn, progress, costs)


def _audit_backbone(
    plan: Plan,
    seen: _Prepared,
    about_images: tuple[ImageControl, ...],
    prefix: str,
    training: Training | None,
) -> tuple[Member, SubjectResult]:
    config, found, extraction = plan.config, seen.found, seen.extraction
    controls: tuple[Control, ...] = (*seen.drawn.controls, *about_images)
    subject = Subject(
        name=seen.backbone.record.name,
        faces=seen.faces,
        activations=extraction.activations,
        cache=DiskCache(config.output.cache / "intermediate"),
        seed=config.seed,
        progress=seen.progress,
        controls=controls,
        head=found.head,
        without_head=found.why_not,
        shuffles=config.controls.shuffles,
        refits=config.controls.refits,
        multiplicity=plan.multiplicity(seen.faces.table.attributes),
        small_groups=config.small_groups,
        training=training,
        architecture=seen.backbone.record.architecture,
        weights_sha256=seen.backbone.record.weights_sha256,
        network=LoadedNetwork(seen.backbone, seen.faces, config) if plan.needs_network else None,
        likeness=seen.likeness,
    )
    analyses = tuple(analyses_of(subject, plan, prefix, seen.costs))
    result = SubjectResult(
        backbone=seen.backbone.record,
        analyses=analyses,
        extraction={
            "images": len(seen.faces),
            "forward_images": extraction.forward_images,
            "resumed_at": extraction.resumed_at,
            "seconds": round(extraction.seconds, 1),
        },
        controls=control_records(controls, seen.drawn),
        head=found.head.name if found.head else None,
        without_head=found.why_not if plan.needs_head and not found.head else None,
        costs=seen.costs.stages,
    )
    return Member(replace(subject, network=None, controls=()), analyses), result


def _told(backbone: Backbone, extraction: Extraction) -> str:
    name = backbone.record.name
    if extraction.forward_images == 0:
        return f"{name}: all activations were stored already, no forward pass"
    resumed = f", resumed at image {extraction.resumed_at}" if extraction.resumed_at else ""
    return f"{name}: {extraction.forward_images} images in {extraction.seconds:.0f} s{resumed}"
