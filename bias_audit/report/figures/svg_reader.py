"""What matplotlib drew, read back as pieces without its groups, clipping and descriptions."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from bias_audit.report.figures.style import BASELINE, COLOURS, CONTROL, INK, MUTED, RULE

_SVG: Final = "{http://www.w3.org/2000/svg}"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_WHITE: Final = "#ffffff"
_DECIMAL: Final = re.compile(r"-?\d+\.?\d*")
_FLAT: Final = 256
"""Up to so many colours a picture is areas with edges, which must not be smeared."""
_QUALITY: Final = 64

_MOST_DOTS: Final = 1_200_000
"""Of a picture of many small maps, which is smooth: no eye sees more on a screen."""


@dataclass(frozen=True)
class _Piece:
    """An element, apart from the attributes it may share with its neighbours."""

    shared: str
    name: str
    own: str
    content: str = ""


@dataclass
class Drawing:
    """What was read of a figure so far."""

    prefix: str
    """Begins its identifiers."""
    pieces: list[_Piece] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    markers: dict[str, str] = field(default_factory=dict)
    """What `use` elements repeat, by matplotlib's name."""
    _names: dict[str, str] = field(default_factory=dict)

    def named(self, old: str) -> str:
        """A short identifier for each one that matplotlib made."""
        return self._names.setdefault(old, f"{self.prefix}-{len(self._names)}")

    def read(self, node: ET.Element) -> None:
        """Take what a node and those below it draw."""
        name = node.tag.removeprefix(_SVG)
        if name == "g":
            start = len(self.pieces)
            for child in node:
                self.read(child)
            if node.get("id", "").startswith("matplotlib.axis"):
                self.pieces[start:] = _alike_together(self.pieces[start:])
        elif name == "defs":
            for child in node:
                _define(child, self)
        elif name in _READERS:
            piece = _READERS[name](node, self)
            self.pieces += [] if piece is None else [piece]

    def written(self) -> str:
        """Its pieces as SVG; neighbours that look alike say so once."""
        said = []
        for shared, run in itertools.groupby(self.pieces, key=lambda piece: piece.shared):
            members = list(_joined(run))
            if len(members) == 1:
                one = members[0]
                said.append(element(one.name, shared, one.own, content=one.content))
            else:
                inside = (element(each.name, each.own, content=each.content) for each in members)
                said.append(element("g", shared, content="".join(inside)))
        return "".join(said)


def _alike_together(pieces: list[_Piece]) -> list[_Piece]:
    """Grid lines, ticks and labels of an axis do not overlap, so each kind can stand together."""
    order = list(dict.fromkeys(piece.shared for piece in pieces))
    return sorted(pieces, key=lambda piece: order.index(piece.shared))


def _joined(run: Iterator[_Piece]) -> Iterator[_Piece]:
    """Lines and markers one after another, as one path."""
    for (name, shared), members in itertools.groupby(run, key=lambda p: (p.name, p.shared)):
        if name == "path" and "opacity" not in shared:
            data = "".join(piece.own.removeprefix('d="').removesuffix('"') for piece in members)
            yield _Piece(shared, "path", f'd="{data}"')
        else:
            yield from members


def _define(node: ET.Element, drawing: Drawing) -> None:
    name = node.tag.removeprefix(_SVG)
    if name == "path":
        drawing.markers[node.attrib["id"]] = node.attrib["d"]
    elif name == "pattern":
        inner = Drawing(drawing.prefix)
        for child in node:
            inner.read(child)
        keys = ("patternUnits", "x", "y", "width", "height")
        places = " ".join(f'{key}="{node.attrib[key]}"' for key in keys)
        told = f'id="{drawing.named(node.attrib["id"])}" {places}'
        drawing.definitions.append(element("pattern", told, content=inner.written()))


def _path(node: ET.Element, drawing: Drawing) -> _Piece | None:
    style = declarations(node.get("style", ""))
    is_ground = style.get("fill", "").lower() == _WHITE and "stroke" not in style
    if is_ground or not re.search(r"[LCQz]", node.get("d", "")):
        return None
    return _Piece(_style(style, drawing), "path", _d(node))


