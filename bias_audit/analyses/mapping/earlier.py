"""The maps of an earlier audit, read from its run folder, which may hold anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.alignment import align_units
from bias_audit.analyses.mapping.group_maps import Plane
from bias_audit.analyses.mapping.layout import unit_square
from bias_audit.analyses.mapping.layout_quality import disparity
from bias_audit.arrays import FloatArray
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import AnalysisError, OutputError
from bias_audit.groups import Group
from bias_audit.results.audit import AnalysisResult, AuditResult, SubjectResult
from bias_audit.results.blocks import DifferenceMap, EarlierMap, UnitMap
from bias_audit.results.store import read_array, read_audit

_TOPOMAP = "topomap"
_PLANE = 2
_ROUNDING = 1e-6


@dataclass(frozen=True)
class EarlierLayer:
    """What an earlier audit drew of a layer."""

    maps: tuple[UnitMap, ...]
    arrays: str
    """Folder of the arrays of its analysis."""
    difference_limit: float | None
    """End of the colour scale of its difference maps; None where none were drawn."""

    @property
    def limit(self) -> float:
        """End of the colour scale of its maps of groups."""
        return self.maps[0].limit

    @property
    def groups(self) -> frozenset[Group]:
        """Of which it has maps."""
        return frozenset(
            group
            for block in self.maps
            for group, n in zip(block.groups, block.counts, strict=True)
            if n
        )


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
    folder: Path, backbone: str | None, asked: Sequence[str] | None, known: Sequence[str] | None
) -> tuple[str, ...]:
    """Why no map of a run folder can stand beside those of this audit; empty if one may.

    Args:
        folder: Of a finished run.
        backbone: Its backbone to take, by name; None: not said.
        asked: Layers that are to be drawn; None: those that the earlier audit drew.
        known: Layers that the backbone of this audit has; None while they are not known.
    """
    try:
        audit = _read(folder)
        subjects = _named(audit, backbone, folder)
    except AnalysisError as error:
        return (str(error),)
    there = [layer for subject in subjects for layer in _layers(subject)]
    wanted = there if asked is None else [layer for layer in asked if layer in there]
    if known is not None:
        wanted = [layer for layer in wanted if layer in known]
    if wanted:
        return ()
    side = "this backbone has" if asked is None else f"are asked for ({', '.join(asked)})"
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
    """The maps of the same architecture in an earlier audit.

    Args:
        subject: Of this audit.
        folder: Of the earlier run.
        backbone: Its backbone to take, by name; None: the only one of the same architecture, or
            among several the one of the same name.

    Raises:
        AnalysisError: The folder holds no such maps, or more than one backbone would do.
    """
    audit = _read(folder)
    found = _of_architecture(subject, _named(audit, backbone, folder), folder)
    return EarlierMaps(folder, audit.name, audit.provenance.started, found, _layers(found))


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


def _of_architecture(
    subject: Subject, drawn: Sequence[SubjectResult], folder: Path
) -> SubjectResult:
    alike = [each for each in drawn if each.backbone.architecture == subject.architecture]
    if not alike:
        got = ", ".join(f"{each.backbone.name} ({each.backbone.architecture})" for each in drawn)
        raise AnalysisError(
            f"earlier: expected a backbone of the architecture {subject.architecture}, as "
            f"{subject.name} is, got {got} in {folder}; units of other architectures have no "
            "counterparts, so name another run"
        )
    named = [each for each in alike if each.backbone.name == subject.name] or alike
    if len(named) > 1:
        names = ", ".join(each.backbone.name for each in named)
        raise AnalysisError(
            f"earlier: expected one backbone of the architecture {subject.architecture} in "
            f"{folder}, got {names}; choose one with earlier_backbone: NAME"
        )
    return named[0]


def _layers(subject: SubjectResult) -> dict[str, EarlierLayer]:
    """What was drawn, by layer; of several analyses the first that drew it."""
    layers: dict[str, EarlierLayer] = {}
    for analysis in subject.analyses:
        if analysis.kind == _TOPOMAP and analysis.status == "done":
            for layer, found in _drawn(analysis).items():
                layers.setdefault(layer, found)
    return layers


def _drawn(analysis: AnalysisResult) -> dict[str, EarlierLayer]:
    maps: dict[str, list[UnitMap]] = {}
    differences: dict[str, float] = {}
    for block in analysis.blocks:
        if isinstance(block, UnitMap) and block.limit > 0:
            maps.setdefault(block.layer, []).append(block)
        if isinstance(block, DifferenceMap) and block.limit > 0:
            differences.setdefault(block.layer, block.limit)
    return {
        layer: EarlierLayer(tuple(blocks), analysis.arrays, differences.get(layer))
        for layer, blocks in maps.items()
    }


_DRAWS = 999
_CENTRAL = (0.025, 0.975)


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
    """The median of it with units shuffled."""


@dataclass(frozen=True)
class Beside:
    """What a layer's maps take over from an earlier audit."""

    told: EarlierMap
    difference_limit: float | None
    """End of the colour scale of its difference maps; None where it has none."""


