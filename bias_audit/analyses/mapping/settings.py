"""Parameters that several analyses of units and groups share."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from bias_audit.analyses.analysis import OneLayer
from bias_audit.analyses.probing.probes import ProbeSettings, too_few_images
from bias_audit.analyses.probing.separability import unknown_layers
from bias_audit.analyses.targets import unknown_groups, unknown_targets
from bias_audit.data.faces import FaceTable


class OneLayerSettings(ProbeSettings):
    """Of an analysis of one layer; the settings of probes choose it where none is named."""

    layer: OneLayer = None

    @property
    def named(self) -> tuple[str, ...] | None:
        """The layer, if the config names it."""
        return None if self.layer is None else (self.layer,)


class LayersSettings(ProbeSettings):
    """Of an analysis of some layers; the settings of probes choose one where none is named."""

    layers: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Default: the layer at which intersections separate best.",
    )

    @property
    def named(self) -> tuple[str, ...] | None:
        """The layers, if the config names any."""
        return self.layers


def setting_problems(
    params: ProbeSettings,
    faces: FaceTable,
    layers: tuple[str, ...] | None = None,
    *,
    targets: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Targets, groups and layers that there are not, and too few images to choose or probe one."""
    named = params.named if isinstance(params, OneLayerSettings | LayersSettings) else None
    return (
        *unknown_targets(faces, targets or ()),
        *unknown_groups(faces, groups),
        *unknown_layers(named, layers),
        *too_few_images(params, faces),
    )
