"""Configs to go wrong, and what no message about one may hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bias_audit.config.load import load_config, load_zoo
from bias_audit.errors import ConfigError

VALID: Final = """\
name: demo
data: {kind: parametric}
backbones:
  - kind: bundled
analyses:
  - kind: linear_probe
"""
AUDIT: Final[dict[str, Any]] = yaml.safe_load(VALID)
ZOO: Final[dict[str, Any]] = {
    **{key: AUDIT[key] for key in ("name", "backbones", "analyses")},
    "datasets": [{"name": "faces", "data": {"kind": "parametric"}}],
}
INTERNALS: Final = re.compile(
    r"tuple\[|literal\[|list\[|dict\[|function-|pydantic|Input should|(?<!not )\bvalid |"
    r"instance of|<block|<scalar|\btoken\b|"
    r"Value error|Assertion failed|type=|\burl\b|\bdict\b|\bint\b|\bstr\b|\bfloat\b|\bbool\b|"
    r"NoneType|Traceback|<class|object at 0x|constrained|nullable|\{'",
    re.IGNORECASE,
)
PLACE: Final = re.compile(r"^(?:line \d+|--set [^:]*): (?P<place>[^:]+): \S")


def written(folder: Path, config: str | bytes | dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    text = yaml.safe_dump(config, sort_keys=False) if isinstance(config, dict) else config
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(
    folder: Path, config: str | bytes | dict[str, Any], *overrides: str, zoo: bool = False
) -> list[str]:
    """All that is wrong with a config, which is something."""
    with pytest.raises(ConfigError) as caught:
        (load_zoo if zoo else load_config)(written(folder, config), overrides)
    return list(caught.value.problems)


def agree(found: list[str], expected: str) -> None:
    """Each line of what is expected is a place, and words about it; nothing else is found."""
    lines = expected.strip().splitlines()
    assert sorted(line.split(": ")[1] for line in found) == sorted(
        line.partition(": ")[0].strip() for line in lines
    )
    for line in lines:
        place, _, words = line.strip().partition(": ")
        assert any(f": {place}: " in each and words in each for each in found), (line, found)


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
