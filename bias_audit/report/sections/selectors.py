"""What a reader of the page can pick: layers of every backbone, levels of every attribute."""

from __future__ import annotations

from dataclasses import dataclass

from bias_audit.results.audit import AuditResult


@dataclass(frozen=True)
class Choices:
    """Choices under one heading."""

    name: str
    """A backbone or an attribute."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class Selectors:
    """All choices."""

    layers: tuple[Choices, ...]
    groups: tuple[Choices, ...]


def selectors(result: AuditResult) -> Selectors:
    """Layers in order of depth, levels as declared."""
    return Selectors(
        layers=tuple(
            Choices(subject.backbone.name, tuple(layer.name for layer in subject.backbone.layers))
            for subject in result.subjects
        ),
        groups=tuple(Choices(each.name, each.levels) for each in result.data.attributes),
    )
