"""Built-in plugins pass the checks that authors of extensions have, and these see faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from bias_audit import testing
from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.backbones.activation_files import ActivationTable
from bias_audit.config.catalog import ANALYSES, BACKBONE_SOURCES, DATA_SOURCES, EXECUTORS, LAYOUTS
from bias_audit.data.faces import FaceTable
from bias_audit.testing.analyses import N_IMAGES
from tests.data import test_consented_sources as consented
from tests.functional import tiny_zoo

FORMS: Final[dict[str, list[dict[str, Any]]]] = {
    "confusions": [{}, {"protocol": "krug_stober_2025", "published": {"epochs": 2}}],
    "attribution": [{"images": 40, "trust_images": 10, "methods": ["saliency"]}],
    "training": [
        {"classes": {"attribute": "age", "outputs": ["young", "middle", "old", *[None] * 4]}}
    ],
    "layout_comparison": [{"layouts": [{"kind": "pca"}, {"kind": "random"}], "repetitions": 3}],
}
"""Parameters of analyses that take long, or that have more than one form."""


@pytest.mark.parametrize("kind", ANALYSES.kinds())
def test_analyses(kind: str) -> None:
    testing.check_analysis(ANALYSES.load(kind), *FORMS.get(kind, [{}]))


@pytest.mark.parametrize(
    "kind",
    [
        # UMAP compiles for half a minute
        pytest.param(kind, marks=[pytest.mark.slow] if kind in {"umap", "published"} else [])
        for kind in LAYOUTS.kinds()
    ],
)
def test_layouts(kind: str) -> None:
    testing.check_layout(LAYOUTS.load(kind))


@pytest.mark.parametrize(
    "kind",
    [
        "local",
        # it starts a cluster
        pytest.param("ray", marks=pytest.mark.slow),
    ],
)
def test_executors(kind: str) -> None:
    testing.check_executor(EXECUTORS.load(kind))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What sources read: faces of noise under the names of data sets, and two small networks."""
    folder = tmp_path_factory.mktemp("sources")
    tiny_zoo.make(folder)
    for place in ("utkface", "fairface/train"):
        (folder / place).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["file,age,gender,race,service_test"]
    for index in range(4):
        noise = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        noise.save(folder / "utkface" / f"2{index}_{index % 2}_{index}_2017.jpg")
        noise.save(folder / "fairface" / "train" / f"{index}.jpg")
        rows.append(f"train/{index}.jpg,20-29,{('Male', 'Female')[index % 2]},White,True")
    (folder / "fairface" / "fairface_label_train.csv").write_text("\n".join(rows) + "\n")
    return folder


def _data(folder: Path) -> dict[str, dict[str, Any]]:
    manifest = dict(tiny_zoo.CONFIG["datasets"][0]["data"])
    del manifest["kind"]
    return {
        "parametric": {},
        "manifest": {**manifest, "file": str(folder / "labels.csv")},
        "utkface": {"root": str(folder / "utkface")},
        "fairface": {"root": str(folder / "fairface")},
    }


def _networks(folder: Path) -> dict[str, dict[str, Any]]:
    small = {"preprocessing": {"size": tiny_zoo.SIDE}}
    of_file = {**small, "architecture": tiny_zoo.ARCHITECTURE, "num_classes": 2}
    files = [str(folder / f"{label}.safetensors") for label in tiny_zoo.LABELS]
    return {
        "bundled": small,
        "checkpoint": {**of_file, "file": files[0]},
        "checkpoints": {**of_file, "files": files},
        "timm": {**small, "name": "test_resnet.r160_in1k"},
        "torchvision": {**small, "name": "resnet18"},
    }


FOLDERS: Final[dict[str, Callable[[Path], Path]]] = {
    "casual_conversations": consented.casual_conversations_folder,
    "celeba": consented.celeba_folder,
    "facet": consented.facet_folder,
    "fhibe": consented.fhibe_folder,
    "rfw": consented.rfw_folder,
}
"""What makes the root of a data set in its own layout."""


