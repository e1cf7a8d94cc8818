"""Compiling the loops over all pairs of units, which numpy can only do through large arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])

_OPTIONS: Final[dict[str, Any]] = {
    # Not "nnan" and "ninf": with them, a comparison with a number that is none means nothing.
    "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"},
    "error_model": "numpy",
}


def compiled(function: F) -> F:
    """Compile a loop at its first call, for one thread and in one order of summation.

    Results hence do not depend on the number of cores. Sums may be rearranged into vector
    instructions; infinities and NaN stay what they are. The machine code is kept beside the source
    or in the user's cache, and made anew in every process where neither can be written to.
    """
    try:
        made = numba.njit(function, cache=True, **_OPTIONS)
    except RuntimeError:  # numba found no place for a cache
        made = numba.njit(function, **_OPTIONS)
    return cast("F", made)
