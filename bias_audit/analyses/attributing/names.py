"""Names of targets, quantities, methods and outcomes of attributions."""

from __future__ import annotations

from typing import Final, Literal

OWN: Final = "own_class"
"""Target of the backbone's own most probable class."""
QUANTITY: Final = "attribution_outside_share"
PASSES: Final = "passes"
DOES_NOT_APPLY: Final = "does not apply"
MethodName = Literal[
    "occlusion",
    "saliency",
    "input_x_gradient",
    "guided_backpropagation",
    "integrated_gradients",
    "deeplift",
]
