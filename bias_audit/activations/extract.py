"""One forward pass per image for all layers, written while it runs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from filelock import FileLock

from bias_audit.activations.decode import Pixels, decoded_batches
from bias_audit.activations.faster import checked, faster_capture
from bias_audit.activations.moments import Moments
from bias_audit.activations.recording import LayerFile, RecordingPass, recorded_files
from bias_audit.activations.store import (
    Donor,
    Rows,
    StoredActivations,
    borrowed_rows,
    donor_of,
    free_bytes,
    moments_path,
    name_images,
    stream_moments,
    subset,
    write_moments,
)
from bias_audit.backbones.pooling import Reduction
from bias_audit.deferred import torch
from bias_audit.device import device_for
from bias_audit.errors import BackboneError, OutputError
from bias_audit.files import digest, write_text, writing
from bias_audit.software import software_of, versions_of

if TYPE_CHECKING:  # what is only named here takes no part in `made_by`
    from torch import Tensor, nn

    from bias_audit.backbones.loading import Backbone, Given, Preprocessing
    from bias_audit.config.schema import Activations
    from bias_audit.data.faces import Faces
    from bias_audit.progress import Progress, Step

_CHECKPOINT_SECONDS = 10.0
_AGREEMENT: Final = "agreement.json"
MAKERS: Final = (__name__, "bias_audit.backbones.library")
"""Modules that activations come from; the second decides how the output of a layer is read."""
ARCHITECTURES: Final = ("timm", "torchvision")
"""Libraries that define what a backbone computes with its weights."""


@dataclass(frozen=True)
class Extraction:
    """Activations, and what it took to get them."""

    activations: StoredActivations
    forward_images: int
    """Images that passed through the backbone now; 0 when everything was stored already."""
    resumed_at: int
    seconds: float
    agreement: Mapping[str, float]
    """Of a pass that is not plain, by layer; see `faster.agreement`."""
    forward: str
    """How the backbone ran, in words."""

    @property
    def checked(self) -> dict[str, str]:
        """How far a pass that is not plain is from the plain one, for the report."""
        if not self.agreement:
            return {}
        worst = max(self.agreement, key=lambda layer: self.agreement[layer])
        return {
            "forward_pass": self.forward,
            "largest_error_on_the_first_images": f"{self.agreement[worst]:.1g} of how much "
            f"activations differ between images, at {worst}",
        }


def extract(
    backbone: Backbone,
    faces: Faces,
    settings: Activations,
    *,
    cache: Path,
    progress: Progress,
    with_head: bool = False,
) -> Extraction:
    """Record every layer of a backbone on every face, reusing what the cache folder has already.

    Images that the same backbone has seen in another set of images do not pass again. With
    `with_head`, what the classification layer receives is recorded too, if there is one.

    Raises:
        BackboneError: The device is not there, or a layer gave values that are not finite.
        DataError: An image became unreadable after the scan.
        OutputError: The disk refuses; what was written up to the last checkpoint is kept.
    """
    began = time.monotonic()
    how = () if settings.is_plain else (settings.forward, str(settings.tolerance))
    maker = digest(*made_by(), backbone.fingerprint, *how)
    if faces.table.pictures is not None:  # each image passes once, and its rows are borrowed
        passed = extract(
            backbone, faces.once, settings, cache=cache, progress=progress, with_head=with_head
        )
        forward_images, resumed_at = passed.forward_images, passed.resumed_at
    else:
        forward_images = resumed_at = 0
    fingerprint = digest(maker, *faces.pixels)
    folder = cache / "activations" / fingerprint
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(folder / "lock", mode=0o600):
        wanted = _wanted(backbone, settings, with_head=with_head)
        stored = recorded_files(folder, len(faces))
        damaged = [file for file in stored if file in wanted and not stored[file].intact()]
        for file in damaged:
            stored.pop(file).discard()
            progress.say(
                f"stored activations of layer {file.layer} were damaged; they are recorded again"
            )
        missing = [file for file in wanted if file not in stored]
        if missing:
            name = f"pass-{digest(*(file.name for file in missing))[:12]}"
            recording = RecordingPass(folder / name, missing, len(faces))
            resumed_at = recording.done
            _refuse_if_too_large(recording)
            donor = donor_of(folder, maker, faces.pixels, missing)
            if backbone.given is not None:
                _take(backbone.given, faces, settings, recording=recording, progress=progress)
            elif donor is None:
                _pass(backbone, faces, settings, recording=recording, progress=progress)
                forward_images += len(faces) - resumed_at
            else:
                forward_images += _borrow(
                    donor, backbone, faces, settings, recording=recording, progress=progress
                )
        name_images(folder, maker, faces.pixels)
        stored = recorded_files(folder, len(faces))
    paths = {file: stored[file].path for file in wanted}
    activations = StoredActivations(
        folder,
        fingerprint,
        len(faces),
        backbone.layers,
        faces.table.cells,
        faces.table.n_cells,
        {
            (file.layer, file.grid is not None): path
            for file, path in paths.items()
            if file.of == "output"
        },
        next((path for file, path in paths.items() if file.of == "input"), None),
        next((file.reduction.described for file in wanted if file.reduction), ""),
    )
    agreement = {
        layer: error
        for passed in sorted(folder.glob(f"pass-*/{_AGREEMENT}"))
        for layer, error in json.loads(passed.read_text(encoding="utf-8")).items()
    }
    seconds = time.monotonic() - began
    return Extraction(
        activations, forward_images, resumed_at, seconds, agreement, settings.forward
    )


def made_by() -> tuple[str, ...]:
    """What activations depend on besides the backbone and the images: code and libraries.

    A pass over all images takes long, so that the modules behind it import few others: those that
    are only named in signatures do not count.
    """
    software = (software_of(module).digest for module in MAKERS)
    libraries = versions_of(*ARCHITECTURES).items()
    return (*software, *(f"{name} {number}" for name, number in libraries))


def bytes_needed(
    backbone: Backbone, settings: Activations, n_images: int, *, with_head: bool = False
) -> int:
    """Disk that the activations of `n_images` take."""
    row = sum(file.row_bytes for file in _wanted(backbone, settings, with_head=with_head))
    return row * n_images


def forward_input(pixels: Pixels, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Pixels as a backbone expects them: normalised, shape (n, 3, height, width), channels last.

    The memory format changes the order in memory, not the shape; convolutions on CPU are about
    1.5 times as fast with it.
    """
    if preprocessing.channels == "BGR":
        pixels = np.ascontiguousarray(pixels[..., ::-1])
    mean = torch.tensor(preprocessing.mean, device=device) * 255
    std = torch.tensor(preprocessing.std, device=device) * 255
    batch = torch.from_numpy(pixels).to(device).float()
    return batch.sub_(mean).div_(std).permute(0, 3, 1, 2)


