"""Which label errors would explain a difference between groups, in sentences."""

from __future__ import annotations

from bias_audit.data.faces import FaceTable
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import estimate
from bias_audit.statistics.label_noise import GroupContrast

METHOD = (
    "Each difference between groups is given with the label error that would explain it, if "
    "labels of the lower groups are wrong at random, in proportion to how frequent levels are "
    "there, and labels of the others are right: a share s of labels drawn at random takes the "
    "share s from the distance of an AUC to 0.5 (Menon et al. 2015). With errors in both, a "
    "smaller difference between the errors is enough."
)
LIMIT = (
    "Label errors that fall on particular images, such as on faces that are hard to read, can "
    "raise or lower an AUC by more than errors at random; neither the errors that would explain a "
    "difference nor the disagreement of annotators counts this, nor errors that annotators share."
)
EXPLAINED = "could be explained by the disagreement of annotators"


def disagreement_method(table: FaceTable) -> tuple[str, ...]:
    """How intervals of differences count the disagreement; nothing where none is declared."""
    if not table.disagreement:
        return ()
    return (
        "Intervals and tests of differences between groups allow for every label error between 0 "
        "and the disagreement of annotators, in each group by itself, as if each "
        "disagreement were an error of the label used (outer bounds, Manski 2003). A difference "
        "that these errors alone could explain is not claimed.",
    )


def explaining(contrast: GroupContrast, own: str, others: str, quantile: float) -> str:
    """The sentence about one difference.

    Args:
        contrast: The difference, not 0.
        own: Its own groups, such as "in Black".
        others: What they are compared with, such as "elsewhere".
        quantile: Half the width of its interval in standard errors.
    """
    found = contrast.explaining(quantile)
    wrong, right = (own, others) if found.is_own else (others, own)
    if found.error is None:
        text = f"No label error {wrong}, up to labels at random, would explain this difference"
    else:
        text = (
            f"A label error {_points(found.error)} higher {wrong} than {right} would explain this "
            "difference"
        )
    if found.inconclusive is None:
        return f"{text}."
    return f"{text} ({_points(found.inconclusive)} would leave it inconclusive)."


def explained_too(contrast: GroupContrast, level: float) -> str:
    """That what is conclusive without label errors is not with them; empty where it is not so."""

    def is_open(found: Estimate) -> bool:
        return found.lower <= 0 <= found.upper

    alone, allowing = estimate(contrast.observed, level=level), contrast.estimate(level)
    return f" It {EXPLAINED}." if is_open(allowing) and not is_open(alone) else ""


def _points(error: float) -> str:
    shown = f"{100 * error:.1f}"
    return "less than 0.1 points" if shown == "0.0" else f"{shown} points"
