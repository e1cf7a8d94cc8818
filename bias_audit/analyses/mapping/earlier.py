"""The maps of an earlier audit, read from its run folder, which may hold anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.arrays import FloatArray
from bias_audit.config.catalog import unknown_name
from bias_audit.errors import AnalysisError, OutputError
from bias_audit.groups import Group
from bias_audit.results.audit import AnalysisResult, AuditResult, SubjectResult
from bias_audit.results.blocks import DifferenceMap, UnitMap
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
