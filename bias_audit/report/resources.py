"""Where templates are, and the engine that fills them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import bias_audit
from bias_audit.errors import OutputError


def template_folder() -> Path:
    """The templates: inside the package once installed, beside it in a source tree.

    Raises:
        OutputError: Neither place has them.
    """
    package = Path(bias_audit.__file__).resolve().parent
    places = (package / "templates", package.parent / "templates")
    for place in places:
        if (place / "audit.html").is_file():
            return place
    raise OutputError(
        f"expected the report's templates in {places[0]} or {places[1]}, found neither: "
        "reinstall bias-audit"
    )


def template_engine() -> Environment:
    """Jinja over the templates: everything is escaped, an undefined name is an error."""
    return Environment(
        loader=FileSystemLoader(template_folder()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
