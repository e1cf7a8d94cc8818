"""Which layout shows a layer's units best: the published comparison, as a table with intervals.

Source: Krug, Ratul, Olson & Stober, arXiv:2204.03528, who compare layouts by how much of a map
survives blurring and shrinking; neighbourhoods and stability are added.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
from pydantic import Field, field_validator

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject, Workload
from bias_audit.analyses.mapping import layout_quality
from bias_audit.analyses.mapping.layout import (
    FEWEST_UNITS,
    Distance,
    known_layout,
    layout_name,
    place,
    silent_units,
    unit_square,
)
from bias_audit.analyses.mapping.som_and_swarm import refine
from bias_audit.analyses.probing.probes import too_few_images, widest
from bias_audit.analyses.probing.separability import LayersSettings, chosen_layers, unknown_layers
from bias_audit.arrays import BoolArray, FloatArray
from bias_audit.config.catalog import LAYOUTS
from bias_audit.config.schema import Component
from bias_audit.errors import AnalysisError
from bias_audit.progress import Step
from bias_audit.results.finding import Finding
from bias_audit.shapes.measures import Measure, Measures
from bias_audit.shapes.printed import interval
from bias_audit.shapes.robustness_curves import RobustnessCurves

_SWARM = "particle_swarm"
_MOST_NAMED = 5


class Params(LayersSettings):
    """Which layouts are compared, where, and how often."""

    layouts: tuple[Component, ...] | None = Field(
        default=None, min_length=1, description="With their parameters; default: all layouts."
    )
    distances: tuple[Distance, ...] = Field(
        default=("cosine",), min_length=1, description="Between the signatures of units."
    )
    refine_steps: tuple[int, ...] = Field(
        default=(0, 100),
        min_length=1,
        description="Steps of the particle swarm after each layout, 0 for none; the particle "
        "swarm itself is compared without.",
    )
    repetitions: int = Field(
        default=5, ge=3, le=1000, description="Each with newly drawn images, and another seed."
    )
    level: Coverage = 0.95

    @field_validator("layouts")
    @classmethod
    def _known(cls, layouts: tuple[Component, ...] | None) -> tuple[Component, ...] | None:
        for layout in layouts or ():
            if LAYOUTS.load(known_layout(layout).kind).signatures is not None:
                raise ValueError(
                    f"layout {layout.kind}: it places units by all positions of their feature "
                    "maps, others by their means, so that they cannot be compared; leave it out"
                )
        return layouts

    @field_validator("refine_steps")
    @classmethod
    def _in_range(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 <= count <= 10_000 for count in steps):  # noqa: PLR2004
            raise ValueError(f"expected steps from 0 to 10000, got {list(steps)}")
        return tuple(dict.fromkeys(steps))

    @property
    def placements(self) -> tuple[tuple[Component, Distance], ...]:
        """What is placed before any refinement."""
        layouts = self.layouts
        if layouts is None:
            layouts = tuple(
                Component(kind=kind)
                for kind in LAYOUTS.kinds()
                if LAYOUTS.load(kind).signatures is None
            )
        return tuple(product(layouts, dict.fromkeys(self.distances)))

    def refinements(self, layout: Component) -> tuple[int, ...]:
        """Steps of refinement after a layout."""
        return (0,) if layout.kind == _SWARM else self.refine_steps


def layout_comparison(subject: Subject, params: Params) -> Outcome:
    """Compare layouts at each layer, and recommend one."""
    layers, chosen = chosen_layers(subject, params.layers, params.probes)
    responding = {layer: _responding(subject, layer) for layer in layers}
    total = len(layers) * params.repetitions * len(params.placements)
    with subject.progress.step(
        f"Comparison of layouts of {subject.name}", total=total, unit="layout"
    ) as step:
        found = [
            _of_layer(subject, layer, responds, params, step)
            for layer, responds in responding.items()
        ]
    return Outcome(
        blocks=tuple(block for pair in found for block in pair),
        findings=tuple(_finding(comparison) for comparison, _ in found),
        method=_method(params, layers, chosen),
        limits=(
            "Profiles of newly drawn images are noisier than those of all images, so layouts are "
            "somewhat better, and steadier, than the comparison says.",
            "Measures overlap in what they measure, and each counts the same in the mean rank.",
            *(
                f"{(~responds).sum()} of {len(responds)} units of {layer} respond alike to every "
                "group and were left out of the comparison of layouts."
                for layer, responds in responding.items()
                if not responds.all()
            ),
        ),
    )


def _responding(subject: Subject, layer: str) -> BoolArray:
    """Units that respond to some group, shape (n_units,)."""
    units, codes = subject.activations.units(layer), subject.faces.table.cells
    contrasts = layout_quality.weighted_contrasts(
        units, codes, np.ones(len(codes), dtype=np.int64)
    )
    responds = ~silent_units(contrasts.T)
    if len(contrasts) < 2 or responds.sum() < FEWEST_UNITS:  # noqa: PLR2004
        raise AnalysisError(
            f"layer {layer}: a comparison of layouts needs images in two groups and "
            f"{FEWEST_UNITS} units that respond unlike to them, got {len(contrasts)} and "
            f"{int(responds.sum())}; widen the sampling, or name another layer"
        )
    return responds


def _of_layer(
    subject: Subject, layer: str, responds: BoolArray, params: Params, step: Step
) -> tuple[Measures, RobustnessCurves]:
    names = [
        layout_name(layout, distance, steps)
        for layout, distance in params.placements
        for steps in params.refinements(layout)
    ]
    found: list[list[layout_quality.Quality]] = [[] for _ in names]
    places: list[list[FloatArray]] = [[] for _ in names]
    units, codes = subject.activations.units(layer), subject.faces.table.cells
    for repetition in range(params.repetitions):
        purpose = ("layout comparison", layer, str(repetition))
        weights = layout_quality.weights_within_groups(
            codes, subject.faces.clusters, subject.rng(*purpose)
        )
        signatures = layout_quality.weighted_contrasts(units, codes, weights)[:, responds].T
        numbers = iter(range(len(names)))
        for layout, distance in params.placements:
            rng = subject.rng(*purpose, layout.model_dump_json(), distance)
            start = place(layout, signatures, distance, rng)
            for steps in params.refinements(layout):
                positions = unit_square(refine(start, steps, rng) if steps else start)
                number = next(numbers)
                places[number].append(positions)
                found[number].append(layout_quality.quality(signatures, distance, positions))
            step.advance()
    repeated = [
        layout_quality.Repeated(name, tuple(values), layout_quality.disparities(drawn))
        for name, values, drawn in zip(names, found, places, strict=True)
    ]
    entries = layout_quality.ranked(repeated, params.level)
    # The layout with the best mean rank, and those that do not differ significantly from it.
    tied = [each.name for each in entries if each.standing == "tied"]
    beside = f" Tied with it: {'; '.join(tied)}." if tied else ""
    comparison = Measures(
        title=f"Which layout of {layer} is best?",
        noun="layout",
        layer=layer,
        measures=(MEAN_RANK, *layout_quality.MEASURES.values()),
        entries=entries,
        rests_on="repetitions",
        caption=(
            f"Each dot is one layout at {layer} by one measure, with its interval; best mean rank "
            "first."
        ),
        notes=(f"Recommended layout: {entries[0].name}.{beside}", layout_quality.RULE),
        reading=(_READING,),
        is_drawn=False,
    )
    by_name = dict(zip(names, found, strict=True))
    in_order = {entry.name: by_name[entry.name] for entry in entries}
    return comparison, layout_quality.robustness(layer, in_order, params.level)


_READING: Final = (
    "The same numbers can be drawn in many ways. Each way was tried several times on newly drawn "
    "images, and judged by what its pictures keep."
)
MEAN_RANK: Final = Measure(
    name="mean rank",
    better="lower",
    meaning="mean over the measures and repetitions of the place among the layouts; 1 is best",
)


def _finding(block: Measures) -> Finding:
    best, n_measures = block.entries[0], len(block.measures) - 1
    mean_rank = best.values[0]
    tied = [each.name for each in block.entries if each.standing == "tied"]
    rest = "; every other layout ranks significantly lower"
    if tied:
        more = f"; and {len(tied) - _MOST_NAMED} more" if len(tied) > _MOST_NAMED else ""
        rest = f"; no significant difference from it: {'; '.join(tied[:_MOST_NAMED])}{more}"
    return Finding(
        text=(
            f"Of {len(block.entries)} layouts of the units of {block.layer}, {best.name} does "
            f"best: mean rank {interval(mean_rank) if mean_rank else 'unknown'} over {n_measures} "
            f"measures{rest}."
        ),
        weight=0.0,
        estimates={} if mean_rank is None else {"mean rank": mean_rank},
    )


def _method(params: Params, layers: tuple[str, ...], chosen: str) -> tuple[str, ...]:
    measures = "; ".join(
        f"{m.name} ({m.better} is better): {m.meaning}" for m in layout_quality.MEASURES.values()
    )
    return (
        f"Layouts of the units of {', '.join(layers)} ({chosen}) were compared in "
        f"{params.repetitions} repetitions. Each draws new clusters of images within every "
        "intersection, computes the group profiles of the units from them, and places the units "
        "with a seed of its own, so that intervals cover both the choice of images and chance "
        "within a layout.",
        f"Measures: {measures}. {layout_quality.RULE}",
    )


_SLOWER = 40.0
"""Time of a pair of units in a step of the swarm, relative to a unit of `probe_work`; measured."""
_LEAST = 400
"""Units whose pairs take as long as the calls of a step."""
_SWARM_STEPS = 1000
_PLACED, _JUDGED = 100, 100
"""Steps of the swarm that take as long as placing units otherwise, and as judging a layout."""


def _work(params: Params, workload: Workload) -> float:
    """Placing, refining and judging every layout in every repetition."""
    steps = 0
    for layout, _ in params.placements:
        steps += _SWARM_STEPS if layout.kind == _SWARM else _PLACED
        steps += sum(_JUDGED + count for count in params.refinements(layout))
    pairs = sum(n_units**2 + _LEAST**2 for n_units in widest(workload, params.layers))
    return _SLOWER * params.repetitions * steps * pairs


PLUGIN = Analysis(
    title="Comparison of layouts",
    params_type=Params,
    question="maps",
    run=layout_comparison,
    problems=lambda params, faces, layers: (
        *unknown_layers(params.layers, layers),
        *(too_few_images(params, faces) if params.layers is None else ()),
    ),
    fits=_work,
)