@pytest.mark.parametrize("kind", DATA_SOURCES.kinds())
def test_data_sources(kind: str, folder: Path, tmp_path: Path) -> None:
    make = FOLDERS.get(kind)
    params = {"root": str(make(tmp_path))} if make else _data(folder)[kind]
    testing.check_data_source(DATA_SOURCES.load(kind), params)


def _activations(folder: Path) -> dict[str, Any]:
    from tests.backbones import test_given_activations as own

    return own.written(folder, "npz")


def _exported(folder: Path) -> dict[str, Any]:
    from tests.backbones import test_exported as own

    file = own.exported(own.network("resnet18"), folder / "net.pt2")
    return {"file": str(file), "preprocessing": own.DECLARED}


def _open_clip(folder: Path) -> dict[str, Any]:
    from tests.backbones import test_open_clip as own

    own.saved(folder)
    return {"name": f"local-dir:{folder}"}


def _transformers(folder: Path) -> dict[str, Any]:
    from tests.backbones import test_transformers as own

    return {"name": str(own.saved("resnet", folder)), "preprocessing": own.DECLARED}


MADE: Final[dict[str, Callable[[Path], dict[str, Any]]]] = {
    "activations": _activations,
    "exported": _exported,
    "open_clip": _open_clip,
    "transformers": _transformers,
}
"""What makes the files of one source; it skips where an optional package is missing."""


@pytest.mark.parametrize("kind", BACKBONE_SOURCES.kinds())
def test_backbone_sources(kind: str, folder: Path, tmp_path: Path) -> None:
    is_fetched = kind in {"timm", "torchvision"}
    params = MADE[kind](tmp_path) if kind in MADE else _networks(folder)[kind]
    testing.check_backbone_source(BACKBONE_SOURCES.load(kind), params, pretrained=not is_fetched)


PROFILES: Final[Any] = ANALYSES.load("group_profiles")


def _changed(change: Callable[[Outcome], Outcome], plugin: Any = PROFILES) -> Any:
    """An analysis whose outcome is another one."""
    run = plugin.run
    return replace(plugin, run=lambda subject, params: change(run(subject, params)))


def _drawn(outcome: Outcome) -> Outcome:
    values = np.random.default_rng().random(3)
    return replace(outcome, arrays={**outcome.arrays, "drawn": values})


def _by_image(outcome: Outcome) -> Outcome:
    return replace(outcome, arrays={**outcome.arrays, "x": np.zeros((2, N_IMAGES))})


def _written(subject: Subject, params: Any) -> Outcome:
    subject.activations.units("late")[0] = 0
    outcome: Outcome = PROFILES.run(subject, params)
    return outcome


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (_changed(_drawn), "array drawn: expected the same when made twice"),
        (_changed(_by_image), "with a row for each of 230 images"),
        (_changed(lambda o: replace(o, blocks=())), "expected at least one block"),
        (
            _changed(lambda o: replace(o, arrays={}), ANALYSES.load("group_geometry")),
            "that the block names, got []",
        ),
        (_changed(lambda o: replace(o, limits=("It is unbiased.",))), "got 'unbiased'"),
        (replace(PROFILES, quantities=("recall",)), "expected those of the blocks, [], got"),
        (replace(PROFILES, question="who"), "question: expected 'encoded' or"),
        (replace(PROFILES, title=""), "title: expected a name for readers"),
        (replace(PROFILES, run=lambda *_: None), "run: expected an object of Outcome, got None"),
        (replace(PROFILES, problems=lambda *_: ("none",)), "problems: expected none with"),
    ],
)
def test_the_check_of_analyses_sees_faults(plugin: Any, expected: str) -> None:
    with pytest.raises(AssertionError) as raised:
        testing.check_analysis(plugin)
    assert expected in str(raised.value)


def test_an_analysis_may_not_write_into_what_it_is_given() -> None:
    with pytest.raises(ValueError, match="read-only"):
        testing.check_analysis(replace(PROFILES, run=_written))


