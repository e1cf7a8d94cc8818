"""Activations of an audit as files, so that others can audit them without the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from bias_audit.activations.extract import extract
from bias_audit.activations.store import StoredActivations
from bias_audit.audit.plan import find_faces, make_plan
from bias_audit.backbones.activation_files import (
    IMAGES,
    MANIFEST,
    ActivationManifest,
    GivenHead,
    GivenLayer,
)
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.errors import OutputError
from bias_audit.files import safe_name, write_text, writing
from bias_audit.progress import Progress

_HEAD: Final = ("head_weight", "head_bias", "head_inputs")


def hand_over(config: AuditConfig, folder: Path, progress: Progress) -> tuple[Path, ...]:
    """Write what every backbone of a config gives for its faces, one folder for each.

    Rows are named by the SHA-256 of the image files. Activations that are stored already are not
    computed again; the numbers are the same to the last bit.

    Raises:
        AuditError: The faces or a backbone cannot be used.
        OutputError: A folder is not empty, or cannot be written.
    """
    plan = make_plan(config)
    faces = find_faces(plan, progress=progress, with_backbones=True)
    written = []
    for planned in plan.backbones:
        backbone = load_backbone(planned.kind, planned.source, planned.params)
        place = folder / safe_name(backbone.record.name)
        if place.exists() and any(place.iterdir()):
            raise OutputError(f"{place} is not empty: choose another folder with --to")
        activations = extract(
            backbone,
            faces,
            config.activations,
            cache=config.output.cache,
            progress=progress,
            with_head=True,
        ).activations
        _write(place, backbone, activations, faces, positions=bool(config.activations.positions))
        written.append(place)
    return tuple(written)


def _write(
    place: Path,
    backbone: Backbone,
    activations: StoredActivations,
    faces: Faces,
    *,
    positions: bool,
) -> None:
    with writing(place):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        layers = []
        for number, layer in enumerate(backbone.layers):
            np.save(place / f"layer_{number:03d}.npy", activations.units(layer))
            if positions:
                kept = activations.positions(layer)
                np.save(place / f"layer_{number:03d}_positions.npy", kept)
            layers.append(
                GivenLayer(
                    name=layer,
                    units=f"layer_{number:03d}.npy",
                    shape=backbone.shapes[layer],
                    positions=f"layer_{number:03d}_positions.npy" if positions else None,
                    reduced=activations.reduced,
                )
            )
        head, inputs, named = backbone.head, activations.head_inputs, None
        if head is not None and inputs is not None:
            files = [f"{name}.npy" for name in _HEAD]
            for file, array in zip(files, (head.weight, head.bias, inputs), strict=True):
                np.save(place / file, array)
            named = GivenHead(name=head.name, weight=files[0], bias=files[1], inputs=files[2])
        write_text(place / IMAGES, "".join(f"{image}\n" for image in faces.sha256))
        manifest = ActivationManifest(backbone=backbone.record, layers=tuple(layers), head=named)
        write_text(place / MANIFEST, manifest.model_dump_json(indent=1))
