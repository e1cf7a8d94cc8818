"""What the parts of a config say about each other, as far as it can be known before it runs.

A part that is wrong by itself hides nothing that is wrong elsewhere: what it says is left open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    Catalog,
    unknown_name,
)
from bias_audit.config.schema import Activations, Criterion, Output
from bias_audit.config.wording import Location, Mended, Problem, entries_of, mend, shown
from bias_audit.errors import ExtensionError
from bias_audit.groups import EVERYONE, INTERSECTION, Attribute

T = TypeVar("T")
ANY_LAYER = frozenset({"every", "best", "last"})
Placed = Sequence[tuple[Location, Criterion]]
"""Criteria with their places in the config; a key that is wrong by itself may lack its value."""
OF_PATTERNS = frozenset({"match", "leave_out", "label"})
"""Keys of a zoo's backbones that are not those of their source."""


def placed(criteria: Sequence[Criterion]) -> Placed:
    """The criteria of a config that is valid by itself."""
    return [(("criteria", index), criterion) for index, criterion in enumerate(criteria)]


def quantity_problems(
    criteria: Placed, offered: Iterable[str], joint: Collection[str]
) -> Iterator[Problem]:
    """A message for every criterion about what no planned analysis measures.

    `offered` are all quantities that are measured, `joint` those of all backbones together, which
    have neither a backbone nor a layer.
    """
    known = sorted(set(offered))
    for place, criterion in criteria:
        quantity = getattr(criterion, "quantity", None)
        about = f"{quantity} is measured once, of all backbones together"
        if quantity is not None and quantity not in known:
            none = (
                f"quantity {shown(quantity)}: none of the analyses of this config measures "
                "what a criterion can name; add linear_probe"
            )
            what = unknown_name(quantity, known, noun="quantity") if known else none
            yield (*place, "quantity"), what
        if quantity in joint and criterion.backbones is not None:
            yield (*place, "backbones"), f"expected none, since {about}; leave backbones out"
        if quantity in joint and criterion.layer not in ANY_LAYER:
            what = f"got {shown(criterion.layer)}, but {about}; leave layer out"
            yield (*place, "layer"), what


def criterion_problems(criteria: Placed, attributes: Sequence[Attribute]) -> Iterator[Problem]:
    """A message for every target and level that these faces do not have."""
    everyone = {name: (level,) for name, level in EVERYONE.levels}
    levels = everyone | {attribute.name: attribute.levels for attribute in attributes}
    targets = [*(attribute.name for attribute in attributes), INTERSECTION]
    for place, criterion in criteria:
        target = getattr(criterion, "target", None)
        if target is not None and target not in targets:
            yield (*place, "target"), unknown_name(target, targets, noun="attribute")
        for name, level in (criterion.groups or {}).items():
            if name not in levels:
                yield (*place, "groups"), unknown_name(name, levels, noun="attribute")
            elif level not in levels[name]:
                what = unknown_name(level, levels[name], noun=f"group of {name}")
                yield (*place, "groups", name), what


def layer_problems(
    criteria: Placed, layers: Sequence[str] | None, backbone: str | None, *, joint: Collection[str]
) -> Iterator[Problem]:
    """A message for every layer that a backbone does not have, once its layers are known.

    Criteria about other backbones, or about `joint` quantities, need not name its layers.
    """
    for place, criterion in criteria if layers is not None else ():
        known = [*sorted(ANY_LAYER), *(layers or ())]
        counts = criterion.backbones is None or backbone in criterion.backbones
        if counts and criterion.quantity not in joint and criterion.layer not in known:
            what = unknown_name(criterion.layer, known, noun=f"layer of {backbone}")
            what += "; backbones: [...] limits a criterion to those that have it"
            yield (*place, "layer"), what


@dataclass(frozen=True)
class Named:
    """A plugin that a config names."""

    location: Location
    kind: str
    plugin: Any
    params: Any
    is_whole: bool = True
    """Whether all its parameters are valid."""
    fits: bool = True
    """Whether those that are go together."""

    def answer(self, question: Callable[[Any], T]) -> T | None:
        """What the plugin says of its parameters; None where that rests on what is wrong."""
        try:
            return question(self.params) if self.fits else None
        except AttributeError:  # of a parameter that has no value
            return None


