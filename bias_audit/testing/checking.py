"""What all checks share: what a plugin declares, and its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from bias_audit.config.catalog import Catalog
from bias_audit.config.contract import problems_of_contract
from bias_audit.config.schema import Strict
from bias_audit.config.wording import dotted, problems_of

NOTHING: Final = Path("/nothing/is/here")
"""A path."""


def expect(is_so: bool, message: str) -> None:  # noqa: FBT001  as an assert statement takes it
    """Raise an `AssertionError` with the message where something is not so."""
    if not is_so:
        raise AssertionError(message)


def declared_params(plugin: Any, catalog: Catalog[Any], params: Mapping[str, Any]) -> Strict:
    """Check what the plugin declares, and give its parameters as an audit would.

    Raises:
        AssertionError: A field of the plugin is not what its class says, or the parameters are not
            valid.
    """
    problems = problems_of_contract(plugin, catalog.types)
    expect(not problems, f"the {catalog.noun} does not keep its contract: {'; '.join(problems)}")
    try:
        valid: Strict = plugin.params_type.model_validate(params)
    except ValidationError as error:
        found = problems_of(error, params, plugin.params_type)
        listed = "; ".join(f"{dotted(place)}: {message}" for place, message in found)
        raise AssertionError(
            f"expected valid parameters of {plugin.title}, got {dict(params)}: {listed}"
        ) from error
    return valid


def with_nothing_there(params: Strict) -> Iterator[tuple[str, Strict]]:
    """The parameters once for each that is a path, or several, with `NOTHING` there; its name."""
    for name, value in params:
        paths = value if isinstance(value, tuple) else (value,)
        if paths and all(isinstance(path, Path) for path in paths):
            wrong = (NOTHING, *paths[1:]) if isinstance(value, tuple) else NOTHING
            yield name, params.model_copy(update={name: wrong})
