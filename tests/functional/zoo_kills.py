"""Runs of a zoo that are killed at random, continued, and held against one that was not."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.functional import tiny_zoo
from tests.functional.forking import Ended, Forks, forks

_WHOLE: Final = "whole.json"
RUN: Final = ("zoo", "run", "zoo.yaml")
_FRAME: Final = re.compile(r'File "[^"]*/bias_audit/(?P<file>[^"]+)", line \d+ in (?P<name>\w+)')
_STAGES: Final = {
    "recover": "recovery",
    "begin": "recovery",
    "end": "summary",
    "standings": "standings",
    "find_faces": "faces",
    "image_controls": "image controls",
    "_load": "loading",
    "extract": "forward pass",
    "random_weight_controls": "random weights",
    "_analyses": "analyses",
    "write_audit": "results",
    "run": "results",
    "render": "report",
    "record_folder": "history",
    "compare_new": "comparison",
    "record_run": "run record",
    "write_zoo_report": "zoo report",
    "summary_text": "summary",
}
"""Innermost function that tells the stage."""


@dataclass(frozen=True)
class Bench:
    """A zoo that is about to be audited again, and what an uninterrupted run makes of it."""

    run: Forks
    before: Path
    after: Path
    seconds: float
    """Of the uninterrupted run."""
    changes: tuple[str, ...]
    """It makes to the file system: the stage of each."""


@dataclass
class Trials:
    """What was tried."""

    kills: int = 0
    ends: int = 0
    stages: Counter[str] = field(default_factory=Counter)


@contextmanager
def bench(home: Path, self_test: Path) -> Iterator[Bench]:
    """Prepare a bench, for as long as the block lasts."""
    with forks() as run:
        prepare(home, self_test, run)
        yield opened(home, run)


def prepare(home: Path, self_test: Path, run: Forks) -> None:
    """Audit a zoo once, change its weights and labels, and audit a copy again.

    Args:
        home: An empty folder.
        self_test: A cache that holds a self-test.
        run: Of the commands.
    """
    before, after = home / "before", home / "after"
    tiny_zoo.make(before)
    shutil.copytree(self_test, before / "runs" / "cache")
    assert run(*RUN, cwd=before).code == 0
    for number, label in enumerate(tiny_zoo.LABELS):
        tiny_zoo.write_weights(before / f"{label}.safetensors", 10 + number)
    # So that faces are opened, described and drawn again as well.
    for name in ("scan", "images"):
        shutil.rmtree(before / "runs" / "cache" / name)
    tiny_zoo.copied(before, after)
    whole = run(*RUN, cwd=after, count=True)
    assert whole.code == 1, whole.out  # the config stops where anything changed
    told = {"seconds": whole.seconds, "changes": list(map(stage, whole.changes))}
    (home / _WHOLE).write_text(json.dumps(told))


def opened(home: Path, run: Forks) -> Bench:
    """What was prepared in a folder."""
    told = json.loads((home / _WHOLE).read_text())
    return Bench(run, home / "before", home / "after", told["seconds"], tuple(told["changes"]))


def trial(bench: Bench, home: Path, rng: random.Random, trials: Trials) -> None:
    """Kill a run, and often its continuations, until one ends; then compare all it left."""
    tiny_zoo.copied(bench.before, home)
    ended = _killed(bench, home, rng, trials)
    while ended.code == -9:
        trials.kills += 1
        trials.stages[stage(ended.where)] += 1
        again = rng.random() < 0.6
        ended = _killed(bench, home, rng, trials) if again else bench.run(*RUN, cwd=home)
    trials.ends += 1
    assert ended.code == 1, (ended.code, ended.out)
    assert tiny_zoo.found(home) == tiny_zoo.found(bench.after)
    left = {name for name in tiny_zoo.files(home) if not name.endswith(".partial")}
    assert left == tiny_zoo.files(bench.after)


def _killed(bench: Bench, home: Path, rng: random.Random, trials: Trials) -> Ended:
    """At a random time, or just before a change to the file system in a stage seldom hit."""
    if rng.random() < 0.5:
        return bench.run(*RUN, cwd=home, kill_after=rng.uniform(0.05, bench.seconds))
    stages = sorted(set(bench.changes))
    fewest = min(trials.stages[name] for name in stages)
    chosen = rng.choice([name for name in stages if trials.stages[name] == fewest])
    places = [number for number, name in enumerate(bench.changes, start=1) if name == chosen]
    return bench.run(*RUN, cwd=home, die_at=rng.choice(places))


def stage(where: str) -> str:
    """The stage of a stack, innermost call first."""
    for frame in _FRAME.finditer(where):
        if frame["name"] in _STAGES:
            return _STAGES[frame["name"]]
    return "start"
