"""The check of layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args

import numpy as np

from bias_audit.activations.moments import Moments
from bias_audit.analyses.mapping.layout import Distance, Layout
from bias_audit.arrays import FloatArray
from bias_audit.config.catalog import LAYOUTS
from bias_audit.testing.checking import declared_params, expect


def check_layout(plugin: Layout[Any], params: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Check that a layout gives every unit a place, whatever a layer holds.

    It places forty, three, equal and silent units, and units of a single signature, for every
    distance, twice: the places are finite, shape (n_units, 2), and the same for the same random
    numbers. The signatures given stay as they are.

    Raises:
        AssertionError: Something else came.
    """
    valid = declared_params(plugin, LAYOUTS, params)
    for name, signatures in _signatures(plugin, valid):
        for distance in get_args(Distance):
            kept = signatures.copy()
            one, two = (
                plugin.place(signatures, distance, np.random.default_rng(1), valid)
                for _ in range(2)
            )
            where = f"places of {name}, {distance} distance"
            expect(np.array_equal(signatures, kept), f"{where}: the signatures were changed")
            shape = (len(signatures), 2)
            expect(
                isinstance(one, np.ndarray) and one.shape == shape,
                f"{where}: expected an array of shape {shape}, got {getattr(one, 'shape', one)!r}",
            )
            expect(bool(np.isfinite(one).all()), f"{where}: expected finite numbers, got others")
            expect(
                np.array_equal(one, two),
                f"{where}: expected the same places for the same random numbers, got others; draw "
                "from the generator that is given, and from no other",
            )


def _signatures(plugin: Layout[Any], params: Any) -> Iterator[tuple[str, FloatArray]]:
    rng = np.random.default_rng(0)
    odd = rng.standard_normal((30, 5))
    odd[3] = odd[4] = 0
    odd[10:14] = odd[9]
    yield "40 units", rng.standard_normal((40, 6))
    yield "three units", rng.standard_normal((3, 5))
    yield "units of which some are silent and some equal", odd
    yield "units with one value each", rng.standard_normal((12, 1))
    if plugin.signatures is not None:
        cells = np.arange(60) % 4
        moments = Moments.empty(4, (10, 9))
        moments.update(rng.standard_normal((60, 10, 9)).astype(np.float32), cells)
        found = plugin.signatures(moments, params)
        expect(
            isinstance(found, np.ndarray) and found.ndim == 2 and len(found) == 10,  # noqa: PLR2004
            "signatures: expected an array of shape (10, number of values) for 10 units, got "
            f"{getattr(found, 'shape', found)!r}",
        )
        yield "units by all positions", found