def match_units(
    positions: FloatArray, reference: FloatArray, rng: np.random.Generator, draws: int = _DRAWS
) -> tuple[FloatArray, Match]:
    """Turn a layout onto another of the same units, and compare the fit with chance.

    The fit is the Procrustes disparity (see `neighbourhood_quality.disparities`). Chance is the
    same with the units of one layout shuffled, each time turned anew; p-values count the layouts
    themselves as one of the draws (Phipson & Smyth 2010).

    Args:
        positions: In [0, 1], shape (n_units, 2).
        reference: Of the same units in the same order, in [0, 1], shape (n_units, 2).
        rng: Shuffles units.
        draws: How often.

    Returns:
        The turned layout in [0, 1], shape (n_units, 2), and the fit.
    """
    turned = unit_square(align_units(positions, reference))
    observed = disparity(positions, reference)
    chance, shifts = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        shuffled = positions[rng.permutation(len(positions))]
        chance[draw] = disparity(shuffled, reference)
        shifts[draw] = _shift(unit_square(align_units(shuffled, reference)), reference)
    lower, upper = (float(end) for end in np.quantile(chance, _CENTRAL))
    as_small = int((chance <= observed).sum())
    return turned, Match(
        disparity=observed,
        by_chance=(lower, upper),
        p_value=(1 + as_small) / (1 + draws),
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
) -> tuple[Plane, Beside]:
    """Turn the layout of a layer onto an earlier audit's, where units match better than by chance.

    Or take the earlier places themselves: then every unit is where it was.

    Args:
        subject: Of this audit.
        plane: The layout.
        earlier: It has the layer.
        alpha: The largest p-value of a match.
        places: "own" turns the layout, "earlier" replaces it.

    Raises:
        AnalysisError: The positions of the earlier audit cannot be used.
    """
    layer = plane.layer
    reference = earlier.positions(layer, len(plane.positions))
    turned, match = match_units(plane.positions, reference, subject.rng("earlier", layer))
    is_match = match.p_value <= alpha
    drawn = {"turned": turned, "taken": reference, "own": plane.positions}
    chosen: Literal["turned", "taken", "own"] = "turned" if is_match else "own"
    if places == "earlier":
        chosen = "taken"
    found, backbone = earlier.layers[layer], earlier.subject.backbone
    told = EarlierMap(
        run=earlier.run,
        folder=earlier.folder.name,
        started=earlier.started,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        has_same_weights=backbone.weights_sha256 == subject.weights_sha256,
        layout=found.maps[0].layout,
        limit=found.limit,
        disparity=match.disparity,
        by_chance=match.by_chance,
        p_value=match.p_value,
        alpha=alpha,
        draws=_DRAWS,
        is_match=is_match,
        places=chosen,
        shift=match.shift,
        shift_by_chance=match.shift_by_chance,
    )
    layout = f"{told.layout}, as in the audit {earlier.run}" if chosen == "taken" else plane.layout
    laid = replace(plane, positions=drawn[chosen], layout=layout)
    return laid, Beside(told, found.difference_limit)


def _shift(one: FloatArray, other: FloatArray) -> float:
    return float(np.median(np.linalg.norm(one - other, axis=1)))


_NAMED = 5
_SAME_PLACE = 0.005
"""In sides of a map: below, a unit is drawn in the same cell of the raster."""


