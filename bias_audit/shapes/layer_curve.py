"""A metric of every target at every layer, against its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal, Protocol, TypeVar

from pydantic import BaseModel

from bias_audit.shapes.printed import (
    chance_of,
    counted,
    decimal,
    guess,
    interval,
    interval_note,
    sample,
    sample_heading,
    sentence,
    signed_interval,
)
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import BlockText, Shown, Table, has, measured, table, words
from bias_audit.statistics.estimate import Estimate, allowing_for_choice

GUESSING: Final = "guessing"
"""What `CurvePoint.strongest` says where no control does better."""
MEASURED: Final = "estimate"
"""The series of a point itself, in the table."""


class ControlPoint(Frozen):
    """One control of one point: the same procedure on something that is not the layer."""

    name: str
    """Such as "shuffled labels", "random weights", "pixels"."""
    estimate: Estimate
    lift: Estimate
    """The point's estimate minus this one, paired."""


class CurvePoint(Frozen):
    """One layer of one target."""

    layer: str
    estimate: Estimate | None
    """None where it could not be measured; `Curve.not_measured` says why."""
    controls: tuple[ControlPoint, ...] = ()
    lift: Estimate | None = None
    """Estimate minus the strongest control, or minus guessing where no control does better."""
    strongest: str | None = None
    """Name of the control that `lift` is over; "guessing" where none does better."""
    p_value: float | None = None
    """That the estimate exceeds every control and guessing by chance, unadjusted."""
    adjusted_p: float | None = None
    """Adjusted for all layers and targets of the family."""


class RefitNoise(Frozen):
    """How much estimates move when the same probes are fitted again."""

    sd: float
    """Standard deviation over fits with different folds of the same images, pooled over layers."""
    relative: float | None = None
    """The same as a share of the estimates' standard error, pooled alike; None where `sd` is over
    other images to train on and to predict, and so contains that error."""
    refits: int
    """Fits of each layer beyond the one that is reported."""
    layers: int


class Curve(Frozen):
    """One target over the layers, in order of depth."""

    target: str
    """An attribute's name, or "intersection"."""
    points: tuple[CurvePoint, ...]
    not_measured: str | None = None
    """Why no point has an estimate."""
    noise: RefitNoise | None = None
    """None where nothing was fitted again."""
    is_conditional: bool = False
    """Whether a claim is left only if no two similar images show one person."""
    choice: float | None = None
    """Share of the error rate that is left to the interval of a layer chosen by its estimate; None
    where an earlier release made the curve, for one share for each layer."""
    lift_choice: float | None = None
    """The same of the lift there: lifts of different layers are less alike than estimates."""


class LayerCurve(Block):
    """A metric of every target at every layer, against its controls."""

    block: Literal["layer_curve"] = "layer_curve"
    title: str
    quantity: str
    """What criteria call it: "macro_auc", "balanced_accuracy", "bits"."""
    metric: str
    """Name for an axis, such as "macro one-vs-rest AUC"."""
    chance: dict[str, float]
    """Value by target that guessing gives."""
    curves: tuple[Curve, ...]


class _Point(Protocol):
    """What has an estimate and a lift."""

    @property
    def estimate(self) -> Estimate | None: ...
    @property
    def lift(self) -> Estimate | None: ...


P = TypeVar("P", bound=_Point)


def highest(points: Sequence[P], choice: float | None, lift_choice: float | None) -> P | None:
    """The point with the highest estimate, the first of equals; None where nothing is measured.

    Its intervals allow for the choice: they hold for all layers at once.

    Args:
        points: Of one curve.
        choice: See `Curve.choice`.
        lift_choice: See `Curve.lift_choice`.
    """
    known = [(each.estimate.value, each) for each in points if each.estimate is not None]
    if not known:
        return None
    best = max(known, key=lambda entry: entry[0])[1]
    if len(known) == 1:
        return best
    shares = {"estimate": choice, "lift": lift_choice}
    chosen = {
        name: allowing_for_choice(found, 1 / len(known) if share is None else share)
        for name, share in shares.items()
        if (found := getattr(best, name)) is not None
    }
    if isinstance(best, BaseModel):
        return best.model_copy(update=chosen)
    return replace(best, **chosen)  # type: ignore[type-var]