def analysis_problems(
    analyses: Sequence[Named], *, positions: int | None, n_backbones: int | None
) -> Iterator[Problem]:
    """A message for every analysis that cannot be made of these activations and backbones.

    `positions` is the side of the feature maps, 0 for none; either number is None if not known.
    """
    seen: set[str] = set()
    for each in analyses:
        if positions == 0 and each.answer(each.plugin.needs_positions):
            yield (
                each.location,
                "expected feature maps, which are not recorded with activations.positions: 0; "
                "set activations.positions: 8",
            )
        if each.plugin.is_once and each.kind in seen:
            yield (
                each.location,
                "expected one analysis of this kind, got another; the differences between their "
                "groups would reveal single images, so put it into a separate audit",
            )
        if each.plugin.is_joint and n_backbones == 1:
            yield (
                each.location,
                "expected at least two backbones to look at together, got one; add a backbone, or "
                "leave the analysis out (a zoo audits each backbone by itself)",
            )
        seen.add(each.kind)


def joint_quantities(analyses: Iterable[Any]) -> frozenset[str]:
    """What these plugins measure of all backbones together, and of none alone."""
    joint: set[str] = set()
    single: set[str] = set()
    for plugin in analyses:
        (joint if plugin.is_joint else single).update(plugin.quantities)
    return frozenset(joint - single)


def problems_between(data: Mapping[str, Any], *, is_zoo: bool) -> Iterator[Problem]:
    """What does not go together in the config of an audit or a zoo; any part may be invalid."""
    analyses = _listed(data, "analyses", ANALYSES)
    backbones = _listed(data, "backbones", BACKBONE_SOURCES)
    n_entries = len(entries_of(data.get("backbones")))
    steps = [len(each.plugin.steps(each.params)) if each.is_whole else 2 for each in backbones]
    most = max(steps, default=0) if "datasets" in data else sum(steps)
    activations, mended = _valid_part(Activations, data.get("activations", {}))
    has_positions = activations is not None and ("positions",) not in mended.wrong
    yield from analysis_problems(
        analyses,
        positions=activations.positions if has_positions else None,
        n_backbones=most if len(backbones) == n_entries else None,
    )
    shared = _criteria(data, ())
    criteria = list(shared)
    datasets: list[tuple[Location, Any]] = [((), data)]
    if is_zoo:
        items = enumerate(entries_of(data.get("datasets")))
        datasets = [(("datasets", i), item) for i, item in items if isinstance(item, Mapping)]
        yield from _repeated(
            [((*p, "name"), _text(d.get("name"))) for p, d in datasets], "data set"
        )
    for place, dataset in datasets:
        own = _criteria(dataset, place) if is_zoo else []
        criteria += own
        source = _found(dataset.get("data"), (*place, "data"), DATA_SOURCES)
        yield from _face_problems([*shared, *own], analyses, source)
        named = [((*p, "name"), getattr(each, "name", None)) for p, each in [*shared, *own]]
        yield from _repeated(named, "criterion")
    offered = [quantity for each in analyses for quantity in each.plugin.quantities]
    if len(analyses) < len(entries_of(data.get("analyses"))) or not analyses:
        every = (ANALYSES.load(kind) for kind in ANALYSES.kinds())
        offered += chain.from_iterable(plugin.quantities for plugin in every)
    joint = joint_quantities(each.plugin for each in analyses)
    yield from quantity_problems(criteria, offered, joint)
    if len(backbones) == n_entries and (names := _names(backbones)):
        for place, criterion in criteria:
            for index, name in enumerate(criterion.backbones or ()):
                if name not in names:
                    what = unknown_name(name, names, noun="backbone")
                    yield (*place, "backbones", index), what
    yield from _scenario_problems(data, criteria)
    yield from output_problems(data)


def _repeated(named: Sequence[tuple[Location, str | None]], noun: str) -> Iterator[Problem]:
    """A message for every name after the first of its kind; None is no name."""
    seen: Counter[str | None] = Counter()
    for place, name in named:
        seen[name] += 1
        if name is not None and seen[name] > 1:
            yield place, f"expected a unique name, got that of another {noun}: {shown(name)}"


