"""Where templates are, and the engine that fills them."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import bias_audit
from bias_audit.errors import OutputError

if TYPE_CHECKING:
    from jinja2 import Environment


def template_folder() -> Path:
    """The templates: inside the package once installed, beside it in a source tree.

    Raises:
        OutputError: Neither place has them.
    """
    package = Path(bias_audit.__file__).resolve().parent
    places = (package / "templates", package.parent / "templates")
    for place in places:
        if (place / "base.html").is_file():
            return place
    raise OutputError(
        f"expected the report's templates in {places[0]} or {places[1]}, found neither: "
        "reinstall bias-audit"
    )


def template_engine() -> Environment:
    """Jinja over the templates: everything is escaped, an undefined name is an error.

    It is the same one each time, and not to be changed: it keeps what it has compiled.
    """
    return _engine(template_folder())


@functools.cache
def _engine(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    engine = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    engine.filters["source_hash"] = source_hash
    return engine


def source_hash(content: str) -> str:
    """What a Content-Security-Policy calls an inlined style or script, such as "sha256-...".

    Source: Content Security Policy Level 3, section 2.3.1 (hash-source).
    """
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
