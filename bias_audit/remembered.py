"""What takes seconds to find out and is the same in every process, in the user's cache folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import platformdirs

from bias_audit.errors import OutputError
from bias_audit.files import write_derived

_MOST: Final = 300
"""Facts of one kind that are kept; the oldest go first."""


def remembered(kind: str, key: str, find: Callable[[], Any]) -> Any:
    """What `find` gives, as plain JSON; found once for each key, which says all it depends on.

    Where the folder cannot be read or written, every process finds it again. None is not kept.
    """
    facts = _facts(kind)
    if key in facts:
        return facts[key]
    found = find()
    if found is not None:
        facts[key] = found
        newest = dict([*facts.items()][-_MOST:])
        with suppress(RuntimeError, OutputError):
            write_derived(_place(kind), json.dumps(newest).encode())
    return found


@cache
def _facts(kind: str) -> dict[str, Any]:
    with suppress(RuntimeError, OSError, ValueError):  # a user without a home; a damaged file
        return dict(json.loads(_place(kind).read_text(encoding="utf-8")))
    return {}


def _place(kind: str) -> Path:
    return platformdirs.user_cache_path("bias-audit") / f"{kind}.json"