def _rect(node: ET.Element, _drawing: Drawing) -> _Piece:
    """The ground of a pattern."""
    places = " ".join(f'{key}="{node.attrib[key]}"' for key in ("x", "y", "width", "height"))
    return _Piece(attributes({"fill": node.attrib["fill"]}), "rect", places)


def _use(node: ET.Element, drawing: Drawing) -> _Piece:
    """A marker at a place: written out, which is shorter than naming it."""
    marker = drawing.markers[node.attrib[_LINK].removeprefix("#")]
    style = declarations(node.get("style", ""))
    x, y = (float(node.attrib[key]) for key in ("x", "y"))
    return _Piece(_style(style, drawing), "path", f'd="{marker_data(marker, x, y)}"')


def _text(node: ET.Element, _drawing: Drawing) -> _Piece:
    """Placed by x and y, or by a translation; turned after that."""
    style = declarations(node.get("style", ""))
    if style.get("text-anchor") == "start":
        del style["text-anchor"]
    numbers = [float(found) for found in _DECIMAL.findall(node.get("transform", ""))]
    if "x" in node.attrib:
        (x, y), turns = (float(node.attrib["x"]), float(node.attrib["y"])), numbers
    else:
        (x, y), turns = (numbers[0], numbers[1]), numbers[2:]
    at = f'x="{number(x)}" y="{number(y)}"'
    if turns and turns[0]:
        at += f' transform="rotate({number(turns[0])} {number(x)} {number(y)})"'
    return _Piece(attributes(style, is_text=True), "text", at, text_of(node.text or ""))


def _image(node: ET.Element, _drawing: Drawing) -> _Piece:
    keys = [key for key in ("x", "y", "width", "height") if key in node.attrib]
    places = [f'{key}="{number(float(node.attrib[key]))}"' for key in keys]
    turn = re.sub(r"-?\d+\.\d+", lambda x: number(float(x[0]), 3), node.get("transform", ""))
    places += [f'transform="{turn}"'] if turn else []
    picture = small_picture(node.attrib[_LINK])
    return _Piece("", "image", f'{" ".join(places)} preserveAspectRatio="none" href="{picture}"')


_READERS: Final[dict[str, Callable[[ET.Element, Drawing], _Piece | None]]] = {
    "path": _path,
    "rect": _rect,
    "use": _use,
    "text": _text,
    "image": _image,
}


def _style(style: dict[str, str], drawing: Drawing) -> str:
    filling = style.get("fill")
    pattern = re.fullmatch(r"url\(#(.+)\)", filling or "")
    if pattern:
        return attributes(style | {"fill": f"url(#{drawing.named(pattern[1])})"})
    if style.get("fill-opacity") == "0":
        hollow = ("fill", "fill-opacity")
        return attributes({key: value for key, value in style.items() if key not in hollow})
    if filling == "none":
        return attributes({key: value for key, value in style.items() if key != "fill"})
    return attributes(style if filling or "stroke" in style else style | {"fill": "#000000"})


def _d(node: ET.Element, digits: int = 1) -> str:
    return f'd="{path_data(node.attrib["d"], digits)}"'


def small_picture(uri: str) -> str:
    """A PNG `data:` URI as WebP: exact for few colours, else with a loss no reader sees.

    The bytes depend on the picture and the WebP library alone.
    """
    drawn = base64.b64decode(uri.partition(",")[2])
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        opaque = image.getchannel("A").getextrema()[0] == 255 if image.mode == "RGBA" else True  # noqa: PLR2004
        picture = image.convert("RGB" if opaque else "RGBA")
        if picture.width * picture.height > _MOST_DOTS:
            share = (_MOST_DOTS / (picture.width * picture.height)) ** 0.5
            size = round(share * picture.width), round(share * picture.height)
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        if picture.getcolors(_FLAT) is not None:
            picture.save(buffer, format="webp", lossless=True, quality=100, method=4)
        else:
            picture.save(buffer, format="webp", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
