"""Which curves a zoo's report compares, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import Palette
from bias_audit.report.page import Drawn, Section, paragraphs
from bias_audit.results.history.reading import Backbone, History, Peak


@dataclass(frozen=True)
class Question:
    """A quantity of a target on a dataset, for all backbones that have it."""

    dataset: str
    quantity: str
    metric: str
    target: str
    backbones: tuple[Backbone, ...]
    """With a value in their latest audit, the highest value first."""
    is_drawn: bool
    """Whether it gets figures; further quantities have tables only."""

    def key(self, backbone: Backbone) -> tuple[int, str, str]:
        """Of its curve in a history."""
        return backbone.id, self.quantity, self.target

    @property
    def title(self) -> str:
        """Such as "gender on FairFace"."""
        return f"{self.target} on {self.dataset}"


def questions(history: History) -> tuple[Question, ...]:
    """By dataset, quantity and target, in the order of the audits; the first quantity is drawn."""
    return tuple(
        question for dataset in history.datasets for question in _of_dataset(history, dataset)
    )


def _of_dataset(history: History, dataset: str) -> Iterator[Question]:
    here = [each for each in history.latest if each.audit.dataset == dataset]
    numbers = {each.id for each in here}
    points: dict[tuple[str, str], Peak] = {}
    for curve, point in history.highest.items():
        if curve[0] in numbers and point.n_layers > 1:
            points.setdefault((point.quantity, point.target), point)
    first = next((quantity for quantity, _ in points), None)
    for (quantity, target), point in sorted(points.items(), key=lambda e: e[0][0] != first):
        measured = [each for each in here if (each.id, quantity, target) in history.highest]
        yield Question(
            dataset=dataset,
            quantity=quantity,
            metric=point.metric,
            target=target,
            backbones=tuple(
                sorted(
                    measured,
                    key=lambda each: (
                        -history.highest[each.id, quantity, target].estimate.value,
                        each.label,
                    ),
                )
            ),
            is_drawn=quantity == first,
        )


def palette(found: tuple[Question, ...]) -> Palette:
    """One colour per target, the same in all figures."""
    return Palette(tuple(dict.fromkeys(question.target for question in found)))


def curves_section(
    *, title: str, anchor: str, notes: tuple[str, ...], figure: FigureView
) -> Section:
    """A figure with its notes, which the table of contents names."""
    return Section(
        anchor, title, (Drawn(figure), *paragraphs(notes, "note")), look="block", is_listed=True
    )
