"""One audit on the processor and on the fake device; prints what differs. Run as a script.

It has a process of its own, because PyTorch starts its engine of gradients, with a queue for each
device, once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bias_audit.audit.run import run
from bias_audit.config.schema import AuditConfig
from bias_audit.progress import Silent
from tests.analyses.test_attribution import CORNER
from tests.fake_device import NAME, fake_device
from tests.functional import tiny_zoo


def config(folder: Path, device: str) -> AuditConfig:
    """With every kind of tensor work."""
    shared = ("activations", "analyses", "changes", "criteria", "datasets", "backbones", "name")
    own = {key: value for key, value in tiny_zoo.CONFIG.items() if key not in shared}
    placed = {"layout": {"kind": "particle_swarm", "steps": 30}}
    return AuditConfig.model_validate(
        own
        | {
            "name": "device",
            "data": tiny_zoo.CONFIG["datasets"][0]["data"],
            "backbones": [
                {key: v for key, v in tiny_zoo.CONFIG["backbones"][0].items() if key != "label"}
            ],
            "activations": {"device": device, "batch_size": 16, "positions": 4, "aligned": True},
            "analyses": [
                {"kind": "topomap", **placed, "differences": {"permutations": 99}},
                {
                    "kind": "attribution",
                    "targets": ["gender"],
                    "images": 20,
                    "trust_images": 10,
                    "template": CORNER,
                    "windows": 3,
                    "steps": 2,
                },
                {"kind": "linear_probe", "folds": 3, "targets": ["gender"]},
                {"kind": "confusions", "protocol": "krug_stober_2025", "published": {"epochs": 2}},
            ],
            "output": {"folder": str(folder / device), "cache": str(folder / f"{device}-cache")},
        }
    )


def largest_gap(one: Any, other: Any) -> float:
    """Between numbers of two results of one form; infinity where anything else differs."""
    if isinstance(one, bool | str) or one is None:
        return 0.0 if one == other else np.inf
    if isinstance(one, int | float):
        return float(abs(one - other) / max(1.0, abs(one)))
    if isinstance(one, dict):
        pairs = [(one[key], other[key]) for key in one]
    else:
        pairs = list(zip(one, other, strict=True))
    return max((largest_gap(*pair) for pair in pairs), default=0.0)


def main(folder: Path) -> None:
    """Audit twice, and print a line of JSON."""
    tiny_zoo.make(folder)
    with fake_device():
        there = run(config(folder, NAME), command="", progress=Silent())
    here = run(config(folder, "cpu"), command="", progress=Silent())
    found: dict[str, Any] = {"device": there.provenance.hardware["device"]}
    for one, other in zip(here.subjects[0].analyses, there.subjects[0].analyses, strict=True):
        found[one.kind] = [one.error or "", other.error or ""]
        if one.status == other.status == "done":
            blocks = [[b.model_dump(mode="json") for b in each.blocks] for each in (one, other)]
            found[one.kind] = largest_gap(*blocks)
    found["controls"] = [each.name for each in there.subjects[0].controls if not each.absent]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    main(Path(sys.argv[1]))
