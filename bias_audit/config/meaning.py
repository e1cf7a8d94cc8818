"""What the parts of a config say about each other, as far as it can be known from them alone.

A part that is wrong by itself hides nothing that is wrong elsewhere: what it says is left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    Catalog,
    unknown_name,
)
from bias_audit.config.criteria import (
    INTERSECTION,
    Placed,
    backbone_problems,
    criterion_problems,
    joint_problems,
    name_problems,
    quantity_problems,
)
from bias_audit.config.mistakes import mend
from bias_audit.config.schema import Activations, Criterion, Output
from bias_audit.config.wording import Location, Problem, shown
from bias_audit.groups import Attribute

T = TypeVar("T")
_ZOO_KEYS = frozenset({"match", "leave_out", "label"})


class AskedAnalysis(Protocol):
    """An analysis with its parameters."""

    @property
    def kind(self) -> str:
        """Its name in the config."""

    @property
    def analysis(self) -> Any:
        """Its plugin."""

    @property
    def params(self) -> Any:
        """As typed by the plugin."""


@dataclass(frozen=True)
class _Found:
    """A plugin that a config names."""

    location: Location
    kind: str
    analysis: Any
    """The plugin."""
    params: Any
    is_whole: bool
    """Whether all its parameters are valid."""
    fits: bool
    """Whether those that are go together."""

    def answer(self, question: Callable[[Any], T]) -> T | None:
        """What the plugin says of its parameters; None where that rests on what is wrong."""
        try:
            return question(self.params) if self.fits else None
        except AttributeError:  # of a parameter that has no value
            return None


def audit_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """What does not go together in the config of an audit.

    Args:
        data: Plain data, any part of which may be invalid.
    """
    criteria = _criteria(data, ())
    analyses = _listed(data, "analyses", ANALYSES)
    backbones = _listed(data, "backbones", BACKBONE_SOURCES)
    source = _found(data.get("data"), ("data",), DATA_SOURCES)
    yield from _analysis_problems(data, analyses, backbones)
    yield from _measured_problems(data, criteria, analyses)
    yield from _face_problems(criteria, analyses, source)
    if (names := _names(data, backbones)) is not None:
        yield from backbone_problems(criteria, names)
    yield from _criterion_names(criteria)
    yield from _scenario_problems(data, criteria)
    yield from _output_problems(data)


def zoo_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """As `audit_problems`, of the config of a zoo."""
    shared = _criteria(data, ())
    analyses = _listed(data, "analyses", ANALYSES)
    backbones = _listed(data, "backbones", BACKBONE_SOURCES)
    datasets = [
        (("datasets", index), dataset)
        for index, dataset in enumerate(_items(data.get("datasets")))
        if isinstance(dataset, Mapping)
    ]
    every = list(shared)
    for place, dataset in datasets:
        own = _criteria(dataset, place)
        every += own
        source = _found(dataset.get("data"), (*place, "data"), DATA_SOURCES)
        yield from _face_problems([*shared, *own], analyses, source)
        yield from _criterion_names([*shared, *own])
    yield from name_problems(
        [((*place, "name"), _text(dataset.get("name"))) for place, dataset in datasets], "data set"
    )
    yield from _analysis_problems(data, analyses, backbones)
    yield from _measured_problems(data, every, analyses)
    if (names := _names(data, backbones)) is not None:
        yield from backbone_problems(every, names)
    yield from _scenario_problems(data, every)
    yield from _output_problems(data)


def without_positions(analyses: Sequence[AskedAnalysis], positions: int) -> Iterator[Problem]:
    """A message for every analysis that asks for feature maps which would not be recorded."""
    for index, asked in enumerate(analyses):
        if not positions and asked.analysis.needs_positions(asked.params):
            yield (
                ("analyses", index),
                "expected feature maps, which are not recorded with activations.positions: 0; "
                "set activations.positions: 8",
            )


def repeated(analyses: Sequence[AskedAnalysis]) -> Iterator[Problem]:
    """A message for every analysis after the first of a kind of which there may be one."""
    seen: set[str] = set()
    for index, asked in enumerate(analyses):
        if asked.analysis.is_once and asked.kind in seen:
            yield (
                ("analyses", index),
                "expected one analysis of this kind, got another; single images would follow from "
                "the differences between its groups and those of the first, so give it an audit "
                "of its own",
            )
        seen.add(asked.kind)


def alone(analyses: Sequence[AskedAnalysis], n_backbones: int) -> Iterator[Problem]:
    """A message for every analysis of several backbones that is asked of one."""
    for index, asked in enumerate(analyses):
        if n_backbones == 1 and asked.analysis.is_joint:
            yield (
                ("analyses", index),
                "expected at least two backbones to look at together, got one; add a backbone, or "
                "leave the analysis out (a zoo audits each backbone by itself)",
            )


def joint_quantities(analyses: Sequence[AskedAnalysis]) -> frozenset[str]:
    """What is measured of all backbones together, and of none alone."""
    joint = {q for each in analyses if each.analysis.is_joint for q in each.analysis.quantities}
    single = {
        q for each in analyses if not each.analysis.is_joint for q in each.analysis.quantities
    }
    return frozenset(joint - single)


def _analysis_problems(
    data: Mapping[str, Any], analyses: Sequence[_Found], backbones: Sequence[_Found]
) -> Iterator[Problem]:
    recorded = data.get("activations", {})
    wrong = mend(recorded, Activations).wrong
    if (activations := _valid_part(Activations, recorded)) and ("positions",) not in wrong:
        known = [a for a in analyses if a.answer(a.analysis.needs_positions) is not None]
        yield from _at_place(known, without_positions(known, activations.positions))
    yield from _at_place(analyses, repeated(analyses))
    if len(backbones) == len(_items(data.get("backbones"))):
        counts = [_steps(backbone) for backbone in backbones]
        most = max(counts, default=0) if "datasets" in data else sum(counts)
        yield from _at_place(analyses, alone(analyses, most))


def _at_place(analyses: Sequence[_Found], problems: Iterator[Problem]) -> Iterator[Problem]:
    """The places of the config, of which invalid ones were left out."""
    for (_, index), message in problems:
        yield analyses[int(index)].location, message


def _steps(backbone: _Found) -> int:
    """Backbones that an entry stands for; two, which is several, where that is open."""
    return len(backbone.analysis.steps(backbone.params)) if backbone.is_whole else 2


def _measured_problems(
    data: Mapping[str, Any], criteria: Placed, analyses: Sequence[_Found]
) -> Iterator[Problem]:
    offered = [quantity for each in analyses for quantity in each.analysis.quantities]
    if len(analyses) < len(_items(data.get("analyses"))) or not analyses:
        every = (ANALYSES.load(kind) for kind in ANALYSES.kinds())
        offered += chain.from_iterable(plugin.quantities for plugin in every)
    yield from quantity_problems(criteria, offered)
    yield from joint_problems(criteria, joint_quantities(analyses))


def _face_problems(
    criteria: Placed, analyses: Sequence[_Found], source: _Found | None
) -> Iterator[Problem]:
    """What is asked about attributes and levels that these faces do not have."""
    attributes = None if source is None else _attributes(source)
    if attributes is None:
        return
    yield from criterion_problems(criteria, attributes)
    known = [*(attribute.name for attribute in attributes), INTERSECTION]
    for each in analyses:
        for index, name in enumerate(getattr(each.params, "targets", None) or ()):
            if name not in known:
                yield (
                    (*each.location, "targets", index),
                    unknown_name(name, known, noun="attribute"),
                )


def _attributes(source: _Found) -> tuple[Attribute, ...] | None:
    declares: Callable[[Any], tuple[Attribute, ...]] | None = source.analysis.declares
    return None if declares is None else source.answer(declares)


def _names(data: Mapping[str, Any], backbones: Sequence[_Found]) -> list[str] | None:
    """Of all backbones; None where one is open, such as where a pattern stands for many."""
    items = _items(data.get("backbones"))
    if len(backbones) < len(items):
        return None
    called: list[str] = []
    for each in backbones:
        names = each.answer(partial(_called, each.analysis))
        if names is None:
            return None
        called += names
    numbered = [
        name if called[:place].count(name) == 0 else f"{name} ({called[:place].count(name) + 1})"
        for place, name in enumerate(called)
    ]
    return numbered or None


def _called(source: Any, params: Any) -> list[str]:
    return [source.called(step) for step in source.steps(params)]


def _criterion_names(criteria: Placed) -> Iterator[Problem]:
    named = [((*place, "name"), getattr(each, "name", None)) for place, each in criteria]
    return name_problems(named, "criterion")


def _scenario_problems(data: Mapping[str, Any], criteria: Placed) -> Iterator[Problem]:
    """A message for every criterion that a scenario names and the config does not have."""
    declared = data.get("declarations")
    scenarios = declared.get("scenarios") if isinstance(declared, Mapping) else None
    known = [name for _, each in criteria if (name := getattr(each, "name", None)) is not None]
    for index, scenario in enumerate(_items(scenarios)):
        named = scenario.get("criteria") if isinstance(scenario, Mapping) else None
        for name in filter(None, map(_text, _items(named))):
            if name in known:
                continue
            none = f"unknown criterion {shown(name)}: the config declares no criteria"
            what = unknown_name(name, known, noun="criterion") if known else none
            yield ("declarations", "scenarios", index, "criteria"), what


def _output_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """A message for every place of results that can be none."""
    output = _valid_part(Output, data.get("output", {}))
    if output is None:
        return
    folder = output.folder or Path("runs") / (_text(data.get("name")) or "")
    for key, place in (("folder", folder), ("cache", output.cache)):
        path = Path(place).expanduser()
        for part in (path, *path.parents):
            if _is_file(part):
                yield ("output", key), f"expected a folder, but {part} is a file"


def _is_file(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _criteria(data: Mapping[str, Any], place: Location) -> list[tuple[Location, Criterion]]:
    found = []
    for index, item in enumerate(_items(data.get("criteria"))):
        criterion = _valid_part(Criterion, item)
        if criterion is not None:
            found.append(((*place, "criteria", index), criterion))
    return found


def _listed(data: Mapping[str, Any], section: str, catalog: Catalog[Any]) -> list[_Found]:
    items = enumerate(_items(data.get(section)))
    found = (_found(item, (section, index), catalog) for index, item in items)
    return [each for each in found if each is not None]


def _found(item: Any, location: Location, catalog: Catalog[Any]) -> _Found | None:
    kind = item.get("kind") if isinstance(item, Mapping) else None
    if not isinstance(kind, str) or kind not in catalog.kinds():
        return None
    plugin = catalog.load(kind)
    own = _ZOO_KEYS if catalog is BACKBONE_SOURCES and location[0] == "backbones" else frozenset()
    raw = {key: value for key, value in item.items() if key not in {"kind", *own}}
    params = _valid_part(plugin.params_type, raw)
    mended = mend(raw, plugin.params_type)
    for wrong in mended.wrong:
        params.__dict__.pop(wrong[0], None)  # its default is not what was meant
    is_whole = mended.value is not None and not mended.wrong
    return _Found(location, kind, plugin, params, is_whole, mended.value is not None)


def _valid_part(model: type[BaseModel], raw: Any) -> Any:
    """An object with the keys that are valid by themselves; None of what is no section.

    A key that is wrong has its default, or, where it has none, is no attribute of the object.
    Of a section of names, such as a criterion's groups, those that are right stay.
    """
    if not isinstance(raw, Mapping):
        return None
    mended = mend(dict(raw), model)
    values = dict(mended.value or mended.data)
    for top, *inner in mended.wrong:
        if inner and isinstance(part := values.get(str(top)), dict):
            part.pop(inner[0], None)
        else:
            values.pop(str(top), None)
    return model.model_construct(**values)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
