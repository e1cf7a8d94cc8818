"""What a criterion asks for that an audit will not have, found before the forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Criterion
from bias_audit.config.wording import Location, Problem, shown
from bias_audit.groups import EVERYONE, Attribute

ANY_LAYER = frozenset({"every", "best", "last"})
INTERSECTION = "intersection"
Placed = Sequence[tuple[Location, Criterion]]
"""Criteria with their places in the config; a key that is wrong by itself may lack its value."""


def placed(criteria: Sequence[Criterion]) -> Placed:
    """The criteria of a config that is valid by itself."""
    return [(("criteria", index), criterion) for index, criterion in enumerate(criteria)]


def quantity_problems(criteria: Placed, offered: Iterable[str]) -> Iterator[Problem]:
    """A message for every criterion about a quantity that no planned analysis measures."""
    known = sorted(set(offered))
    for place, criterion in criteria:
        quantity = _given(criterion, "quantity")
        if quantity is None or quantity in known:
            continue
        what = (
            unknown_name(quantity, known, noun="quantity")
            if known
            else f"quantity {shown(quantity)}: none of the analyses of this config measures "
            "what a criterion can name; add linear_probe"
        )
        yield (*place, "quantity"), what


def joint_problems(criteria: Placed, joint: Collection[str]) -> Iterator[Problem]:
    """A message for every criterion that narrows down a quantity of all backbones together."""
    for place, criterion in criteria:
        quantity = _given(criterion, "quantity")
        if quantity not in joint:
            continue
        about = f"{quantity} is measured once, of all backbones together"
        if criterion.backbones is not None:
            yield (*place, "backbones"), f"expected none, since {about}; leave backbones out"
        if criterion.layer not in ANY_LAYER:
            yield (
                (*place, "layer"),
                f"got {shown(criterion.layer)}, but {about}; leave layer out",
            )


def criterion_problems(criteria: Placed, attributes: Sequence[Attribute]) -> Iterator[Problem]:
    """A message for every target and level that these faces do not have.

    Args:
        criteria: Those of the config.
        attributes: Those of the faces.
    """
    everyone = {name: (level,) for name, level in EVERYONE.levels}
    levels = everyone | {attribute.name: attribute.levels for attribute in attributes}
    targets = [*(attribute.name for attribute in attributes), INTERSECTION]
    for place, criterion in criteria:
        target = _given(criterion, "target")
        if target is not None and target not in targets:
            yield (*place, "target"), unknown_name(target, targets, noun="attribute")
        for name, level in (criterion.groups or {}).items():
            if name not in levels:
                yield (*place, "groups"), unknown_name(name, levels, noun="attribute")
            elif level not in levels[name]:
                what = unknown_name(level, levels[name], noun=f"group of {name}")
                yield (*place, "groups", name), what


def backbone_problems(criteria: Placed, names: Collection[str]) -> Iterator[Problem]:
    """A message for every backbone that a criterion names and the config does not have."""
    for place, criterion in criteria:
        for index, name in enumerate(criterion.backbones or ()):
            if name not in names:
                yield (*place, "backbones", index), unknown_name(name, names, noun="backbone")


def name_problems(named: Sequence[tuple[Location, str | None]], noun: str) -> Iterator[Problem]:
    """A message for every name after the first of its kind; None is no name."""
    seen: Counter[str] = Counter()
    for place, name in named:
        if name is None:
            continue
        seen[name] += 1
        if seen[name] > 1:
            yield place, f"expected a name of its own, got that of another {noun}: {shown(name)}"


def layer_problems(
    criteria: Placed, layers: Sequence[str] | None, backbone: str | None, *, joint: Collection[str]
) -> Iterator[Problem]:
    """A message for every layer that a backbone does not have.

    Args:
        criteria: Those of the config.
        layers: The layers of `backbone`; None while they are not known.
        backbone: Its name; criteria about others are not asked for layers.
        joint: Quantities of all backbones together, which have no layer.
    """
    for place, criterion in criteria:
        if layers is None or criterion.quantity in joint:
            continue
        asked = criterion.backbones is None or backbone in criterion.backbones
        if asked and criterion.layer not in {*ANY_LAYER, *layers}:
            known = [*sorted(ANY_LAYER), *layers]
            what = unknown_name(criterion.layer, known, noun=f"layer of {backbone}")
            yield (
                (*place, "layer"),
                f"{what}; backbones: [...] limits a criterion to those that have it",
            )


def _given(criterion: Criterion, key: str) -> str | None:
    """What stands at a required key, where something does."""
    value: str | None = getattr(criterion, key, None)
    return value
