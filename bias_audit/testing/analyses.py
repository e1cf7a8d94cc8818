"""The check of analyses, and the subject that they are given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from bias_audit.analyses.analysis import Analysis, Head, JointAnalysis, Member, Outcome, Subject
from bias_audit.arrays import Float32Array
from bias_audit.audit.analysing import refuse_few
from bias_audit.cache import Cache
from bias_audit.config.catalog import ANALYSES
from bias_audit.config.schema import Strict
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.claims import refuse_overclaims
from bias_audit.selftest.simulated import Sample, SimulatedBaseline, subject_of
from bias_audit.shapes.catalog import shapes
from bias_audit.shapes.shape import cells_of
from bias_audit.testing.checking import declared_params, expect
from bias_audit.testing.network import SHAPES, SIDE, FakeNetwork, SmallNet, frozen

ATTRIBUTES: Final = (
    Attribute("age", ("young", "middle", "old")),
    Attribute("gender", ("female", "male")),
)
N_IMAGES: Final = 230
"""No other number of the made-up subject is like it, so that rows of single images are seen."""
_LAYERS: Final = ("early", "late")
_N_UNITS: Final = 12
_N_CLASSES: Final = 7
_N_REFERENCE: Final = 50
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def made_up_subject(
    plugin: Analysis[Any] | JointAnalysis[Any], params: Strict, *, name: str = "made up"
) -> Subject:
    """A backbone of two layers, seen through 230 faces, with what the analysis says it needs.

    Age moves three of twelve units, in the later layer more; gender moves nothing; no image shows
    an old male face, as in data sets with an empty group. What the analysis does not declare to
    need, such as controls, is not there.
    """
    rng = np.random.default_rng(0)
    codes = _codes()
    values = {
        layer: _units(codes, strength, rng)
        for layer, strength in zip(_LAYERS, (1, 4), strict=True)
    }
    baselines: tuple[SimulatedBaseline, ...] = ()
    if plugin.needs_controls:
        pixels = rng.standard_normal((N_IMAGES, 5)).astype(np.float32)
        baselines = (SimulatedBaseline("pixels", "pixels", False, {"": pixels}),)  # noqa: FBT003
    sample = Sample(ATTRIBUTES, codes, np.arange(N_IMAGES), values, baselines)
    subject = replace(subject_of(sample, 0, Cache()), name=name, shuffles=1)
    if plugin.needs_positions(params):
        maps = {layer: _locked(each[:, :, None]) for layer, each in values.items()}
        subject = replace(subject, activations=replace(subject.activations, maps=maps))  # type: ignore[type-var]
    if plugin.needs_head:
        subject = replace(subject, head=_head(values["late"], rng))
    if plugin.needs_network:
        drawn = rng.standard_normal((N_IMAGES, 3, SIDE, SIDE)).astype(np.float32)
        network = FakeNetwork(frozen(SmallNet()), torch.from_numpy(drawn), SHAPES)
        subject = replace(subject, network=network)
    return subject


def _codes() -> Any:
    """Levels of age and gender, every combination as often but old and male, (n_images, 2)."""
    there = np.array([(age, gender) for age in range(3) for gender in range(2)][:-1])
    return np.ascontiguousarray(there[np.arange(N_IMAGES) % len(there)], dtype=np.int64)


def _units(codes: Any, strength: float, rng: np.random.Generator) -> Float32Array:
    values = rng.standard_normal((N_IMAGES, _N_UNITS))
    values[np.arange(N_IMAGES), codes[:, 0]] += strength
    locked: Float32Array = _locked(values.astype(np.float32))
    return locked


def _locked(values: Any) -> Any:
    """An array that raises a `ValueError` where a plugin writes into it."""
    values.setflags(write=False)
    return values


def _head(late: Float32Array, rng: np.random.Generator) -> Head:
    weight = rng.standard_normal((_N_CLASSES, _N_UNITS)).astype(np.float32)
    bias = np.zeros(_N_CLASSES, dtype=np.float32)
    return Head("fc", _locked(weight), _locked(bias), late, late[:_N_REFERENCE])


def check_analysis(
    plugin: Analysis[Any] | JointAnalysis[Any],
    *forms: Mapping[str, Any],
    subject: Subject | None = None,
) -> tuple[Outcome, ...]:
    """Check that an analysis gives what a report can print, and nothing about single images.

    It is made twice of `made_up_subject` (a joint one of two of them), or of a `subject` of your
    own, and must find the same both times. Its blocks have shapes that a report knows, and arrays
    that are there; over all forms, the quantities in them are those that it declares. No number
    rests on fewer than five images, no array has a row for each image, and no sentence claims more
    than numbers can show. The result survives being written and read.

    Args:
        plugin: To check.
        forms: Parameters, once for each form of the analysis that measures something else;
            default: none.
        subject: Instead of the made-up one.

    Returns:
        What was found, by form, for further tests.

    Raises:
        AssertionError: Something else came.
    """
    outcomes, held = [], set()
    for form in forms or ({},):
        params = declared_params(plugin, ANALYSES, form)
        table = (subject or made_up_subject(plugin, params)).faces.table
        said = plugin.problems(params, table, (subject and subject.activations.layers) or _LAYERS)
        expect(not said, f"problems: expected none with the checked faces, got {'; '.join(said)}")
        one, other = (_made(plugin, params, subject) for _ in range(2))
        _check_outcome(plugin, one)
        for what in ("blocks", "findings", "method", "limits"):
            expect(
                getattr(one, what) == getattr(other, what),
                f"{what}: expected the same when made twice, got others; draw from subject.rng",
            )
        for key, array in one.arrays.items():
            expect(
                np.array_equal(array, other.arrays[key], equal_nan=array.dtype.kind == "f"),
                f"array {key}: expected the same when made twice, got another",
            )
        held |= {getattr(block, "quantity", None) for block in one.blocks}
        outcomes.append(one)
    expect(
        held - {None} == set(plugin.quantities),
        f"quantities: expected those of the blocks, {sorted(filter(None, held))}, got "
        f"{sorted(plugin.quantities)}",
    )
    return tuple(outcomes)


def _made(plugin: Any, params: Strict, subject: Subject | None) -> Outcome:
    def fresh(name: str) -> Subject:
        if subject is not None:
            return replace(subject, name=name, cache=Cache())
        return made_up_subject(plugin, params, name=name)

    if plugin.is_joint:
        members = [
            Member(replace(fresh(name), network=None, controls=()), ())
            for name in ("one", "other")
        ]
        found = plugin.run(members, params)
    else:
        found = plugin.run(fresh("made up"), params)
    expect(isinstance(found, Outcome), f"run: expected an object of Outcome, got {found!r}")
    outcome: Outcome = found
    return outcome


def _check_outcome(plugin: Any, outcome: Outcome) -> None:
    expect(bool(outcome.blocks), "run: expected at least one block, got none")
    for block in outcome.blocks:
        shape = shapes().get(getattr(block, "name", ""))
        expect(
            shape is not None and type(block) is shape.block,
            f"expected blocks of the shapes {', '.join(shapes())}, got {type(block).__name__}",
        )
        if shape is not None:
            shape.text(block)
            for row in shape.rows(block):
                cells_of(shape.columns, row)
            for key in shape.arrays(block):
                expect(
                    key in outcome.arrays,
                    f"{block.title}: expected the array {key!r} that the block names, got "
                    f"{sorted(outcome.arrays)}",
                )
    for key, array in outcome.arrays.items():
        expect(
            bool(_KEY.fullmatch(key)),
            f"array {key!r}: expected a key of letters, digits, '.', '_' and '-'",
        )
        expect(
            N_IMAGES not in np.shape(array),
            f"array {key}: expected numbers about groups of images, got shape {np.shape(array)} "
            f"with a row for each of {N_IMAGES} images",
        )
    _check_words(outcome)
    _check_reading(plugin, outcome)


def _check_words(outcome: Outcome) -> None:
    sentences = (*(each.text for each in outcome.findings), *outcome.method, *outcome.limits)
    levels = [name for each in ATTRIBUTES for name in (each.name, *each.levels)]
    try:
        refuse_overclaims(sentences, levels)
        refuse_few(outcome.blocks, outcome.findings, 5)
    except (ValueError, AnalysisError) as error:
        raise AssertionError(str(error)) from error


def _check_reading(plugin: Any, outcome: Outcome) -> None:
    result = AnalysisResult(
        kind="checked",
        title=plugin.title,
        question=plugin.question,
        params={},
        status="done",
        blocks=outcome.blocks,
        findings=outcome.findings,
        method=outcome.method,
        limits=outcome.limits,
        seconds=0,
    )
    again = AnalysisResult.model_validate_json(result.model_dump_json())
    expect(
        again == result, "expected a result that is the same when written and read, got another"
    )
