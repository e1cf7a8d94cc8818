"""Attribution against a plain loop over captum, and its memory for more images."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import DeepLift, InputXGradient, IntegratedGradients, Occlusion, Saliency
from torch import Tensor, nn

from bias_audit.activations.decode import decoded_batches
from bias_audit.activations.extract import forward_input
from bias_audit.analyses.attributing.decision import ProbeDecision, ScoreMap
from bias_audit.analyses.attributing.face_regions import RENDERED, regions_on
from bias_audit.analyses.attributing.methods import METHODS, MethodSettings, rewired, window_of
from bias_audit.analyses.attributing.summing import Question, Sample, summed
from bias_audit.audit.controls import LoadedNetwork
from bias_audit.audit.plan import find_faces, make_plan
from bias_audit.backbones.loading import load_backbone
from bias_audit.config.load import load_config
from bias_audit.progress import Silent

ROOT = Path(__file__).resolve().parents[2]
LAYER = "blocks.5"
SETTINGS = MethodSettings(windows=5, steps=8)
BATCH = 8
USED = [method for method in METHODS if method.name != "guided_backpropagation"]


@pytest.mark.benchmark
def test_throughput_beside_a_plain_loop_over_captum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(ROOT / "audit_configs" / "quickstart.yaml")
    config = config.model_copy(
        update={"output": config.output.model_copy(update={"cache": tmp_path})}
    )
    plan = make_plan(config)
    faces = find_faces(plan, progress=Silent())
    planned = plan.backbones[0]
    backbone = load_backbone(planned.kind, planned.source, planned.params)
    n_units = backbone.shapes[LAYER].n_units
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, n_units)).astype(np.float32)
    scores = ScoreMap(weight, np.zeros(4, np.float32))
    network = LoadedNetwork(backbone, faces, config)
    decision = ProbeDecision(rewired(network.module, (224, 224)), LAYER, network.shapes, scores)
    chosen = np.arange(2 * BATCH)
    ours, plain = [], []
    for _ in range(3):
        question = Question(
            decision,
            lambda batch, _: torch.zeros(len(batch), dtype=torch.long),
            tuple(USED),
            SETTINGS,
            regions_on(RENDERED, backbone.preprocessing),
            56,
            BATCH,
        )
        sample = Sample(chosen, chosen, np.ones((len(chosen), 1), bool))
        began = time.perf_counter()
        with Silent().step("", total=1, unit="image") as step:
            deque(summed(question, sample, network, step=step), maxlen=1)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        _plain_loop(decision, network, chosen)
        plain.append(time.perf_counter() - began)
    ratio = float(np.median(plain) / np.median(ours))
    each = np.median(ours) / len(chosen)
    with capsys.disabled():
        sys.stdout.write(
            f"\nattribution: {each:.2f} s per image, plain loop over captum / ours {ratio:.2f}\n"
        )


def _plain_loop(decision: nn.Module, network: LoadedNetwork, chosen: Any) -> None:
    """Decode, attribute by each method in turn, keep the absolute maps' sum."""
    size, step = window_of(224, SETTINGS.windows)
    made: list[tuple[Any, dict[str, Any]]] = [
        (
            Occlusion(decision),
            {"sliding_window_shapes": (3, size, size), "strides": (3, step, step)},
        ),
        (Saliency(decision), {"abs": False}),
        (InputXGradient(decision), {}),
        (IntegratedGradients(decision), {"n_steps": SETTINGS.steps}),
        (DeepLift(decision), {}),
    ]
    sums = [np.zeros((224, 224)) for _ in made]
    decoded = decoded_batches(
        [network.faces.table.references[i] for i in chosen],
        network.preprocessing,
        batch_size=BATCH,
        workers=1,
    )
    for _, pixels in decoded:
        batch: Tensor = forward_input(pixels, network.preprocessing, torch.device("cpu"))
        for number, (method, options) in enumerate(made):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = method.attribute(batch.clone(), target=0, **options)
            size_of = found.detach().abs().sum(dim=1)
            shares = size_of / size_of.sum(dim=(1, 2), keepdim=True)
            sums[number] += shares.sum(dim=0).numpy()


_MEASURED = """
import resource, sys
from collections import deque
import numpy as np, torch
from bias_audit.analyses.attributing.face_regions import TIGHT, regions_on
from bias_audit.analyses.attributing.methods import METHODS, MethodSettings
from bias_audit.analyses.attributing.summing import Question, Sample, summed
from bias_audit.analyses.attributing.methods import rewired
from bias_audit.progress import Silent
from bias_audit.testing.network import PREPROCESSING, SIDE, SmallNet, frozen

class Made:
    def batches(self, images, size):
        for start in range(0, len(images), size):
            yield torch.randn(len(images[start:start + size]), 3, SIDE, SIDE)

n = int(sys.argv[1])
decision = rewired(frozen(SmallNet()), (SIDE, SIDE))
question = Question(decision, lambda batch, places: torch.zeros(len(batch), dtype=torch.long),
    METHODS, MethodSettings(windows=4, steps=4), regions_on(TIGHT, PREPROCESSING), 16, 8)
member = np.zeros((n, 19), bool)
member[:, 0] = True
member[np.arange(n), 1 + np.arange(n) % 18] = True
sample = Sample(np.arange(n), np.arange(n), member)
with Silent().step("", total=1, unit="image") as step:
    deque(summed(question, sample, Made(), step=step), maxlen=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.benchmark
def test_memory_does_not_grow_with_the_images(capsys: pytest.CaptureFixture[str]) -> None:
    peaks = []
    for n in (200, 800):
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(n)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    with capsys.disabled():
        sys.stdout.write(
            f"\nattribution: peak memory {peaks[0]:.0f} MiB for 200 images, "
            f"{peaks[1]:.0f} MiB for 800\n"
        )
    assert peaks[1] < 1.1 * peaks[0]
