"""The published probe beside an independent implementation, on real faces and weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bias_audit.activations.extract import extract
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.confusing.published import PublishedSettings, published_probes, split_of
from bias_audit.analyses.targets import finest_target
from bias_audit.audit.plan import find_faces, make_plan
from bias_audit.backbones.loading import load_backbone
from bias_audit.cache import Cache
from bias_audit.config.load import load_config
from bias_audit.progress import Silent
from tests.analyses.test_published_protocol import keras_probe

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
LAYERS = ("maxpool", "layer1.0", "global_pool")
SETTINGS = PublishedSettings(seeds=3)


@pytest.mark.benchmark
def test_accuracy_beside_an_independent_implementation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (SHARED / "weights").is_dir():
        pytest.skip("needs FairFace and ResNet50's weights in ../shared")
    weights = SHARED / "weights" / "resnet50_keras_caffe_v1.safetensors"
    changes = [
        f"data.root={SHARED / 'data' / 'fairface'}",
        "sampling.max_per_intersection=12",
        f"output.cache={tmp_path}",
        f"backbones.1.file={weights}",
        f"backbones.1.layers=[{', '.join(LAYERS)}]",
    ]
    config = load_config(ROOT / "audit_configs" / "krug_stober_2025.yaml", changes)
    plan = make_plan(config)
    faces, planned = find_faces(plan, progress=Silent()), plan.backbones[1]
    backbone = load_backbone(planned.kind, planned.source, planned.params)
    stored = extract(backbone, faces, config.activations, cache=tmp_path, progress=Silent())
    subject = Subject("resnet50", faces, stored.activations, Cache(), config.seed, Silent())
    target = finest_target(faces.table)
    splits = [split_of(subject, target, SETTINGS, seed) for seed in range(SETTINGS.seeds)]
    lines = []
    for layer in LAYERS:
        flat = stored.activations.positions(layer).reshape(len(faces), -1)
        accuracy: dict[str, list[float]] = {"ours": [], "independent": []}
        for split, probe in zip(
            splits, published_probes(subject, splits, [layer], SETTINGS), strict=True
        ):
            part, held = split.part, split.validation
            rows = flat[part.images].astype(np.float64)
            rng = np.random.default_rng(split.seed)
            weight, bias = keras_probe(rows[~held], part.codes[~held], SETTINGS, rng)
            predicted = (rows[held] @ weight + bias).argmax(axis=1)
            accuracy["ours"].append(float(probe.hits(of_validation=True)[0].mean()))
            accuracy["independent"].append(float((predicted == part.codes[held]).mean()))
        ours, theirs = (np.array(accuracy[name]) for name in ("ours", "independent"))
        spread = float(np.sqrt(ours.var(ddof=1) + theirs.var(ddof=1)))
        lines.append(
            f"{layer}: ours {ours.mean():.3f}, independent {theirs.mean():.3f}, "
            f"standard deviation of the difference of two fits {spread:.3f}"
        )
        assert abs(float(ours.mean() - theirs.mean())) <= max(spread, 1 / int(held.sum()))
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
