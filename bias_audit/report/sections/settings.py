"""How images are prepared and modules changed, as a reader says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_RESIZED: Final = {
    "stretch": "the whole image, stretched or squeezed to that size",
    "crop": "the centre of the image, cropped after resizing",
}
_NAMES: Final = {"mean": "mean subtracted (RGB)", "std": "divided by (RGB)"}


def preprocessing(record: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each step; settings this release does not know are printed as they are."""
    rest = dict(record)
    lines = []
    if {"width", "height"} <= rest.keys():
        width, height = rest.pop("width"), rest.pop("height")
        lines.append(f"input: {plain(width)} x {plain(height)} pixels (width x height)")
    resize, fraction = rest.pop("resize", None), rest.pop("crop_fraction", None)
    if resize is not None:
        lines.append(f"fitted: {_RESIZED.get(str(resize), plain(resize))}")
    if resize == "crop" and fraction is not None:
        lines.append(f"crop keeps: {plain(fraction)} of the resized shorter side")
    lines += [f"{_NAMES.get(name, name.replace('_', ' '))}: {plain(rest[name])}" for name in rest]
    return tuple(lines)


def overrides(record: Mapping[str, Any]) -> tuple[str, ...]:
    """One line for each value that module attributes were set to, with the modules."""
    modules: dict[str, list[str]] = {}
    for path, value in record.items():
        module, _, attribute = path.rpartition(".")
        change = f"{attribute} set to {plain(value)}"
        modules.setdefault(change, []).append(module or "the whole backbone")
    return tuple(f"{change} in {', '.join(names)}" for change, names in modules.items())


def plain(value: object) -> str:
    """A setting's value without the marks of a programming language."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None else str(value)
