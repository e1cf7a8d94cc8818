"""What `check`, `data check` and `layers` tell, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bias_audit.audit.estimate import Cost, estimate, image_seconds
from bias_audit.audit.plan import Plan, find_faces, make_plan
from bias_audit.audit.reference import reference_images
from bias_audit.backbones.loading import load_backbone
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.data.ledger import summarise_exclusions
from bias_audit.data.sampling import warnings
from bias_audit.groups import intersections
from bias_audit.progress import Progress


def check_lines(config: AuditConfig, progress: Progress) -> Iterator[str]:
    """Validate everything that can be without weights, and say what a run would cost."""
    plan = make_plan(config)
    yield f"{config.name}: the config is valid"
    faces = find_faces(plan, progress=progress)
    yield f"{len(faces)} images of {faces.table.name}, {faces.table.n_cells} intersections"
    yield from _warnings(plan, faces)
    reference = reference_images(config, progress=progress) if plan.needs_head else None
    n_reference = 0 if reference is None else len(reference)
    for cost in estimate(plan, faces, n_reference):
        yield from _cost_lines(cost)
    yield from _control_lines(plan, faces, n_reference)
    yield "Times are measured on this machine and rough; stored activations make a run shorter."


def data_lines(config: AuditConfig, progress: Progress) -> Iterator[str]:
    """Counts of every intersection, the exclusion ledger, notices and warnings."""
    plan = make_plan(config)
    faces = find_faces(plan, progress=progress)
    table = faces.table
    used = np.bincount(table.cells, minlength=table.n_cells)
    yield f"{table.name}: {len(faces)} images to use of {int(faces.found.sum())} usable"
    yield f"labels: {table.label_origin}"
    yield f"licence: {table.licence}"
    yield from (f"caution: {caution}" for caution in table.cautions)
    yield ""
    names = [group.label for group in intersections(table.attributes)]
    width = max(len(name) for name in names)
    yield f"{'intersection':<{width}}  found   used"
    for name, found, count in zip(names, faces.found, used, strict=True):
        said = "" if count else "   (left out)" if found else "   (empty)"
        yield f"{name:<{width}}  {found:>5}  {count:>5}{said}"
    yield ""
    yield "Exclusion ledger"
    reasons = summarise_exclusions(table.exclusions)
    for reason in reasons:
        yield f"  {reason.count} x {reason.reason} ({reason.effect})"
        yield from (f"      {example}" for example in reason.examples)
    if not reasons:
        yield "  nothing was left out"
    yield from (f"notice: {notice}" for notice in table.notices)
    yield from _warnings(plan, faces)


def layer_lines(config: AuditConfig) -> Iterator[str]:
    """Layers that would be audited, then all that could be named."""
    for planned in make_plan(config).backbones:
        backbone = load_backbone(planned.kind, planned.source, planned.params, pretrained=False)
        yield f"{backbone.record.name}: would audit"
        yield from (f"  {layer.name}  ({layer.n_units} units)" for layer in backbone.record.layers)
        yield "could name"
        yield from (f"  {name}" for name, _ in backbone.module.named_modules() if name)


def _control_lines(plan: Plan, faces: Faces, n_reference: int) -> Iterator[str]:
    controls = plan.controls
    if controls.random_weights:
        yield f"of it, {controls.random_weights} passes each are controls with random weights"
    if controls.image:
        yield f"image quality and pixels about {_duration(image_seconds(plan, faces))}"
    if n_reference:
        yield f"of it, one pass of {n_reference} reference images for each backbone"


def _warnings(plan: Plan, faces: Faces) -> Iterator[str]:
    folds = max(getattr(planned.params, "folds", 0) for planned in plan.analyses)
    yield from (f"warning: {warning}" for warning in warnings(faces, folds))


def _cost_lines(cost: Cost) -> Iterator[str]:
    units = sum(n_units for _, n_units in cost.layers)
    yield f"{cost.backbone}: {len(cost.layers)} layers, {units} units"
    yield f"  forward passes about {_duration(cost.forward_seconds)}"
    parts = [f"{kind} {_duration(seconds)}" for kind, seconds in cost.analysis_seconds]
    if parts:
        total = sum(seconds for _, seconds in cost.analysis_seconds)
        yield f"  analyses about {_duration(total)}: {', '.join(parts)}"
    yield (
        f"  activations on disk {cost.disk_bytes / 1e6:.0f} MB "
        f"({cost.free_bytes / 1e9:.0f} GB free)"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    if seconds < 5400:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
