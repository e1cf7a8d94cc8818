"""What is kept is computed again after an edit of any code that ran when it was computed."""

from __future__ import annotations

import ast
import functools
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import bias_audit
from bias_audit import software
from bias_audit.activations.extract import extract, made_by
from bias_audit.analyses.analysis import Cached, Input, Subject
from bias_audit.analyses.confusing.published import PublishedSettings, published_probes, split_of
from bias_audit.analyses.methods import attribution, erasure
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, probe_and_refits
from bias_audit.analyses.targets import finest_target
from bias_audit.audit.cache import analysis_key
from bias_audit.audit.controls import LoadedNetwork
from bias_audit.audit.plan import PlannedAnalysis
from bias_audit.backbones import random_weights
from bias_audit.config.schema import Activations
from bias_audit.data import scan
from bias_audit.data.duplicates import near_duplicate_sets
from bias_audit.data.image_features import image_features
from bias_audit.progress import Silent
from bias_audit.selftest import run as kept_selftests
from bias_audit.selftest.checks import null
from tests.activations.conftest import bundled, some_faces
from tests.analyses.attributed import attributed
from tests.analyses.planted import planted
from tests.analyses.test_attribution import CORNER
from tests.analyses.test_erasure import subject as with_head
from tests.analyses.test_published_protocol import subject as with_maps
from tests.audit.test_controls import config
from tests.selftest.test_selftest import TINY, trials

PACKAGE = Path(bias_audit.__file__).parent
Key = Callable[[], str]
Edit = Callable[[str], AbstractContextManager[None]]
NO_NUMBERS = {
    "bias_audit.progress": "says how far the work is",
    "bias_audit.config.schema": "settings, which count by their values",
    "bias_audit.backbones.loading": "weights and preprocessing, which count by their values",
    "bias_audit.selftest.simulated": "stands in for stored activations here",
}
"""Modules that run but may change without a new key, and why."""


@dataclass(frozen=True)
class Entry:
    """One thing that is kept."""

    key: Key
    ran: frozenset[str]
    """Modules of the package that ran while it was computed."""


@contextmanager
def watched() -> Iterator[set[str]]:
    """The modules of the package whose functions are called, in all threads."""
    places: set[str] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            places.add(frame.f_code.co_filename)

    ran: set[str] = set()
    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield ran
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
        for place in places:
            if Path(place).is_relative_to(PACKAGE):
                dotted = Path(place).relative_to(PACKAGE.parent).with_suffix("").parts
                ran.add(".".join(dotted).removesuffix(".__init__"))


def _intermediate() -> dict[str, Entry]:
    """Everything that analyses keep, with what ran for it."""
    entries: dict[str, Entry] = {}

    def noted(subject: Subject, purpose: str, inputs: tuple[Input, ...], compute: Any) -> Any:
        def run(*begun: Any) -> Any:
            with watched() as ran:
                found = compute(*begun)
                found = found if isinstance(found, dict) else [*found]
            key = functools.partial(subject._cache_key, purpose, inputs, compute)
            entries[purpose] = Entry(key, frozenset(ran))
            return found

        return run

    cached, resumed = Subject.cached, Subject.resumed

    def cached_and_noted(self: Subject, purpose: str, *inputs: Input, compute: Any) -> Cached:
        made = cached(self, purpose, *inputs, compute=compute)
        return replace(made, _compute=noted(self, purpose, inputs, compute))

    def resumed_and_noted(self: Subject, purpose: str, *inputs: Input, compute: Any) -> Any:
        run = functools.wraps(compute)(noted(self, purpose, inputs, compute))
        return resumed(self, purpose, *inputs, compute=run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "cached", cached_and_noted)
        patch.setattr(Subject, "resumed", resumed_and_noted)
        plain = replace(planted(60), refits=1)
        spec = ProbeSpec(finest_target(plain.faces.table), "late", ProbeSettings(folds=3))
        probe_and_refits(plain, spec)
        erasure.PLUGIN.run(with_head(used=True, n=120), erasure.Params(shuffles=2))
        settings = PublishedSettings(epochs=1)
        maps = with_maps(n=120)
        target = finest_target(maps.faces.table)
        published_probes(maps, split_of(maps, target, settings), ["late"], settings)
        given = {
            "targets": ["gender"],
            "methods": ["saliency"],
            "trust_images": 10,
            "windows": 2,
            "steps": 2,
            "map_side": 8,
            "template": CORNER,
        }
        subject, params = attributed(40), attribution.Params.model_validate(given)
        with watched() as ran:
            attribution.PLUGIN.run(subject, params)
    planned = PlannedAnalysis("attribution", attribution.PLUGIN, params)
    entries["analysis"] = Entry(
        functools.partial(analysis_key, planned, subject, config(Path())), frozenset(ran)
    )
    return entries


