"""Mutated configs: whatever is wrong with one, it loads or says so in plain words."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import yaml

from bias_audit.audit.plan import make_plan
from bias_audit.config.load import load_config, load_zoo
from bias_audit.errors import ConfigError
from tests.config.wordings import INTERNALS

SHIPPED: Final = Path(__file__).resolve().parents[2] / "audit_configs"
_ODD: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 3, 10**30, 1e308, float("nan"), float("inf"), "", " ", "x", "~", "~x/y"),
    *("\u202e", "e\u0301", "\U0001f600", "\ufeff", "a\nb", "'", '"', "{}", "\\", "%s", "../.."),
    *("*", "[red]", "x" * 5000, [], {}, [[]], [{}], {"": 1}, {"kind": "x"}, b"\x00\xff", "every"),
    "1e400",
)
_LINES: Final = (
    *("&a [*a]", "*a", "!!python/name:os.system x", "!!bool x", "!!int x", "!!timestamp x"),
    *("!!binary é", "!!set {a, b}", "!!omap [a: 1]", "<<: {a: 1}", "? [a]\n: 1", "2024-13-45"),
    *("0x" + "f" * 4000, "9" * 5000, "'\x07'", '"\\0"', '"\\ud800"', "%YAML 9.9", "---", "..."),
    *("\t", "[" * 60, "{a: " * 60, "|\n", "!x y", "@", "`", "190:20:30", ".inf", "-.nan", "1_0"),
    "0b2",
)
_BYTES: Final = (
    *(b"\xff", b"\x00", b"\xc3", b"\r", b"\xef\xbb\xbf", b"\xe2\x80\xae"),
    *(b":", b"&", b"-"),
)


def one(rng: random.Random, folder: Path) -> None:
    """Mutate one of the shipped configs, load it, and plan it where it loads.

    Raises:
        AssertionError: A message holds a word of a library.
        Exception: Anything but a `ConfigError`: a defect.
    """
    source = rng.choice(sorted(SHIPPED.glob("*.yaml")))
    path = folder / "config.yaml"
    raw = source.read_bytes()
    for _ in range(rng.choice((1, 1, 2, 4))):
        raw = rng.choice(_MUTATIONS)(rng, raw)
    path.write_bytes(raw)
    try:
        _load(path, _overrides(rng), is_zoo=rng.random() < 0.1 or "zoo" in source.name)
    except ConfigError as error:
        for problem in error.problems:
            assert not INTERNALS.search(_without_values(problem)), problem
            assert len(problem) < 1000, problem


def _load(path: Path, overrides: list[str], *, is_zoo: bool) -> None:
    if is_zoo:
        load_zoo(path, overrides)
    else:
        make_plan(load_config(path, overrides))


def _without_values(problem: str) -> str:
    """What the config itself says may look like anything."""
    return problem.split("got ", maxsplit=1)[0].split("unknown ", maxsplit=1)[0]


def _overrides(rng: random.Random) -> list[str]:
    keys = ("seed", "data.kind", "backbones.0.layers", "output", "analyses.9", "x.y.z", "criteria")
    values = (*_LINES, *(repr(value) for value in _ODD))
    count = rng.choice((0, 0, 0, 1, 2))
    return [f"{rng.choice(keys)}={rng.choice(values)}"[:9000] for _ in range(count)]


def _bytes(rng: random.Random, raw: bytes) -> bytes:
    place = rng.randrange(len(raw) + 1)
    return raw[:place] + rng.choice(_BYTES) + raw[place + rng.choice((0, 0, 1, 20)) :]


def _line(rng: random.Random, raw: bytes) -> bytes:
    lines = raw.split(b"\n")
    place = rng.randrange(len(lines))
    key = lines[place].partition(b":")[0]
    odd = rng.choice(_LINES).encode("utf-8", "surrogatepass")
    lines[place] = rng.choice((key + b": " + odd, odd, lines[place] + odd, lines[place] * 2, b""))
    if rng.random() < 0.2:
        rng.shuffle(lines)
    return b"\n".join(lines)


def _tree(rng: random.Random, raw: bytes) -> bytes:
    try:
        data = yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return raw  # it is broken already
    if not isinstance(data, dict):
        return raw
    data.setdefault("criteria", [{"name": "a", "quantity": "recall", "target": "age"}])
    data.setdefault("declarations", {"scenarios": [{"criteria": ["a"]}]})
    for _ in range(rng.choice((1, 2, 5))):
        _change(rng, data)
    try:
        return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, RecursionError, ValueError):
        return raw


def _change(rng: random.Random, data: Any) -> None:
    """Change a random part of a tree in place."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        if not keys:
            return
        key = rng.choice(keys)
        if not isinstance(data[key], dict | list) or rng.random() < 0.3:
            break
        data = data[key]
    what = rng.randrange(4)
    if what == 0:
        data[key] = rng.choice(_ODD)
    elif what == 1:
        del data[key]
    elif isinstance(data, list):
        data.append(data[key])
    else:
        renamed = rng.choice((f"{key}s", str(key).upper(), f"{key} ", rng.choice("éxß\n*")))
        data[renamed] = data.pop(key) if what == 2 else rng.choice(_ODD)


_MUTATIONS: Final = (_bytes, _line, _tree, _tree, _tree)
