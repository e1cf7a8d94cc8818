"""Where the units of a layer lie: a layout of their responses to all intersections."""

from __future__ import annotations

from pydantic import Field, field_validator

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.group_maps import Plane
from bias_audit.analyses.mapping.layout import Distance, silent_units, unit_square
from bias_audit.analyses.mapping.layout_choice import known_layout, layout_name, place
from bias_audit.analyses.mapping.particle_swarm import refine
from bias_audit.analyses.mapping.profiles import profiles
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.targets import finest_target
from bias_audit.config.schema import Component
from bias_audit.errors import AnalysisError

_FEWEST_UNITS = 4


class LayoutSettings(ProbeSettings):
    """How units are placed; the settings of probes choose the layer where none is named."""

    layout: Component = Field(
        default=Component(kind="tsne"), description="How units are placed, and its parameters."
    )
    distance: Distance = Field(default="cosine", description="Between the signatures of units.")
    refine_steps: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Steps of the particle swarm that spreads units over a disc; 0: none.",
    )

    @field_validator("layout")
    @classmethod
    def _known(cls, layout: Component) -> Component:
        return known_layout(layout)


def placed(
    subject: Subject, layer: str, number: int, moments: Moments, settings: LayoutSettings
) -> Plane:
    """Place units so that those which respond alike to all intersections are near.

    The same layer, moments and settings give the same places in every analysis.

    Args:
        subject: Whose layer.
        layer: Its name.
        number: Among the layers drawn.
        moments: Of the intersections, over the images that place the units.
        settings: Of the layout.

    Raises:
        AnalysisError: There are too few groups or units, or no unit differs between groups.
    """
    cells = profiles(subject, layer, finest_target(subject.faces.table), moments)
    n_groups = int((cells.counts > 0).sum())
    n_units = cells.means.shape[1]
    if n_groups < 2 or n_units < _FEWEST_UNITS:  # noqa: PLR2004
        raise AnalysisError(
            f"layer {layer}: a map needs images in two groups and {_FEWEST_UNITS} units, "
            f"got {n_groups} and {n_units}; widen the sampling, or name another layer"
        )
    signatures = cells.contrasts[cells.counts > 0].T
    silent = silent_units(signatures)
    if silent.all():
        raise AnalysisError(
            f"layer {layer}: every group has the same mean activations, so there is nothing to "
            "draw; check the weights, or name another layer"
        )
    rng = subject.rng("layout", layer)
    positions = place(settings.layout, signatures, settings.distance, rng)
    positions = refine(positions, settings.refine_steps, rng)
    name = layout_name(settings.layout, settings.distance, settings.refine_steps)
    return Plane(layer, number, name, unit_square(positions), int(silent.sum()))