def best_point(curve: Curve) -> CurvePoint | None:
    """The highest point of a curve; see `highest`."""
    return highest(curve.points, curve.choice, curve.lift_choice)


def strongest_control(point: CurvePoint) -> ControlPoint | None:
    """The control that the lift is over; None where that is guessing, or there is none."""
    return next((c for c in point.controls if c.name == point.strongest), None)


def baseline(over: str | None, control: Estimate | None, chance: float | None) -> str:
    """What a lift is over, with its own value: a control, or guessing.

    Args:
        over: Its name; None where there is no lift.
        control: The control's value; None for guessing.
        chance: What guessing gives.
    """
    if control is not None:
        return f"{over}\n{interval(control)}"
    if over == GUESSING and chance is not None:
        return f"{GUESSING}\nchance {guess(chance)}"
    return over or "no baseline"


def control_names(block: LayerCurve) -> tuple[str, ...]:
    """Names of all controls, in the order in which they first come."""
    points = (point for curve in block.curves for point in curve.points)
    return tuple(dict.fromkeys(c.name for point in points for c in point.controls))


def _rows(block: LayerCurve) -> Iterator[Row]:
    """Every target and layer, each followed by its controls."""
    for curve in block.curves:
        if not curve.points:
            yield {
                "quantity": block.quantity,
                "metric": block.metric,
                "target": curve.target,
                "series": MEASURED,
                "layer": None,
                "reason": curve.not_measured or "no layer was measured",
            }
        for point in curve.points:
            at = {"target": curve.target, "layer": point.layer}
            at = {"quantity": block.quantity, "metric": block.metric, **at}
            yield at | {
                "series": MEASURED,
                "estimate": point.estimate,
                "lift": point.lift,
                "over": point.strongest,
                "control": control.estimate if (control := strongest_control(point)) else None,
                "chance": block.chance.get(curve.target),
                "p": point.p_value,
                "adjusted_p": point.adjusted_p,
                "refit_sd": curve.noise.sd if curve.noise else None,
                "refit_share": curve.noise.relative if curve.noise else None,
                "is_conditional": "yes" if curve.is_conditional else None,
                "choice": curve.choice,
                "lift_choice": curve.lift_choice,
                "reason": None if point.estimate else curve.not_measured or "not measured",
            }
            for c in point.controls:
                yield at | {
                    "series": c.name,
                    "estimate": c.estimate,
                    "lift": c.lift,
                    "over": c.name,
                }


def _text(block: LayerCurve) -> BlockText:
    """Say where each target is highest, and list every layer and every control."""
    found = [(curve, best) for curve in block.curves if (best := best_point(curve)) is not None]
    curves = [curve for curve, _ in found]
    estimates = [p.estimate for curve in curves for p in curve.points if p.estimate is not None]
    missing = tuple(
        f"{curve.target}: not measured ({curve.not_measured or 'no layer has an estimate'})."
        for curve in block.curves
        if curve not in curves
    )
    names = control_names(block)
    controls = (
        f" Grey: the same procedure on baselines ({', '.join(names)}), named beside their last "
        "point; their intervals are in the tables."
        if names
        else " No baseline was measured."
    )
    return BlockText(
        alt=_alt(block, found) if found else None,
        caption=sentence(
            f"{block.metric} at every layer. Filled marks: labels as annotated; band, or bar at a "
            f"single layer: the interval.{controls} Dotted: chance."
        ),
        notes=(*missing, *interval_note(estimates), *_noise_note(curves)),
        tables=(*_points_table(block, found), *_controls_table(block, found)),
    )


def _noise_note(curves: Sequence[Curve]) -> tuple[str, ...]:
    """How much values move by refitting alone; nothing where that was not measured."""
    known = [(curve.target, curve.noise) for curve in curves if curve.noise is not None]
    if not known:
        return ()
    listed = ", ".join(f"{target} {decimal(noise.sd, 4)}" for target, noise in known)
    times = counted(known[0][1].refits, "refit")
    if known[0][1].relative is None:
        return (
            "Standard deviation of a value when images are split again, and probes trained again "
            f"({times} of every layer, pooled over layers): {listed}.",
        )
    return (
        f"Standard deviation of a value when the same probes are fitted to other folds ({times} "
        f"of every layer, pooled over layers): {listed}. A smaller difference from another audit "
        "of the same images says nothing.",
    )


