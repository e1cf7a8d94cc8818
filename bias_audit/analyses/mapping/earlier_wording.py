"""What is said of maps that lie beside those of an earlier audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bias_audit.analyses.mapping.earlier import EarlierMaps
from bias_audit.results.blocks import EarlierMap, UnitMap

_NAMED = 5
_SAME_PLACE = 0.005
"""In sides of a map: below, a unit is drawn in the same cell of the raster."""


def earlier_method(
    maps: Sequence[UnitMap],
    places: Literal["own", "earlier"],
    colours: Literal["earlier", "own"],
) -> tuple[str, ...]:
    """How layouts were laid beside those of an earlier audit; nothing where none was."""
    told = [block.earlier for block in maps if block.earlier]
    if not told:
        return ()
    first = told[0]
    scale = (
        "Colours end where they end in the earlier audit."
        if colours == "earlier"
        else "Colours end where these maps need it, not where they end in the earlier audit."
    )
    return (
        f"Maps are to be compared with those of the earlier audit {first.run} (begun "
        f"{first.started}, backbone {first.backbone}). {_placed(first, places)} {scale}",
    )


def _placed(first: EarlierMap, places: Literal["own", "earlier"]) -> str:
    turned = (
        "turned, and mirrored where that fits better, so that its units lie as near as can be to "
        "where the same units lie there (orthogonal Procrustes, Schoenemann 1966)"
    )
    chance = f"with its units shuffled ({first.draws} draws, p at most {first.alpha:.2g})"
    if places == "own":
        return (
            f"Each layout was {turned}; nothing else of it changes. A layout is turned only if it "
            f"fits better than {chance}."
        )
    return (
        "Every unit is drawn where it was drawn there. Whether units of the two audits respond "
        f"alike is told by a layout of this audit's own, {turned}; it matches if it fits better "
        f"than {chance}."
    )


def earlier_limits(maps: Sequence[UnitMap], earlier: EarlierMaps | None) -> tuple[str, ...]:
    """What a reader must not conclude from two reports side by side."""
    if earlier is None:
        return ()
    told = [(block.layer, block.earlier) for block in maps if block.earlier]
    sentences = [said for layer, beside in told if (said := _fit_told(layer, beside))]
    drawn = dict.fromkeys(block.layer for block in maps)
    if missing := [layer for layer in drawn if layer not in earlier.layers]:
        sentences.append(
            f"The earlier audit {earlier.run} has no maps of {', '.join(missing)}; those of this "
            "audit lie as they came."
        )
    for layer in drawn:
        if layer in earlier.layers and (said := _other_groups(maps, earlier, layer)):
            sentences.append(said)
    return tuple(sentences)


def _fit_told(layer: str, beside: EarlierMap) -> str | None:
    if not beside.is_match:
        if beside.places == "taken":
            return (
                f"Units of {layer} lie where the earlier audit {beside.run} has them, but a "
                f"layout of their own does not match that one (p {beside.p_value:.3g} with units "
                "shuffled): places mean nothing for how these units respond."
            )
        return (
            f"The layout of {layer} does not match that of the earlier audit {beside.run} (p "
            f"{beside.p_value:.3g} with units shuffled): the same place in both reports does not "
            "mean the same units, and only colours of one report can be compared by place."
        )
    if beside.places == "taken" or beside.shift < _SAME_PLACE:
        return None
    return (
        f"In {layer} the two layouts are not the same: once turned, half of the units lie more "
        f"than {100 * beside.shift:.0f} % of a map's side away from where the earlier audit "
        f"{beside.run} has them, so that a patch may move without any unit responding "
        "otherwise. Compare values unit by unit in the files of figure data, or draw this audit "
        "on the earlier places (places: earlier)."
    )


def _other_groups(maps: Sequence[UnitMap], earlier: EarlierMaps, layer: str) -> str | None:
    """Groups that only one of both audits has images of."""
    here = {
        group
        for block in maps
        if block.layer == layer
        for group, n in zip(block.groups, block.counts, strict=True)
        if n
    }
    there = earlier.layers[layer].groups
    parts = []
    for own, other, where in ((here, there, "this"), (there, here, "the earlier")):
        only = sorted(group.label for group in own - other)
        if only:
            more = f" and {len(only) - _NAMED} more" if len(only) > _NAMED else ""
            parts.append(f"only {where} audit maps {'; '.join(only[:_NAMED])}{more}")
    if not parts:
        return None
    return (
        f"The two audits do not map the same groups of {layer}: {', and '.join(parts)}. Every map "
        "shows a group less the mean over the groups of its own audit, so that colours of one "
        "group are shifted between the reports."
    )
