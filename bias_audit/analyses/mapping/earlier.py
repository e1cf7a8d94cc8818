"""The maps of an earlier audit, read from its run folder, which may hold anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.layout import Plane, align_units, unit_square
from bias_audit.analyses.mapping.layout_quality import disparity
from bias_audit.analyses.mapping.map_sentences import groups_drawn
from bias_audit.arrays import FloatArray
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import AnalysisError, OutputError
from bias_audit.groups import Group
from bias_audit.results.audit import AuditResult, SubjectResult
from bias_audit.results.store import read_array, read_audit
from bias_audit.shapes.difference_map import DifferenceMap
from bias_audit.shapes.unit_map import EarlierMap, UnitMap

_TOPOMAP = "topomap"
_PLANE = 2
_ROUNDING = 1e-6
_DRAWS = 999


@dataclass(frozen=True)
class EarlierLayer:
    """What an earlier audit drew of a layer."""

    maps: tuple[UnitMap, ...]
    arrays: str
    """Folder of the arrays of its analysis."""
    difference_limit: float | None
    """End of the colour scale of its difference maps; None where none were drawn."""


@dataclass(frozen=True)
class EarlierMaps:
    """The maps of one backbone of an earlier audit."""

    folder: Path
    run: str
    """The audit's name."""
    started: str
    subject: SubjectResult
    layers: Mapping[str, EarlierLayer]
    """In the order in which they were drawn."""

    @property
    def groups(self) -> dict[str, set[Group]]:
        """Those with images that it has maps of, by layer."""
        return {layer: groups_drawn(found.maps) for layer, found in self.layers.items()}

    def positions(self, layer: str, n_units: int) -> FloatArray:
        """Where the units lay, in [0, 1], shape (n_units, 2).

        Raises:
            AnalysisError: The array is missing, damaged, or of another number of units.
        """
        found = self.layers[layer]
        key = found.maps[0].positions
        try:
            array = read_array(self.folder, found.arrays, key)
        except OutputError as error:
            raise AnalysisError(f"earlier: {error}; run that audit again") from error
        where = f"earlier: positions of layer {layer} in {self.folder} ({found.arrays}/{key})"
        if array.ndim == _PLANE and array.shape[1] == _PLANE and len(array) != n_units:
            raise AnalysisError(
                f"{where}: expected those of {n_units} units, as {layer} has in this audit, got "
                f"{len(array)}; only layers of the same width can be laid side by side, so name "
                "others with layers: [...]"
            )
        if array.shape != (n_units, _PLANE) or array.dtype.kind != "f":
            raise AnalysisError(
                f"{where}: expected floating-point numbers of shape ({n_units}, 2), got "
                f"{array.dtype} of shape {array.shape}; run that audit again"
            )
        places = array.astype(np.float64)
        if not ((places >= -_ROUNDING) & (places <= 1 + _ROUNDING)).all():
            raise AnalysisError(
                f"{where}: expected numbers from 0 to 1, got others; run that audit again"
            )
        return places


def earlier_problems(
    folder: Path, backbone: str | None, named: Sequence[str] | None, known: Sequence[str] | None
) -> tuple[str, ...]:
    """Why no map of a run folder can stand beside those of this audit; empty if one may.

    `named` are the layers that the config names, if any, `known` those of this audit's backbone,
    once they are known.
    """
    try:
        audit = _read(folder)
        subjects = _named(audit, backbone, folder)
    except AnalysisError as error:
        return (str(error),)
    there = [layer for subject in subjects for layer in _layers(subject)]
    wanted = there if named is None else [layer for layer in named if layer in there]
    if known is not None:
        wanted = [layer for layer in wanted if layer in known]
    if wanted:
        return ()
    side = "this backbone has" if named is None else f"are named ({', '.join(named)})"
    return (
        f"earlier: expected maps of a layer that both audits have; {folder} drew "
        f"{', '.join(dict.fromkeys(there))}, none of which {side}; name one of them with "
        "layers: [...], or another run",
    )


def most_layers_drawn(folder: Path) -> int:
    """The most layers that a backbone of a run folder has maps of.

    0 where the folder cannot be read, which `earlier_problems` reports.
    """
    try:
        audit = _read(folder)
    except AnalysisError:
        return 0
    return max((len(_layers(subject)) for subject in audit.subjects), default=0)


def earlier_maps(subject: Subject, folder: Path, backbone: str | None) -> EarlierMaps:
    """The maps of the subject's architecture in an earlier audit.

    Without a `backbone` it is the only one of the architecture or, of several, that of its name.

    Raises:
        AnalysisError: The folder holds no such maps, or more than one backbone would do.
    """
    audit, architecture, name = _read(folder), subject.architecture, subject.name
    drawn = _named(audit, backbone, folder)
    alike = [each for each in drawn if each.backbone.architecture == architecture]
    if not alike:
        got = ", ".join(f"{each.backbone.name} ({each.backbone.architecture})" for each in drawn)
        raise AnalysisError(
            f"earlier: expected a backbone of the architecture {architecture}, as {name} is, got "
            f"{got} in {folder}; units of other architectures have no counterparts, so name "
            "another run"
        )
    found = [each for each in alike if each.backbone.name == name] or alike
    if len(found) > 1:
        names = ", ".join(each.backbone.name for each in found)
        raise AnalysisError(
            f"earlier: expected one backbone of the architecture {architecture} in {folder}, got "
            f"{names}; choose one with earlier_backbone: NAME"
        )
    started = audit.provenance.started
    return EarlierMaps(folder, audit.name, started, found[0], _layers(found[0]))