def _of_images(folder: Path) -> dict[str, Entry]:
    """Everything that is kept of images and of backbones."""
    from bias_audit.config.catalog import DATA_SOURCES

    source = DATA_SOURCES.load("parametric")
    faces = some_faces(source.read(source.params_type()), 4)
    backbone = bundled(["blocks.1"])
    settings = Activations(batch_size=2, device="cpu", positions=2)
    entries = {}
    with watched() as ran:
        extract(backbone, faces, settings, cache=folder, progress=Silent())
    entries["activations"] = Entry(lambda: " ".join(made_by()), frozenset(ran))
    network = LoadedNetwork(backbone, faces, config(folder))
    with watched() as ran:
        next(network.batches(np.arange(2), 2))
    entries["network"] = Entry(lambda: network.fingerprint, frozenset(ran))
    with watched() as ran:
        drawn = random_weights.with_random_weights(backbone, 1, calibrated_on="")
        batch = next(network.batches(np.arange(2), 2))
        random_weights.set_statistics(drawn, random_weights.estimate_statistics(drawn, batch))
    entries["random weights"] = Entry(
        lambda: random_weights._fingerprint(backbone, 1, "") + " ".join(made_by()),
        frozenset(ran) - {"bias_audit.audit.controls"},
    )
    with watched() as ran:
        described = image_features(faces, workers=1, cache=folder, progress=Silent())
    one = replace(faces, table=replace(faces.table, references=()), sha256=())
    entries["image features"] = Entry(
        lambda: image_features(one, workers=1, cache=folder, progress=Silent()).fingerprint,
        frozenset(ran),
    )
    assert described.quality.any()
    with watched() as ran:
        records = scan.open_once(faces.table, workers=1, progress=Silent(), cache=None)
    entries["opened images"] = Entry(
        lambda: b"".join(scan._keys(faces.table.references[:1])).decode(), frozenset(ran)
    )
    columns = [records[name] for name in ("hash", "mirrored", "thumbnail")]
    with watched() as ran, Silent().step("", total=4, unit="image") as step:
        near_duplicate_sets(*columns, step=step)

    def near_duplicates() -> str:
        shutil.rmtree(folder / "near_duplicates", ignore_errors=True)
        scan._near_sets(records, Silent(), folder)
        return next((folder / "near_duplicates").iterdir()).name

    entries["near duplicates"] = Entry(near_duplicates, frozenset(ran))
    return entries


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Entry]:
    folder = tmp_path_factory.mktemp("kept")
    found = _intermediate() | _of_images(folder)
    with watched() as ran:
        tuple(null.rows(TINY, trials()))
    key: Key = lambda: str(kept_selftests._path(folder, "quick"))  # noqa: E731
    return found | {"self-test": Entry(key, frozenset(ran))}


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Edit]:
    """Changes a module of a copy of the package, which counts as the package, for a while."""
    copy = tmp_path / PACKAGE.name
    for path in PACKAGE.rglob("*.py"):
        place = copy / path.relative_to(PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    read: dict[str, Any] = {}
    parse = software._source.__wrapped__

    def source(module: str) -> Any:
        if module not in read:
            read[module] = parse(module)
        return read[module]

    monkeypatch.setattr(software, "_PACKAGE", copy)
    monkeypatch.setattr(software, "_source", source)
    monkeypatch.setattr(software, "versions_of", functools.cache(software.versions_of))
    software.software_of.cache_clear()

    @contextmanager
    def edited(module: str) -> Iterator[None]:
        path = software._path(module)
        assert path is not None
        before, text = source(module), path.read_text()
        path.write_text(text + "\n_EDITED = 1\n")
        del read[module]
        software.software_of.cache_clear()
        yield
        path.write_text(text)
        read[module] = before
        software.software_of.cache_clear()

    yield edited
    monkeypatch.undo()
    software.software_of.cache_clear()


def test_an_edit_of_any_code_that_ran_makes_a_new_key(
    entries: dict[str, Entry], edit: Edit
) -> None:
    keys = {name: entry.key() for name, entry in entries.items()}
    ran = frozenset().union(*(entry.ran for entry in entries.values()))
    assert len(ran) > 60
    stale = []
    for module in sorted(ran - NO_NUMBERS.keys()):
        with edit(module):
            stale += [
                f"{name} after an edit of {module}"
                for name, entry in entries.items()
                if module in entry.ran and entry.key() == keys[name]
            ]
    assert not stale


def test_an_edit_of_what_draws_the_report_makes_none(
    entries: dict[str, Entry], edit: Edit
) -> None:
    keys = {name: entry.key() for name, entry in entries.items()}
    with edit("bias_audit.report.html"):
        assert {name: entry.key() for name, entry in entries.items()} == keys


def test_every_intermediate_result_is_looked_at(entries: dict[str, Entry]) -> None:
    """No call is missing above, and nothing in the package goes round `cached` and `resumed`."""
    purposes, others = set(), []
    for path in (PACKAGE / "analyses").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in {"cached", "resumed"}:
                assert isinstance(node.args[0], ast.Constant)
                purposes.add(node.args[0].value)
            on = ast.unparse(node.func.value)
            if node.func.attr in {"get", "put"} and on in {"cache", "subject.cache"}:
                others.append(f"{path}: {ast.unparse(node)}")
    assert purposes and purposes <= entries.keys()
    assert not others