def _with(**changes: Any) -> Any:
    """The rendered faces with another table."""
    plugin = DATA_SOURCES.load("parametric")

    def read(params: Any) -> FaceTable:
        table: FaceTable = plugin.read(params)
        return replace(table, **changes)

    return replace(plugin, read=read)


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (_with(codes=np.zeros((720, 3))), "codes: expected an int64 array of shape (720, 3)"),
        (_with(codes=np.full((720, 3), 9)), "codes: expected the index of a level"),
        (_with(identities=("a",)), "identities: expected None or one for each of 720 images"),
        (_with(licence=""), "licence: expected words"),
        (_with(references=()), "references: expected at least one image"),
        (replace(DATA_SOURCES.load("parametric"), declares=lambda _: ()), "declares: expected"),
    ],
)
def test_the_check_of_data_sources_sees_faults(plugin: Any, expected: str) -> None:
    with pytest.raises(AssertionError) as raised:
        testing.check_data_source(plugin)
    assert expected in str(raised.value)


def test_a_data_source_names_a_path_where_nothing_is(folder: Path) -> None:
    plugin = DATA_SOURCES.load("utkface")
    params = {"root": str(folder / "utkface")}
    table: FaceTable = plugin.read(plugin.params_type.model_validate(params))

    def refuse(given: Any) -> FaceTable:
        if not given.root.is_dir():
            raise KeyError("root")
        return table

    for read, expected in ((refuse, "got KeyError"), (lambda _: table, "got no error")):
        with pytest.raises(AssertionError, match=rf"names /nothing/is/here.*{expected}"):
            testing.check_data_source(replace(plugin, read=read), params)


def test_the_check_of_backbone_sources_sees_faults(folder: Path) -> None:
    plugin, params = BACKBONE_SOURCES.load("checkpoint"), _networks(folder)["checkpoint"]
    for change, expected in (
        ({"called": lambda _: "another"}, "called: expected the name of the backbone, 'first'"),
        ({"files": lambda _: (folder / "absent",)}, "files: expected files that are there"),
        ({"steps": lambda _: ()}, "steps: expected the parameters of one backbone or more"),
    ):
        with pytest.raises(AssertionError, match=expected):
            testing.check_backbone_source(replace(plugin, **change), params)


def test_the_check_of_given_activations_sees_faults(tmp_path: Path) -> None:
    class Doubles(ActivationTable):
        def values(self, *arguments: Any) -> Any:
            return super().values(*arguments).astype(np.float64)

    plugin = BACKBONE_SOURCES.load("activations")
    changed = replace(plugin, given=lambda params: Doubles(**vars(plugin.given(params))))
    with pytest.raises(AssertionError, match=r"float32 of shape \(1, 4\), got float64"):
        testing.check_backbone_source(changed, _activations(tmp_path))


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (lambda s, *_: np.zeros((len(s), 3)), "expected an array of shape"),
        (lambda s, *_: np.full((len(s), 2), np.nan), "expected finite numbers"),
        (lambda s, *_: np.random.default_rng().random((len(s), 2)), "expected the same places"),
        (lambda s, *_: np.multiply(s, 2, out=s)[:, [0, 0]], "the signatures were changed"),
    ],
)
def test_the_check_of_layouts_sees_faults(place: Any, expected: str) -> None:
    with pytest.raises(AssertionError, match=expected):
        testing.check_layout(replace(LAYOUTS.load("pca"), place=place))


@pytest.mark.parametrize("change", [lambda done: done[1:], lambda done: [*done, done[0]]])
def test_the_check_of_executors_sees_lost_and_repeated_tasks(change: Any) -> None:
    plugin = EXECUTORS.load("local")
    changed = replace(plugin, run=lambda *arguments: iter(change([*plugin.run(*arguments)])))
    with pytest.raises(AssertionError, match="expected the outcome of each task once"):
        testing.check_executor(changed)