def earlier_method(
    maps: Sequence[UnitMap], places: Literal["own", "earlier"], colours: Literal["earlier", "own"]
) -> tuple[str, ...]:
    """How layouts were laid beside those of an earlier audit; nothing where none was."""
    told = [block.earlier for block in maps if block.earlier]
    if not told:
        return ()
    first = told[0]
    scale = (
        "Colours end where they end in the earlier audit."
        if colours == "earlier"
        else "Colours end where these maps need it, not where they end in the earlier audit."
    )
    return (
        f"Maps are to be compared with those of the earlier audit {first.run} (begun "
        f"{first.started}, backbone {first.backbone}). {_placed(first, places)} {scale}",
    )


def _placed(first: EarlierMap, places: Literal["own", "earlier"]) -> str:
    turned = (
        "turned, and mirrored where that fits better, so that its units lie as near as can be to "
        "where the same units lie there (orthogonal Procrustes, Schoenemann 1966)"
    )
    chance = f"with its units shuffled ({first.draws} draws, p at most {first.alpha:.2g})"
    if places == "own":
        return (
            f"Each layout was {turned}; nothing else of it changes. A layout is turned only if it "
            f"fits better than {chance}."
        )
    return (
        "Every unit is drawn where it was drawn there. Whether units of the two audits respond "
        f"alike is told by a layout of this audit's own, {turned}; it matches if it fits better "
        f"than {chance}."
    )


def earlier_limits(maps: Sequence[UnitMap], earlier: EarlierMaps | None) -> tuple[str, ...]:
    """What a reader must not conclude from two reports side by side."""
    if earlier is None:
        return ()
    told = [(block.layer, block.earlier) for block in maps if block.earlier]
    sentences = [said for layer, beside in told if (said := _fit_told(layer, beside))]
    drawn = dict.fromkeys(block.layer for block in maps)
    if missing := [layer for layer in drawn if layer not in earlier.layers]:
        sentences.append(
            f"The earlier audit {earlier.run} has no maps of {', '.join(missing)}; those of this "
            "audit lie as they came."
        )
    for layer in drawn:
        if layer in earlier.layers and (said := _other_groups(maps, earlier, layer)):
            sentences.append(said)
    return tuple(sentences)


def _fit_told(layer: str, beside: EarlierMap) -> str | None:
    if not beside.is_match:
        if beside.places == "taken":
            return (
                f"Units of {layer} lie where the earlier audit {beside.run} has them, but a "
                f"layout of their own does not match that one (p {beside.p_value:.3g} with units "
                "shuffled): places mean nothing for how these units respond."
            )
        return (
            f"The layout of {layer} does not match that of the earlier audit {beside.run} (p "
            f"{beside.p_value:.3g} with units shuffled): the same place in both reports does not "
            "mean the same units, and only colours of one report can be compared by place."
        )
    if beside.places == "taken" or beside.shift < _SAME_PLACE:
        return None
    return (
        f"In {layer} the two layouts are not the same: once turned, half of the units lie more "
        f"than {100 * beside.shift:.0f} % of a map's side away from where the earlier audit "
        f"{beside.run} has them, so that a patch may move without any unit responding "
        "otherwise. Compare values unit by unit in the files of figure data, or draw this audit "
        "on the earlier places (places: earlier)."
    )


def _other_groups(maps: Sequence[UnitMap], earlier: EarlierMaps, layer: str) -> str | None:
    """Groups that only one of both audits has images of."""
    here = {
        group
        for block in maps
        if block.layer == layer
        for group, n in zip(block.groups, block.counts, strict=True)
        if n
    }
    there = earlier.layers[layer].groups
    parts = []
    for own, other, where in ((here, there, "this"), (there, here, "the earlier")):
        only = sorted(group.label for group in own - other)
        if only:
            more = f" and {len(only) - _NAMED} more" if len(only) > _NAMED else ""
            parts.append(f"only {where} audit maps {'; '.join(only[:_NAMED])}{more}")
    if not parts:
        return None
    return (
        f"The two audits do not map the same groups of {layer}: {', and '.join(parts)}. Every map "
        "shows a group less the mean over the groups of its own audit, so that colours of one "
        "group are shifted between the reports."
    )