def _read(folder: Path) -> AuditResult:
    try:
        return read_audit(folder)
    except OutputError as error:
        raise AnalysisError(f"earlier: {error}") from error


def _named(audit: AuditResult, backbone: str | None, folder: Path) -> tuple[SubjectResult, ...]:
    """The backbones with maps, or the one that was named."""
    drawn = tuple(subject for subject in audit.subjects if _layers(subject))
    if not drawn:
        raise AnalysisError(
            f"earlier: expected a run with topographic maps, found none in {folder}; add "
            "topomap to the analyses of that audit and run it again, or name another run"
        )
    if backbone is None:
        return drawn
    names = [subject.backbone.name for subject in drawn]
    if backbone not in names:
        noun = f"backbone with maps in {folder}"
        raise AnalysisError(f"earlier_backbone: {unknown_name(backbone, names, noun=noun)}")
    return (drawn[names.index(backbone)],)


def _layers(subject: SubjectResult) -> dict[str, EarlierLayer]:
    """What was drawn, by layer; of several analyses the first that drew it."""
    layers: dict[str, EarlierLayer] = {}
    for analysis in subject.analyses:
        if analysis.kind != _TOPOMAP or analysis.status != "done":
            continue
        maps: dict[str, list[UnitMap]] = {}
        limits: dict[str, float] = {}
        for block in analysis.blocks:
            if isinstance(block, UnitMap) and block.limit > 0:
                maps.setdefault(block.layer, []).append(block)
            if isinstance(block, DifferenceMap) and block.limit > 0:
                limits.setdefault(block.layer, block.limit)
        for layer, blocks in maps.items():
            found = EarlierLayer(tuple(blocks), analysis.arrays, limits.get(layer))
            layers.setdefault(layer, found)
    return layers


@dataclass(frozen=True)
class Match:
    """How well two layouts of the same units fit after the best turn."""

    disparity: float
    by_chance: tuple[float, float]
    """Central 95 % of the disparity with units shuffled."""
    p_value: float
    """Of a disparity as small, were units matched at random."""
    shift: float
    """Median distance of a unit from its counterpart, both in [0, 1]."""
    shift_by_chance: float
    """The median shift with units shuffled."""


def match_units(
    positions: FloatArray, reference: FloatArray, rng: np.random.Generator, draws: int = _DRAWS
) -> tuple[FloatArray, Match]:
    """Turn a layout onto another of the same units, and compare the fit with chance.

    The fit is the Procrustes disparity (see `layout_quality.disparities`). Chance is the same with
    the units of one layout shuffled, and turned again each time; p-values count the layouts
    themselves as one of the draws (Phipson & Smyth 2010). Positions are in [0, 1], shape
    (n_units, 2), also
    the turned ones.
    """
    turned = unit_square(align_units(positions, reference))
    observed = disparity(positions, reference)
    chance, shifts = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        shuffled = positions[rng.permutation(len(positions))]
        chance[draw] = disparity(shuffled, reference)
        shifts[draw] = _shift(unit_square(align_units(shuffled, reference)), reference)
    lower, upper = (float(end) for end in np.quantile(chance, (0.025, 0.975)))
    return turned, Match(
        disparity=observed,
        by_chance=(lower, upper),
        p_value=(1 + int((chance <= observed).sum())) / (1 + draws),
        shift=_shift(turned, reference),
        shift_by_chance=float(np.median(shifts)),
    )


def laid_beside(
    subject: Subject,
    plane: Plane,
    earlier: EarlierMaps,
    *,
    alpha: float,
    places: Literal["own", "earlier"],
) -> tuple[Plane, EarlierMap]:
    """Turn the layout of a layer onto an earlier audit's, where units match better than by chance.

    With `places` "earlier" it takes the earlier places themselves: every unit is where it was.
    `alpha` is the largest p-value of a match.

    Raises:
        AnalysisError: The positions of the earlier audit cannot be used.
    """
    reference = earlier.positions(plane.layer, len(plane.positions))
    rng = subject.rng("earlier", plane.layer)
    turned, match = match_units(plane.positions, reference, rng)
    is_match = match.p_value <= alpha
    found, backbone = earlier.layers[plane.layer], earlier.subject.backbone
    layout, positions = plane.layout, plane.positions
    chosen: Literal["turned", "taken", "own"] = "own"
    if places == "earlier":
        layout = f"{found.maps[0].layout}, as in the audit {earlier.run}"
        chosen, positions = "taken", reference
    elif is_match:
        chosen, positions = "turned", turned
    beside = EarlierMap(
        run=earlier.run,
        folder=earlier.folder.name,
        started=earlier.started,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        has_same_weights=backbone.weights_sha256 == subject.weights_sha256,
        layout=found.maps[0].layout,
        limit=found.maps[0].limit,
        alpha=alpha,
        draws=_DRAWS,
        is_match=is_match,
        places=chosen,
        **vars(match),
    )
    return replace(plane, positions=positions, layout=layout), beside


def _shift(one: FloatArray, other: FloatArray) -> float:
    return float(np.median(np.linalg.norm(one - other, axis=1)))
