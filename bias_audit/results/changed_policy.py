"""The policy of a comparison, with what a command says on top of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, get_args

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import Changes, FailOn
from bias_audit.errors import ConfigError

_WAYS: Final = ("higher", "lower")


def overridden(
    policy: Changes,
    *,
    fail_on: Sequence[str] = (),
    margin: float | None = None,
    better: Sequence[str] = (),
) -> Changes:
    """The policy with some of it said anew.

    Args:
        policy: As a config declares it.
        fail_on: In place of the config's, if any is given.
        margin: Of every quantity.
        better: Such as "macro_auc=lower", on top of the config's.

    Raises:
        ConfigError: A word is not known, a direction not of this form, or the margin not above 0.
    """
    changed: dict[str, Any] = {}
    problems = [
        f"--fail-on: {unknown_name(word, get_args(FailOn), noun='outcome')}"
        for word in fail_on
        if word not in get_args(FailOn)
    ]
    if fail_on:
        changed["fail_on"] = tuple(fail_on)
    if margin is not None:
        if margin <= 0:
            problems.append(f"--margin: expected a number above 0, got {margin:g}")
        told = "Given on the command line, which says no reason."
        changed |= {"margin": margin, "margins": {}, "rationale": told}
    ways = {}
    for entry in better:
        quantity, _, way = entry.partition("=")
        if not quantity or way not in _WAYS:
            problems.append(
                f"--better: expected QUANTITY=higher or QUANTITY=lower, got {entry!r}; such as "
                "--better macro_auc=lower"
            )
        ways[quantity] = way
    if problems:
        raise ConfigError(problems, source="bias-audit diff")
    if ways:
        changed["better"] = {**policy.better, **ways}
    return Changes.model_validate({**policy.model_dump(), **changed})