def _wanted(backbone: Backbone, settings: Activations, *, with_head: bool) -> list[LayerFile]:
    files = [LayerFile(layer.name, layer.n_units, None) for layer in backbone.record.layers]
    if settings.aligned and backbone.head is None:
        raise BackboneError(
            "activations.aligned: expected a backbone with class scores, by which positions are "
            f"salient; {backbone.without_head}; set aligned: false, or give weights that include "
            "the classification layer"
        )
    if settings.positions:
        reduction = Reduction(settings.positions, settings.reduction, settings.aligned)
        for layer in backbone.record.layers:
            grid = reduction.grid(backbone.shapes[layer.name])
            files.append(LayerFile(layer.name, layer.n_units, grid, reduction=reduction))
    if with_head and backbone.head is not None:
        files.append(LayerFile(backbone.head.name, backbone.head.n_units, None, of="input"))
    return files


def _refuse_if_too_large(recording: RecordingPass) -> None:
    left = recording.n_images - recording.done
    needed = left * sum(file.row_bytes for file in recording.files)
    free = free_bytes(recording.folder)
    if needed > free:
        raise OutputError(
            f"the activations need {needed / 1e9:.1f} GB in {recording.folder}, of which "
            f"{free / 1e9:.1f} GB are free: choose another place with --set output.cache=..., "
            "fewer layers, or activations.positions: 0"
        )


def _borrow(
    donor: Donor,
    backbone: Backbone,
    faces: Faces,
    settings: Activations,
    *,
    recording: RecordingPass,
    progress: Progress,
) -> int:
    """Take the rows that a donor has, pass the other images, and return how many these were."""
    donors, passed = [donor], 0
    unseen = subset(faces, donor.lacks)
    name = backbone.record.name
    if faces.table.pictures is None:
        n_seen = len(faces) - len(unseen)
        progress.say(f"{name}: {n_seen} of {len(faces)} images were seen in an earlier audit")
    if len(unseen):
        folder = recording.folder / "unseen"
        rest = RecordingPass(folder, recording.files, len(unseen))
        passed = len(unseen) - rest.done
        if passed:
            _pass(backbone, unseen, settings, recording=rest, progress=progress)
        donors.append(donor.rest(folder))
    start = _whole_batches(recording, settings)
    rows = borrowed_rows(donors, recording, start=start, piece=settings.batch_size)
    title, unit = f"Stored activations, {name}", "image"
    if faces.table.pictures is not None:
        unit = "answer"
    with progress.step(title, total=len(faces), unit=unit) as step:
        step.resume(start)
        _record(rows, faces, settings, recording=recording, step=step)
    shutil.rmtree(recording.folder / "unseen", ignore_errors=True)
    return passed


