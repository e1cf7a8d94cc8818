"""Ratios measured in one run; no time in seconds passes or fails.

Run with `make benchmark`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bias_audit.activations.capture import captured
from bias_audit.activations.decode import decoded_batches
from bias_audit.activations.extract import extract, forward_input
from bias_audit.activations.faster import agreement, faster_capture
from bias_audit.activations.recording import LayerFile
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.config.catalog import BACKBONE_SOURCES, DATA_SOURCES
from bias_audit.config.schema import Activations
from bias_audit.data.faces import Faces
from bias_audit.files import sha256_of
from bias_audit.progress import Silent

pytestmark = pytest.mark.benchmark
N_IMAGES = 768
ROUNDS = 3
CPU = torch.device("cpu")


def fairface(shared: Path, n: int) -> Faces:
    source = DATA_SOURCES.load("fairface")
    table = source.read(source.params_type(root=shared / "data" / "fairface"))
    rows = np.linspace(0, len(table) - 1, n).astype(int)
    few = dataclasses.replace(
        table,
        references=tuple(table.references[row] for row in rows),
        codes=table.codes[rows],
        identities=None,
        splits=None,
    )
    sha256 = tuple(sha256_of(reference.file) for reference in few.references)
    found = np.bincount(few.cells, minlength=few.n_cells)
    return Faces(table=few, found=found, clusters=np.arange(n), sha256=sha256)


def backbone(kind: str, **params: Any) -> Backbone:
    source = BACKBONE_SOURCES.load(kind)
    return load_backbone(kind, source, source.params_type(**params))


def bare_loop(subject: Backbone, batches: list[torch.Tensor]) -> float:
    """The same model over tensors that are in memory already."""
    module = subject.module.to(memory_format=torch.channels_last)
    began = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            module(batch)
    return time.perf_counter() - began


def named(shared: Path, name: str) -> Backbone:
    if name == "resnet50":
        weights = shared / "weights" / "resnet50_keras_caffe_v1.safetensors"
        return backbone("checkpoint", architecture="resnet50", file=weights, layers="stages")
    return backbone("bundled", layers=["blocks.*", "bn2"])


def loaded(subject: Backbone, faces: Faces) -> list[torch.Tensor]:
    decoded = decoded_batches(
        faces.table.references, subject.preprocessing, batch_size=32, workers=2
    )
    return [forward_input(pixels, subject.preprocessing, CPU) for _, pixels in decoded]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50"])
def test_extraction_against_a_bare_loop(
    shared: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decoding, recording and moments included; the bare loop is the better of two."""
    faces, subject = fairface(shared, N_IMAGES), named(shared, name)
    batches = loaded(subject, faces)
    bare_loop(subject, batches[:1])
    ratios = []
    for turn in range(-1, ROUNDS):  # the first reads the sources that the fingerprint is about
        bare = bare_loop(subject, batches)
        before, began = getrusage(RUSAGE_SELF), time.perf_counter()
        settings = Activations(device="cpu")
        extract(subject, faces, settings, cache=tmp_path / str(turn), progress=Silent())
        taken, after = time.perf_counter() - began, getrusage(RUSAGE_SELF)
        ratios.append(min(bare, bare_loop(subject, batches)) / taken)
    with capsys.disabled():
        told = ", ".join(f"{ratio:.3f}" for ratio in ratios[1:])
        print(  # noqa: T201
            f"\nextraction, {name}: {statistics.median(ratios[1:]):.3f} of a bare loop ({told}); "
            f"{N_IMAGES / taken:.1f} images/s, {after.ru_minflt - before.ru_minflt} page faults, "
            f"{after.ru_stime - before.ru_stime:.2f} s in the system"
        )
    assert statistics.median(ratios[1:]) > 0.5


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50"])
def test_faster_passes_against_a_bare_loop(
    shared: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of batches that are in memory, without the time of compiling; and what they cost."""
    subject = named(shared, name)
    module = subject.module.to(memory_format=torch.channels_last)
    batches = loaded(subject, fairface(shared, N_IMAGES // 4))
    files = [LayerFile(layer.name, layer.n_units, None) for layer in subject.record.layers]
    bare_loop(subject, batches)
    bare = min(bare_loop(subject, batches) for _ in range(ROUNDS))
    with captured(subject, module, files) as capture:
        plain = {f: rows.copy() for f, rows in capture.passed(batches[0]).items()}
    found = {}
    for settings in (
        Activations(device="cpu", compiled=True),
        Activations(device="cpu", precision="bfloat16"),
        Activations(device="cpu", precision="bfloat16", compiled=True),
    ):
        with faster_capture(subject, module, files, settings) as capture:
            error = max(agreement(plain, capture.passed(batches[0])).values())
            seconds = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                for batch in batches:
                    capture.passed(batch)
                seconds.append(time.perf_counter() - began)
        found[settings.forward] = bare / min(seconds)
        with capsys.disabled():
            print(  # noqa: T201
                f"\n{name}, {settings.forward}: {found[settings.forward]:.2f} times as fast as a "
                f"bare loop, largest error {error:.1e}",
                end="",
            )
    assert found["float32, compiled"] > 0.9


def peak_memory(folder: Path, config: dict[str, Any]) -> tuple[float, float]:
    """Peak resident memory in MiB and seconds of one audit in a process of its own."""
    folder.mkdir()
    (folder / "audit.yaml").write_text(yaml.safe_dump(config))
    program = (
        "import resource, sys, json, time; began = time.time(); from bias_audit.cli import app\n"
        "try:\n app(['run', 'audit.yaml'])\n"
        "except SystemExit as stop:\n assert not stop.code, stop.code\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "json.dump([peak, time.time() - began], open('peak.json', 'w'))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ},
    )
    peak, seconds = json.loads((folder / "peak.json").read_text())
    return peak, seconds


def audit_of_fairface(shared: Path, cap: int, cache: Path) -> dict[str, Any]:
    return {
        "name": "memory",
        "data": {"kind": "fairface", "root": str(shared / "data" / "fairface")},
        "sampling": {"max_per_intersection": cap},
        "backbones": [{"kind": "bundled", "layers": ["blocks.3", "blocks.5", "bn2"]}],
        "analyses": [
            {"kind": "linear_probe", "targets": ["age", "race", "gender"]},
            {"kind": "group_profiles"},
        ],
        "output": {"cache": str(cache)},
    }


def test_memory_when_images_double_and_time_of_a_second_run(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peaks = {}
    for cap in (10, 20):
        config = audit_of_fairface(shared, cap, tmp_path / f"cache{cap}")
        peaks[cap], first = peak_memory(tmp_path / str(cap), config)
    config = audit_of_fairface(shared, 20, tmp_path / "cache20")
    config["analyses"] = [{"kind": "group_profiles"}]
    _, second = peak_memory(tmp_path / "again", config)
    growth = peaks[20] / peaks[10] - 1
    with capsys.disabled():
        print(  # noqa: T201
            f"\npeak memory {peaks[10]:.0f} -> {peaks[20]:.0f} MiB when images double "
            f"({growth:+.1%}); another analysis of stored activations takes {second / first:.2f} "
            "of the first run"
        )
    assert growth < 0.5
    assert second < first
