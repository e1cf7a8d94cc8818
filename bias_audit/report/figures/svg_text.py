"""Compact SVG elements: short numbers, colours as classes of the page's style sheet."""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from bias_audit.report.figures.style import BASELINE, COLOURS, CONTROL, INK, MUTED, RULE

_NUMBER: Final = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
_CLASSES: Final = {
    **{colour: f"c{number}" for number, colour in enumerate(COLOURS)},
    INK: "ink",
    MUTED: "soft",
    CONTROL: "ctl",
    BASELINE: "base",
    RULE: "rule",
    "#9aa0a9": "axis",
    "#c3c8cf": "axis",
    "#aab0b9": "axis",
    "#ffffff": "paper",
    "#eceef1": "shade",
    "#f1f2f4": "shade",
}
"""Colours that follow the reader's theme; all others mean the same in light and dark."""
_DEFAULTS: Final = {
    "stroke-linecap": {"butt", "square"},
    "stroke-linejoin": {"round", "miter"},
    "stroke-dashoffset": {"0"},
    "font-family": None,
    "stroke-miterlimit": None,
}
"""Declarations that change nothing one sees here."""


def number(value: float, digits: int = 1) -> str:
    """Such as "12.5" or "-.5", without what a reader of SVG does not need."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    if text in {"-0", ""}:
        return "0"
    return re.sub(r"^(-?)0\.", r"\1.", text)


def path_data(data: str, digits: int = 1) -> str:
    """The `d` of a path with rounded coordinates, its lines written as steps."""
    tokens = data.split()
    if set("".join(tokens)) & set("CQ"):
        return _rounded(data, digits)
    return _stepwise(tokens, digits)


def marker_data(data: str, x: float, y: float) -> str:
    """The `d` of a marker moved to a place; of the curved ones, matplotlib draws circles alone."""
    tokens = data.split()
    if "C" in tokens:
        radius = max(abs(float(token)) for token in tokens if token not in {"M", "C", "z"})
        r, across = number(radius, 2), number(2 * radius, 2)
        start = f"M{number(x - radius)} {number(y)}"
        return f"{start}a{r} {r} 0 1 0 {across} 0a{r} {r} 0 1 0-{across} 0"
    words = iter(tokens)
    moved = []
    for word in words:
        moved.append(word)
        if word != "z":
            moved += [str(float(next(words)) + x), str(float(next(words)) + y)]
    return _stepwise(moved, 1)


def _stepwise(tokens: list[str], digits: int) -> str:
    """Lines alone: each end from the one before, so that rounding does not add up."""
    said, here, words = [], (0, 0), iter(tokens)
    for word in words:
        if word == "z":
            said.append("z")
            continue
        x, y = (round(float(next(words)) * 10**digits) for _ in range(2))
        step = (x, y) if word == "M" else (x - here[0], y - here[1])
        here = (x, y)
        if word == "L" and step == (0, 0):
            continue
        across, down = (number(each / 10**digits, digits) for each in step)
        if word == "M":
            said.append(f"M{across} {down}")
        elif step[0] and step[1]:
            said.append(f"l{across} {down}")
        else:
            said.append(f"h{across}" if step[0] else f"v{down}")
    return "".join(said).replace(" -", "-")


def _rounded(data: str, digits: int) -> str:
    rounded = _NUMBER.sub(lambda found: number(float(found[0]), digits), " ".join(data.split()))
    rounded = re.sub(r" ?([A-Za-z]) ?", r"\1", rounded)
    return rounded.replace(" -", "-")


def declarations(style: str) -> dict[str, str]:
    """A style attribute as names and values."""
    pairs = (entry.partition(":") for entry in style.split(";") if ":" in entry)
    return {name.strip(): value.strip() for name, _, value in pairs}


def attributes(style: dict[str, str], *, is_text: bool = False) -> str:
    """Classes for colours that follow the theme, and attributes for the rest of a style."""
    classes, others = [], []
    for name, value in style.items():
        if name in _DEFAULTS and (_DEFAULTS[name] is None or value in (_DEFAULTS[name] or ())):
            continue
        known = _CLASSES.get(value.lower())
        follows = known is not None and not (is_text and known == "paper")
        if name in {"fill", "stroke"} and follows:
            classes.append(f"{name[0]}-{known}")
        elif name == "opacity" and float(value) == 1:
            continue
        else:
            others.append(f"{name}={quoteattr(_short(name, value))}")
    told = [f'class="{" ".join(classes)}"'] if classes else []
    return " ".join([*told, *others])


def _short(name: str, value: str) -> str:
    if name in {"stroke-width", "stroke-dasharray", "fill-opacity", "stroke-opacity", "opacity"}:
        return _NUMBER.sub(lambda found: number(float(found[0]), 2), value).replace(", ", " ")
    return value.removesuffix("px") if name == "font-size" else value


def element(name: str, told: str, *places: str, content: str = "") -> str:
    """A tag with its attributes; none is empty."""
    head = " ".join(part for part in (name, told, *places) if part)
    return f"<{head}>{content}</{name}>" if content else f"<{head}/>"


def text_of(content: str) -> str:
    """Escaped for use between tags."""
    return escape(content)