def _take(
    given: Given,
    faces: Faces,
    settings: Activations,
    *,
    recording: RecordingPass,
    progress: Progress,
) -> None:
    """Take the rows of activations that were computed elsewhere."""
    labels = [reference.label for reference in faces.table.references]
    places = given.rows_of(faces.sha256, labels)
    start = _whole_batches(recording, settings)

    def rows() -> Iterator[Rows]:
        for first in range(start, len(faces), settings.batch_size):
            batch = places[first : first + settings.batch_size]
            yield (
                first,
                {
                    file: given.values(
                        file.layer,
                        file.of,
                        file.reduction.described if file.reduction else None,
                        batch,
                    ).reshape(len(batch), *file.row)
                    for file in recording.files
                },
            )

    title = f"Given activations, {given.record.name}"
    with progress.step(title, total=len(faces), unit="image") as step:
        step.resume(start)
        _record(rows(), faces, settings, recording=recording, step=step)


def _pass(
    backbone: Backbone,
    faces: Faces,
    settings: Activations,
    *,
    recording: RecordingPass,
    progress: Progress,
) -> None:
    """Let every image pass through the backbone, from where the recording was left off."""
    device = device_for(settings.device)
    module = backbone.module.to(device).to(memory_format=torch.channels_last)
    if not settings.is_plain:
        _check(backbone, module, faces, settings, recording=recording, device=device)
    start = _whole_batches(recording, settings)
    batches = decoded_batches(
        faces.table.references,
        backbone.preprocessing,
        batch_size=settings.batch_size,
        workers=settings.workers,
        start=start,
    )
    title = f"Forward pass, {backbone.record.name}"
    try:
        with (
            progress.step(title, total=len(faces), unit="image") as step,
            faster_capture(backbone, module, recording.files, settings) as capture,
        ):
            step.resume(start)

            def rows() -> Iterator[Rows]:
                for first, pixels in batches:
                    whole = _whole(pixels, settings.batch_size)
                    outputs = capture.passed(forward_input(whole, backbone.preprocessing, device))
                    yield first, {file: padded[: len(pixels)] for file, padded in outputs.items()}

            _record(rows(), faces, settings, recording=recording, step=step)
    finally:
        batches.close()


def _whole(pixels: Pixels, batch_size: int) -> Pixels:
    """The last image is repeated up to a whole batch.

    Smaller ones are computed by other kernels, whose sums differ in the last bits.
    """
    lacking = batch_size - len(pixels)
    return np.concatenate([pixels, pixels[-1:].repeat(lacking, axis=0)]) if lacking else pixels


def _check(
    backbone: Backbone,
    module: nn.Module,
    faces: Faces,
    settings: Activations,
    *,
    recording: RecordingPass,
    device: torch.device,
) -> None:
    """Hold a pass that is not plain against the plain one, on the first images, and keep that."""
    decoded = decoded_batches(
        faces.table.references[: settings.batch_size],
        backbone.preprocessing,
        batch_size=settings.batch_size,
        workers=settings.workers,
    )
    _, pixels = next(decoded)
    whole = _whole(pixels, settings.batch_size)
    batch = forward_input(whole, backbone.preprocessing, device)
    found = checked(backbone, module, recording.files, settings, batch)
    with writing(recording.folder):
        recording.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(recording.folder / _AGREEMENT, json.dumps(found))


def _whole_batches(recording: RecordingPass, settings: Activations) -> int:
    """Where a recording continues: only whole batches are computed as without interruption."""
    recording.done -= recording.done % settings.batch_size
    return recording.done


def _record(
    rows: Iterator[Rows],
    faces: Faces,
    settings: Activations,
    *,
    recording: RecordingPass,
    step: Step,
) -> None:
    """Write rows as they come, with their moments, and seal the recording."""
    cells, n_cells = faces.table.cells, faces.table.n_cells
    # What an interrupted pass wrote is added batch by batch, as that pass had added it.
    moments = {
        file: stream_moments(recording.rows(file), cells, n_cells, piece=settings.batch_size)
        if recording.done
        else Moments.empty(n_cells, file.row)
        for file in recording.files
    }
    recording.begin()
    try:
        last = time.monotonic()
        for first, batch in rows:
            done = first
            for file, values in batch.items():
                done = first + len(values)
                recording.append(file, values)
                moments[file].update(values, cells[first:done])
            if time.monotonic() - last > _CHECKPOINT_SECONDS:
                last = time.monotonic()
                recording.checkpoint(done)
            step.advance(done - first)
        for file in recording.files:
            path = moments_path(recording.folder / file.name, cells, n_cells)
            write_moments(path, moments[file])
        recording.checkpoint(len(faces))
    finally:
        recording.close()
