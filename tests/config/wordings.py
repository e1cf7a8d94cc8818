"""What no message about a config may hold, and where it must begin."""

from __future__ import annotations

import re
from typing import Any, Final

INTERNALS: Final = re.compile(
    r"tuple\[|literal\[|list\[|dict\[|function-|pydantic|Input should|(?<!not )\bvalid |"
    r"instance of|<block|<scalar|token|"
    r"Value error|Assertion failed|type=|\burl\b|\bdict\b|\bint\b|\bstr\b|\bfloat\b|\bbool\b|"
    r"NoneType|Traceback|<class|object at 0x|constrained|nullable|\{'",
    re.IGNORECASE,
)
PLACE = re.compile(r"^(?:line \d+|--set [^:]*): (?P<place>[^:]+): \S")


def is_place(place: str, data: Any) -> bool:
    """Whether a dotted name leads somewhere, or to a key that is missing there."""
    if place == "the file":
        return True
    *outer, last = place.split(".")
    for part in outer:
        if isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        elif isinstance(data, dict) and part in data:
            data = data[part]
        else:
            return False
    return isinstance(data, dict) or (isinstance(data, list) and int(last) < len(data))
