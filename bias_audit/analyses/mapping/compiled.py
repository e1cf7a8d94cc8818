"""Compiling the loops over all pairs of units, which numpy can only do through large arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a loop at its first call, for one thread and in one order of summation.

    Results hence do not depend on the number of cores. The machine code is kept beside the source
    or in the user's cache, and made anew in every process where neither can be written to.
    """
    try:
        made = numba.njit(function, cache=True, fastmath=True, error_model="numpy")
    except RuntimeError:  # numba found no place for a cache
        made = numba.njit(function, fastmath=True, error_model="numpy")
    return cast("F", made)
