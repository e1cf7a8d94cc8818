"""What `check`, `data check` and `layers` print, as lines of text."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import numpy as np

from bias_audit.analyses.small_groups import without_small_intersections
from bias_audit.audit.controls import reference_images
from bias_audit.audit.estimate import estimate, image_seconds
from bias_audit.audit.people import embedding_of
from bias_audit.audit.plan import (
    Plan,
    backbone_problems,
    find_faces,
    make_plan,
    opened,
    read_table,
    refuse_unanswerable,
    without_networks,
)
from bias_audit.backbones.loading import load_backbone
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import (
    Exclusion,
    Faces,
    NoUsableImageError,
    data_record,
    summarise_exclusions,
)
from bias_audit.data.identities import identity_cautions
from bias_audit.data.sampling import warnings
from bias_audit.data.scan import LEVEL, quick_look
from bias_audit.durations import duration
from bias_audit.errors import ConfigError, DataError, OutputError
from bias_audit.files import writing
from bias_audit.groups import intersections
from bias_audit.progress import Progress

_LOG = logging.getLogger(__name__)


@contextmanager
def looking(config: AuditConfig) -> Iterator[AuditConfig]:
    """The config for as long as something is looked at, which needs no cache that stays.

    Where its cache cannot be written, it has one that is deleted afterwards, which is said.
    """
    cache = config.output.cache
    try:
        with writing(cache):
            cache.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=cache):
                pass
    except OutputError:
        _LOG.warning("notice: %s cannot be written, so what is measured now is not kept", cache)
        with TemporaryDirectory(prefix="bias-audit-") as folder:
            output = config.output.model_copy(update={"cache": Path(folder)})
            yield config.model_copy(update={"output": output})
    else:
        yield config


def check_lines(config: AuditConfig, progress: Progress) -> Iterator[str]:
    """Validate everything that needs no weights, and estimate what a run would cost."""
    plan = make_plan(config)
    faces = find_faces(plan, progress=progress, with_backbones=True)
    if problems := list(backbone_problems(plan, faces.table)):
        raise ConfigError(problems, source=config.source)
    embedding_of(faces, config.sampling.unrecorded_identity)
    yield f"{config.name}: the config is valid"
    table = faces.table
    yield f"{table.n_images} images of {table.name}, {table.n_cells} intersections"
    yield from _warnings(plan, faces)
    yield from without_networks(plan)
    attributes = faces.table.attributes
    families, alpha = plan.families(attributes), plan.multiplicity(attributes).alpha
    if families:
        yield (
            f"{families} families of tests, each at an error rate of {100 * alpha:.2g} %: if "
            f"nothing is encoded, expect false claims in at most {families * alpha:.2g} of them"
        )
    reference = reference_images(config, progress=progress) if plan.needs_head else None
    n_reference = 0 if reference is None else len(reference)
    for cost in estimate(plan, faces, n_reference):
        units = sum(n_units for _, n_units in cost.layers)
        yield f"{cost.backbone}: {len(cost.layers)} layers, {units} units"
        yield from (f"  caution: {sentence}" for sentence in cost.assumed)
        yield f"  forward passes about {duration(cost.forward_seconds)}"
        parts = [f"{kind} {duration(seconds)}" for kind, seconds in cost.analysis_seconds]
        if parts:
            total = sum(seconds for _, seconds in cost.analysis_seconds)
            yield f"  analyses about {duration(total)}: {', '.join(parts)}"
        yield (
            f"  activations on disk {cost.disk_bytes / 1e6:.0f} MB "
            f"({cost.free_bytes / 1e9:.0f} GB free)"
        )
    if plan.controls.random_weights:
        n_random = plan.controls.random_weights
        yield f"included: {n_random} passes each with random weights (baselines)"
    if plan.controls.image:
        yield f"image quality and pixels about {duration(image_seconds(plan, faces))}"
    if n_reference:
        yield f"included: one pass of {n_reference} reference images for each backbone"
    yield "Times are rough, from a measurement on this machine; cached activations shorten a run."


def quick_lines(config: AuditConfig, progress: Progress) -> Iterator[str]:
    """What the labels say, and what a sample of the images shows, in seconds.

    Raises:
        AuditError: The faces cannot be used as the config says; the ledger came before.
    """
    plan = make_plan(config)
    try:
        table = read_table(plan)
    except NoUsableImageError as error:
        yield from _ledger_lines(error.exclusions)
        raise
    workers, cache = config.activations.workers, config.output.cache
    listed = np.bincount(table.cells, minlength=table.n_cells)
    table = table.once
    look = quick_look(table, workers=workers, seed=config.seed, progress=progress, cache=cache)
    names = [group.label for group in intersections(table.attributes)]
    yield from [f"{table.name}: {len(table)} images listed", ""]
    width = max(map(len, [*names, "intersection"]))
    yield f"{'intersection':<{width}}  listed"
    for name, n in zip(names, listed, strict=True):
        yield f"{name:<{width}}  {n:>6}{'' if n else '   (empty)'}"
    yield ""
    unusable, n_opened = len(look.unusable), look.n_opened
    if n_opened == len(table):
        yield f"All {n_opened} images were opened: {unusable} cannot be used"
    else:
        lower, upper = look.share
        fewest, most = math.floor(lower * len(table)), math.ceil(upper * len(table))
        yield (
            f"A random sample of {n_opened} of {len(table)} images, spread over the "
            f"intersections, was opened: {unusable} cannot be used "
            f"({100 * unusable / n_opened:.1f} %)"
        )
        yield (
            f"Among all {len(table)} images, {100 * lower:.1f} to {100 * upper:.1f} % are to be "
            f"expected, {fewest} to {most} images ({100 * LEVEL:.0f} % interval)"
        )
    yield from _ledger_lines((*table.exclusions, *look.unusable))
    yield from (f"notice: {notice}" for notice in (*table.notices, *look.notices))
    refuse_unanswerable(plan, table)
    if n_opened < len(table):
        yield (
            "This was a sample: duplicates, people and small groups are checked by the same "
            "command without --quick, which does not open these images again."
        )


def data_lines(config: AuditConfig, progress: Progress) -> Iterator[str]:
    """Counts of every intersection, people, the exclusion ledger, notices and warnings.

    Raises:
        AuditError: The faces cannot be used as the config says; the ledger came before.
    """
    plan = make_plan(config)
    try:
        table = read_table(plan)
        try:
            refuse_unanswerable(plan, table)
        except ConfigError:
            yield from _ledger_lines(table.exclusions)
            raise
        faces = opened(plan, table, progress=progress)
    except NoUsableImageError as error:
        yield from _ledger_lines(error.exclusions)
        raise
    problem: DataError | None = None
    try:
        faces = without_small_intersections(faces, config.small_groups.suppress_below)
    except DataError as error:  # nothing would be left: show what there is, then say so
        problem = error
    record = data_record(faces, config.data.kind)
    yield f"{record.name}: {record.n_images} images to use of {record.n_usable} found"
    yield f"labels: {record.label_origin}"
    yield f"licence: {record.licence}"
    yield from (f"caution: {caution}" for caution in record.cautions)
    yield ""
    width = max(len(cell.group.label) for cell in record.cells)
    yield f"{'intersection':<{width}}  found   used"
    for cell in record.cells:
        counts = f"{cell.group.label:<{width}}  {cell.found:>5}  {cell.used:>5}"
        yield counts + ("" if cell.used else "   (left out)" if cell.found else "   (empty)")
    yield from ["", f"images: {record.n_images}"]
    if record.n_identities is None:
        yield "people: not annotated in the source; each image counts as a different person"
    else:
        yield f"people: {record.n_identities} identities"
        yield f"images without an identity: {record.n_without_identity}"
    yield f"independent clusters: {record.n_clusters} (one person, or near duplicates)"
    yield (
        f"effective number of clusters: {record.effective_clusters:.1f} (clusters of equal size "
        "with as much information)"
    )
    yield ""
    yield from _ledger_lines(faces.table.exclusions)
    yield from (f"notice: {notice}" for notice in faces.table.notices)
    yield from _warnings(plan, faces, name_values=True)
    refuse_unanswerable(plan, faces.table)
    if problem is not None:
        raise problem


def _ledger_lines(exclusions: Sequence[Exclusion]) -> Iterator[str]:
    yield "Exclusion ledger"
    reasons = summarise_exclusions(exclusions)
    for reason in reasons:
        yield f"  {reason.count} x {reason.reason} ({reason.effect})"
        yield from (f"      {example}" for example in reason.examples)
    if not reasons:
        yield "  nothing was left out"


def layer_lines(config: AuditConfig) -> Iterator[str]:
    """Layers that would be audited, then all that could be named."""
    for planned in make_plan(config).backbones:
        backbone = load_backbone(planned.kind, planned.source, planned.params, pretrained=False)
        yield f"{backbone.record.name}: layers that this config audits"
        yield from (f"  caution: {sentence}" for sentence in backbone.record.assumed)
        yield from (f"  {layer.name}  ({layer.n_units} units)" for layer in backbone.record.layers)
        if backbone.given is None:
            yield "layers that it could name"
            yield from (f"  {name}" for name, _ in backbone.module.named_modules() if name)


def _warnings(plan: Plan, faces: Faces, *, name_values: bool = False) -> Iterator[str]:
    folds = max(getattr(planned.params, "folds", 0) for planned in plan.analyses)
    share = plan.config.sampling.max_identity_share
    found = (*warnings(faces, folds), *identity_cautions(faces, share, name_values=name_values))
    yield from (f"warning: {warning}" for warning in found)
