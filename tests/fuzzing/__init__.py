"""Mutated inputs: whatever is wrong with one, it is read or refused in words."""

from __future__ import annotations

from tests.fuzzing import configs, manifests, weights

KINDS = {"configs": configs.one, "manifests": manifests.one, "weights": weights.one}
"""Each tries one mutation, and raises unless it is read, or refused by a declared error."""