def _face_problems(
    criteria: Placed, analyses: Sequence[Named], source: Named | None
) -> Iterator[Problem]:
    """Questions of the config about attributes and levels that these faces do not have."""
    declares = None if source is None else source.plugin.declares
    attributes = None if source is None or declares is None else source.answer(declares)
    if attributes is None:
        return
    yield from criterion_problems(criteria, attributes)
    known = [*(attribute.name for attribute in attributes), INTERSECTION]
    for each in analyses:
        for index, name in enumerate(getattr(each.params, "targets", None) or ()):
            if name not in (*known, *getattr(each.plugin, "other_targets", ())):
                what = unknown_name(name, known, noun="attribute")
                yield (*each.location, "targets", index), what


def _names(backbones: Sequence[Named]) -> list[str] | None:
    """Of all backbones; None where one is open, such as where a pattern matches many."""
    called: list[str] = []
    for each in backbones:
        names = each.answer(partial(_called, each.plugin))
        if names is None:
            return None
        called += names
    counts = (called[:place].count(name) for place, name in enumerate(called))
    return [f"{name} ({n + 1})" if n else name for name, n in zip(called, counts, strict=True)]


def _called(source: Any, params: Any) -> list[str]:
    return [source.called(step) for step in source.steps(params)]


def _scenario_problems(data: Mapping[str, Any], criteria: Placed) -> Iterator[Problem]:
    """A message for every criterion that a scenario names and the config does not have."""
    declared = data.get("declarations")
    scenarios = declared.get("scenarios") if isinstance(declared, Mapping) else None
    known = [name for _, each in criteria if (name := getattr(each, "name", None)) is not None]
    for index, scenario in enumerate(entries_of(scenarios)):
        named = scenario.get("criteria") if isinstance(scenario, Mapping) else None
        for name in filter(None, map(_text, entries_of(named))):
            if name not in known:
                none = f"unknown criterion {shown(name)}: the config declares no criteria"
                what = unknown_name(name, known, noun="criterion") if known else none
                yield ("declarations", "scenarios", index, "criteria"), what


def output_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """A message for every place of results that can be none."""
    output, _ = _valid_part(Output, data.get("output", {}))
    if output is None:
        return
    folder = output.folder or Path("runs") / (_text(data.get("name")) or "")
    for key, place in (("folder", folder), ("cache", output.cache)):
        path = Path(place).expanduser()
        for part in (path, *path.parents):
            try:
                is_file = part.exists() and not part.is_dir()
            except (OSError, ValueError):
                continue
            if is_file:
                yield ("output", key), f"expected a folder, but {part} is a file"


def _criteria(data: Mapping[str, Any], place: Location) -> list[tuple[Location, Criterion]]:
    items = enumerate(entries_of(data.get("criteria")))
    found = (((*place, "criteria", i), _valid_part(Criterion, item)[0]) for i, item in items)
    return [(location, criterion) for location, criterion in found if criterion is not None]


def _listed(data: Mapping[str, Any], section: str, catalog: Catalog[Any]) -> list[Named]:
    items = enumerate(entries_of(data.get(section)))
    found = (_found(item, (section, index), catalog) for index, item in items)
    return [each for each in found if each is not None]


def _found(item: Any, location: Location, catalog: Catalog[Any]) -> Named | None:
    kind = item.get("kind") if isinstance(item, Mapping) else None
    if not isinstance(kind, str):
        return None
    try:
        plugin = catalog.load(kind)
    except (KeyError, ExtensionError):  # the check of the components has said so
        return None
    others = {"kind"} | (OF_PATTERNS if catalog is BACKBONE_SOURCES else frozenset())
    raw = {key: value for key, value in item.items() if key not in others}
    params, mended = _valid_part(plugin.params_type, raw)
    for wrong in mended.wrong:
        params.__dict__.pop(wrong[0], None)  # its default is not what was meant
    fits = mended.value is not None
    return Named(location, kind, plugin, params, fits and not mended.wrong, fits)


def _valid_part(model: type[BaseModel], raw: Any) -> tuple[Any, Mended]:
    """An object with the keys that are valid by themselves; None of what is no section.

    A key that is wrong has its default, or, where it has none, is no attribute of the object.
    Of a section of names, such as a criterion's groups, those that are right stay.
    """
    mended = mend(raw, model)
    if not isinstance(raw, Mapping):
        return None, mended
    values = dict(mended.value or mended.data)
    for top, *inner in mended.wrong:
        if inner and isinstance(part := values.get(str(top)), dict):
            part.pop(inner[0], None)
        else:
            values.pop(str(top), None)
    return model.model_construct(**values), mended


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
