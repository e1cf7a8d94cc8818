"""What is kept is computed again after an edit of any code that ran when it was computed."""

from __future__ import annotations

import ast
import functools
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import bias_audit
from bias_audit import software
from bias_audit.activations.extract import extract, made_by
from bias_audit.analyses.confusing.published import PublishedSettings, published_probes, split_of
from bias_audit.analyses.methods import attribution, erasure, group_clusters
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, probe_and_refits
from bias_audit.analyses.targets import finest_target
from bias_audit.audit.analysing import analysis_entry
from bias_audit.audit.controls import LoadedNetwork, random_weight_controls
from bias_audit.audit.plan import PlannedAnalysis, make_plan
from bias_audit.audit.provenance import file_digest
from bias_audit.backbones import random_weights
from bias_audit.cache import CacheEntry
from bias_audit.config.catalog import DATA_SOURCES
from bias_audit.data import scan
from bias_audit.data.image_features import image_features
from bias_audit.progress import Silent
from bias_audit.selftest.checks import null
from bias_audit.selftest.run import place_of
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
    "bias_audit.testing.network": "makes up the networks that are looked at here",
    "bias_audit.selftest.simulated": "stands in for stored activations here",
}
"""Modules that run but may change without a new key, and why."""


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


@contextmanager
def noted(entries: dict[str, tuple[Key, set[str]]]) -> Iterator[None]:
    """Every result that is computed and kept, by purpose, with the modules that ran for it."""
    or_computed, resumed = CacheEntry.or_computed, CacheEntry.resumed

    def or_computed_and_noted(self: CacheEntry, compute: Any) -> Any:
        def run() -> Any:
            with watched() as ran:
                found = compute()
            entries[self.purpose] = key_of(self), ran
            return found

        return or_computed(self, run)

    def resumed_and_noted(self: CacheEntry, compute: Any) -> Any:
        def run(begun: Any) -> Any:
            with watched() as ran:
                found = [*compute(begun)]
            entries[self.purpose] = key_of(self), ran
            return iter(found)

        return resumed(self, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CacheEntry, "or_computed", or_computed_and_noted)
        patch.setattr(CacheEntry, "resumed", resumed_and_noted)
        yield


def key_of(entry: CacheEntry) -> Key:
    return lambda: replace(entry).fingerprint


def _of_analyses(entries: dict[str, tuple[Key, set[str]]]) -> None:
    plain = replace(planted(60), refits=1)
    spec = ProbeSpec(finest_target(plain.faces.table), "late", ProbeSettings(folds=3))
    probe_and_refits(plain, spec)
    erasure.PLUGIN.run(with_head(used=True, n=120), erasure.Params(draws=2))
    settings = PublishedSettings(epochs=1)
    maps = with_maps(n=120)
    target = finest_target(maps.faces.table)
    published_probes(maps, [split_of(maps, target, settings, 0)], ["late"], settings)
    drawn = {"clusters": 2, "permutations": 19, "bootstrap_draws": 100, "splits": 2}
    group_clusters.PLUGIN.run(planted(120), group_clusters.Params.model_validate(drawn))
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
    entries["analysis"] = key_of(analysis_entry(planned, subject, config(Path()))), ran


def _of_images(folder: Path, entries: dict[str, tuple[Key, set[str]]]) -> None:
    """Everything that is kept of images and of backbones."""
    source = DATA_SOURCES.load("parametric")
    faces = some_faces(source.read(source.params_type()), 4)
    backbone, settings = bundled(["blocks.1"]), config(folder, random_weights=1, image=False)
    with watched() as ran:
        extract(backbone, faces, settings.activations, cache=folder, progress=Silent())
    entries["activations"] = lambda: " ".join(made_by()), ran
    network = LoadedNetwork(backbone, faces, settings)
    with watched() as ran:
        next(network.batches(np.arange(2), 2))
    entries["network"] = lambda: LoadedNetwork(backbone, faces, settings).fingerprint, ran
    with watched() as ran:
        random_weights.with_random_weights(backbone, 1, calibrated_on="")
    entries["random weights"] = lambda: random_weights._fingerprint(backbone, 1, ""), ran
    random_weight_controls(backbone, make_plan(settings), faces, progress=Silent())
    entries["statistics"][1].discard("bias_audit.audit.controls")  # it hands the batch on
    file_digest(faces.table.references[0].file, folder)
    written: dict[str, CacheEntry] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CacheEntry, "write", lambda self, _: written.update({self.purpose: self}))
        with watched() as ran_for_features:
            image_features(faces, workers=1, cache=folder, progress=Silent())
        with watched() as ran_for_scan:
            scan.scan(
                faces.table, workers=1, near_duplicates=True, progress=Silent(), cache=folder
            )
    entries["image features"] = key_of(written["image features"]), ran_for_features
    entries["opened images"] = key_of(written["opened images"]), ran_for_scan


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Key, set[str]]]:
    folder = tmp_path_factory.mktemp("kept")
    found: dict[str, tuple[Key, set[str]]] = {}
    with noted(found):
        _of_analyses(found)
        _of_images(folder, found)
    with watched() as ran:
        tuple(null.rows(TINY, trials()))
    found["self-test"] = key_of(place_of(folder, "quick")), ran
    return found


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
    monkeypatch.setattr(software, "remembered", lambda _kind, _key, find: find())
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


@pytest.mark.slow
def test_an_edit_of_any_code_that_ran_makes_a_new_key(
    entries: dict[str, tuple[Key, set[str]]], edit: Edit
) -> None:
    keys = {name: key() for name, (key, _) in entries.items()}
    everything = set().union(*(ran for _, ran in entries.values()))
    assert len(everything) > 60
    stale = []
    for module in sorted(everything - NO_NUMBERS.keys()):
        with edit(module):
            stale += [
                f"{name} after an edit of {module}"
                for name, (key, ran) in entries.items()
                if module in ran and key() == keys[name]
            ]
    assert not stale


def test_an_edit_of_what_draws_the_report_makes_none(
    entries: dict[str, tuple[Key, set[str]]], edit: Edit
) -> None:
    keys = {name: key() for name, (key, _) in entries.items()}
    with edit("bias_audit.report.page"):
        assert {name: key() for name, (key, _) in entries.items()} == keys


def test_there_is_no_other_way_to_the_cache(entries: dict[str, tuple[Key, set[str]]]) -> None:
    """Every purpose is looked at above, and arrays are stored by the cache and activations."""
    purposes, others = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module == "bias_audit.files":
                names = {alias.name for alias in node.names}
                if names & {"read_arrays", "write_arrays"}:
                    others.add(path.relative_to(PACKAGE).as_posix())
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                place = {"cached": 0, "resumed": 0, "CacheEntry": 1}.get(str(called), 9)
                purpose = node.args[place] if place < len(node.args) else None
                if isinstance(purpose, ast.Constant):
                    purposes.add(purpose.value)
    assert len(purposes) > 6 and purposes <= entries.keys()
    assert others == {"cache.py", "activations/store.py"}