def _alt(block: LayerCurve, found: Sequence[tuple[Curve, CurvePoint]]) -> str:
    n_layers = max(len(curve.points) for curve, _ in found)
    parts = [f"Line chart of {block.metric} over {n_layers} layers."]
    for curve, best in found:
        last, chance = curve.points[-1], block.chance.get(curve.target)
        parts.append(
            f"{curve.target}: highest {interval(best.estimate)} at {best.layer}"
            + "".join(f", {c.name} there {interval(c.estimate)}" for c in best.controls)
            + ("" if chance is None else f", chance {guess(chance)}")
            + f"; at the last layer, {last.layer}, {interval(last.estimate)}."
        )
    return " ".join(parts)


def _points_table(block: LayerCurve, found: Sequence[tuple[Curve, CurvePoint]]) -> Iterator[Table]:
    def of_measured(form: Callable[[Row], str], otherwise: str = "") -> Callable[[Row], str]:
        return lambda row: otherwise if row["estimate"] is None else form(row)

    curves = tuple(curve for curve, _ in found)
    rows = [*_points(block.model_copy(update={"curves": curves}))]
    highest = [
        row
        for curve, best in found
        for row in _points(
            block.model_copy(update={"curves": (curve.model_copy(update={"points": (best,)}),)})
        )
    ]
    is_compared = has(rows, "lift")
    lift = of_measured(lambda row: signed_interval(row["lift"]))
    adjusted = of_measured(lambda row: chance_of(row["adjusted_p"]))
    over = of_measured(lambda row: baseline(row["over"], row["control"], row["chance"]))
    known = [(row["estimate"].n, row["estimate"]) for row in rows if row["estimate"]]
    n = of_measured(lambda row: sample(row["estimate"].n, row["estimate"]), "0")
    if rows:
        against = ", against the strongest baseline" if is_compared else ""
        yield table(
            sentence(f"{block.metric} by attribute and layer{against}"),
            rows,
            (
                words("attribute", "target"),
                words("layer", "layer"),
                Shown(_heading(block.metric), lambda row: interval(row["estimate"])),
                *((Shown("strongest baseline", over),) if is_compared else ()),
                *((Shown("lift over it", lift),) if is_compared else ()),
                *((Shown("adjusted p", adjusted),) if has(rows, "adjusted_p") else ()),
                Shown(sample_heading("n", known), n),
            ),
            excerpt=highest,
            note="The best layer of each attribute.",
            n_headers=2,
        )


def _points(block: LayerCurve) -> Iterator[Row]:
    """The rows of the layers themselves, without controls."""
    return (row for row in _rows(block) if row["series"] == MEASURED)


def _heading(metric: str) -> str:
    """With what is in parentheses on a line of its own: a wide heading squeezes other columns."""
    return metric.replace(" (", "\n(", 1)


def _controls_table(
    block: LayerCurve, found: Sequence[tuple[Curve, CurvePoint]]
) -> Iterator[Table]:
    """Every control of every target, at the layer with the target's highest value."""
    rows = [
        {"target": curve.target, "layer": best.layer, "name": c.name, "estimate": c.estimate}
        | {"lift": c.lift}
        for curve, best in found
        for c in best.controls
    ]
    if rows:
        yield table(
            sentence(f"all baselines of {block.metric}, at the best layer of each attribute"),
            rows,
            (
                words("attribute", "target"),
                words("layer", "layer"),
                words("baseline", "name"),
                measured(_heading(f"{block.metric} of the baseline")),
                measured("lift over it", "lift", signed_interval),
            ),
            n_headers=3,
            is_detail=True,
        )


_COLUMNS: Final = (
    "quantity", "metric", "target", "layer", "series", "estimate", "lift", "over", "control",
    "chance", "p", "adjusted_p", "refit_sd", "refit_share", "is_conditional", "choice",
    "lift_choice", "reason",
)  # fmt: skip
SHAPE = Shape(
    LayerCurve,
    place=20,
    table="layer_curves",
    about="a quantity of one attribute at one layer, or of one of its baselines (see series)",
    columns=_COLUMNS,
    rows=_rows,
    text=_text,
    most_printed=3,
)
