"""What a criterion asks for that an audit will not have, found before the forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Criterion
from bias_audit.data.faces import FaceTable
from bias_audit.groups import EVERYONE

ANY_LAYER = frozenset({"every", "best", "last"})
INTERSECTION = "intersection"


def quantity_problems(criteria: Sequence[Criterion], offered: Iterable[str]) -> Iterator[str]:
    """A message for every criterion about a quantity that no planned analysis measures."""
    known = sorted(set(offered))
    for index, criterion in enumerate(criteria):
        if criterion.quantity in known:
            continue
        what = (
            unknown_name(criterion.quantity, known, noun="quantity")
            if known
            else f"quantity {criterion.quantity!r}: none of the analyses of this config measures "
            "what a criterion can name; add linear_probe"
        )
        yield f"criteria.{index} ({criterion.name}): {what}"


def criterion_problems(
    criteria: Sequence[Criterion],
    table: FaceTable,
    layers: Sequence[str] | None,
    backbone: str | None,
) -> Iterator[str]:
    """A message for every target, level and layer that these faces or layers do not have.

    Args:
        criteria: Those of the config.
        table: The annotated faces.
        layers: The layers of `backbone`; None while they are not known.
        backbone: Its name; criteria about others are not asked for layers.
    """
    for index, criterion in enumerate(criteria):
        problems = [*_target_problems(criterion, table), *_group_problems(criterion, table)]
        asked = criterion.backbones is None or backbone in criterion.backbones
        if layers is not None and asked and criterion.layer not in {*ANY_LAYER, *layers}:
            known = [*sorted(ANY_LAYER), *layers]
            what = unknown_name(criterion.layer, known, noun=f"layer of {backbone}")
            problems.append(f"{what}; backbones: [...] limits a criterion to those that have it")
        yield from (f"criteria.{index} ({criterion.name}): {problem}" for problem in problems)


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
