"""What a criterion asks for that an audit will not have, found before the forward pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Criterion
from bias_audit.data.faces import FaceTable
from bias_audit.groups import EVERYONE

ANY_LAYER = frozenset({"every", "best", "last"})
INTERSECTION = "intersection"


def quantity_problems(criteria: Sequence[Criterion], offered: Iterable[str]) -> Iterator[str]:
    """A message for every criterion about a quantity that no planned analysis measures."""
    known = sorted(set(offered))
    for place, criterion in _placed(criteria):
        if criterion.quantity in known:
            continue
        what = (
            unknown_name(criterion.quantity, known, noun="quantity")
            if known
            else f"quantity {criterion.quantity!r}: none of the analyses of this config measures "
            "what a criterion can name; add linear_probe"
        )
        yield f"{place}: {what}"


def joint_problems(criteria: Sequence[Criterion], joint: Collection[str]) -> Iterator[str]:
    """A message for every criterion that narrows down a quantity of all backbones together."""
    for place, criterion in _placed(criteria):
        if criterion.quantity not in joint:
            continue
        about = f"{criterion.quantity} is measured once, of all backbones together"
        if criterion.backbones is not None:
            yield f"{place}: backbones: expected none, since {about}; leave backbones out"
        if criterion.layer not in ANY_LAYER:
            yield f"{place}: layer: got {criterion.layer!r}, but {about}; leave layer out"


def criterion_problems(criteria: Sequence[Criterion], table: FaceTable) -> Iterator[str]:
    """A message for every target and level that these faces do not have.

    Args:
        criteria: Those of the config.
        table: The annotated faces.
    """
    for place, criterion in _placed(criteria):
        problems = [*_target_problems(criterion, table), *_group_problems(criterion, table)]
        yield from (f"{place}: {problem}" for problem in problems)


def layer_problems(
    criteria: Sequence[Criterion],
    layers: Sequence[str] | None,
    backbone: str | None,
    *,
    joint: Collection[str],
) -> Iterator[str]:
    """A message for every layer that a backbone does not have.

    Args:
        criteria: Those of the config.
        layers: The layers of `backbone`; None while they are not known.
        backbone: Its name; criteria about others are not asked for layers.
        joint: Quantities of all backbones together, which have no layer.
    """
    for place, criterion in _placed(criteria):
        if layers is None or criterion.quantity in joint:
            continue
        asked = criterion.backbones is None or backbone in criterion.backbones
        if asked and criterion.layer not in {*ANY_LAYER, *layers}:
            known = [*sorted(ANY_LAYER), *layers]
            what = unknown_name(criterion.layer, known, noun=f"layer of {backbone}")
            yield f"{place}: {what}; backbones: [...] limits a criterion to those that have it"


def _placed(criteria: Sequence[Criterion]) -> Iterator[tuple[str, Criterion]]:
    """Every criterion after the words that say where in the config it is."""
    for index, criterion in enumerate(criteria):
        yield f"criteria.{index} ({criterion.name})", criterion


def _target_problems(criterion: Criterion, table: FaceTable) -> Iterator[str]:
    known = [*(attribute.name for attribute in table.attributes), INTERSECTION]
    if criterion.target not in known:
        yield unknown_name(criterion.target, known, noun="target")


def _group_problems(criterion: Criterion, table: FaceTable) -> Iterator[str]:
    everyone = {name: (level,) for name, level in EVERYONE.levels}
    levels = everyone | {attribute.name: attribute.levels for attribute in table.attributes}
    for name, level in (criterion.groups or {}).items():
        if name not in levels:
            yield f"groups: {unknown_name(name, levels, noun='attribute')}"
        elif level not in levels[name]:
            yield f"groups: {unknown_name(level, levels[name], noun=f'level of {name}')}"
