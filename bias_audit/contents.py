"""What a file is, by its first bytes, where it is not what its name says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_HEAD = 1024
"""Bytes that are looked at."""


class Content(NamedTuple):
    """What a file holds in place of what was expected."""

    what: str
    """With an article: "a web page (HTML)"."""
    fix: str = ""
    """What to do about it; empty where there is no one thing."""
    is_pointer: bool = False
    """Whether the content proper is elsewhere, and has to be fetched."""

    @property
    def words(self) -> str:
        """What it is, and what to do about it."""
        return f"{self.what}: {self.fix}" if self.fix else self.what


def _pointer(what: str, command: str) -> Content:
    return Content(f"{what}, not the file itself", f"fetch it with `{command}`", is_pointer=True)


_BOM = rb"(?:\xef\xbb\xbf)?\s*"
_HEIC, _AVIF, _JPEG_XL = "a HEIC image", "an AVIF image", "a JPEG XL image"
PLUGGED = {_HEIC: "HEIF", _AVIF: "AVIF", _JPEG_XL: "JXL"}
"""Images that Pillow needs a plug-in or a further codec for, with its name of the format."""
BASE64 = Content("an image as base64 text", "decode it to a file, or to bytes in a parquet file")
DAMAGED_OR_RARE = frozenset(
    f"a {kind} image" for kind in ("JPEG", "PNG", "TIFF", "WebP", "GIF", "BMP")
)
"""Images that are read, unless they are damaged or of a rare kind."""
_IMAGE_PATH = rb"[^\0\r\n,;\t]{1,400}\.(?:jpe?g|png|webp|bmp|gif|tiff?|heic|avif)\s*\Z"
_Sign = bytes | tuple[bytes, ...]
"""A pattern whatever the case, or beginnings."""
_KINDS: tuple[tuple[_Sign, Content], ...] = (
    (
        _BOM + rb"version https?://(?:git-lfs|hawser)",
        _pointer("a Git LFS pointer", "git lfs pull"),
    ),
    (rb"(?:(?:\.\./)*\.git)?/annex/objects/", _pointer("a git-annex pointer", "git annex get")),
    (_BOM + rb"(?:outs:\s|md5: ?[0-9a-f]{32}\s)", _pointer("a DVC pointer", "dvc pull")),
    (
        _BOM + rb"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)",
        Content("a web page (HTML)", "download the file itself: a login or an error page came"),
    ),
    (
        _BOM + rb"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<!doctype svg[^>]*>\s*)*<svg",
        Content("a drawing (SVG)", "save it as PNG"),
    ),
    (
        rb"....ftyp(?:avi[fs]|(?:mif1|msf1).{4,40}avif)",
        Content(_AVIF, "install a Pillow with AVIF (11.3 or later)"),
    ),
    (
        rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
        Content(_HEIC, "install the package pillow-heif"),
    ),
    (
        (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
        Content(_JPEG_XL, "install the package pillow-jxl-plugin"),
    ),
    ((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), Content("a JPEG 2000 image")),
    (rb"....ftyp(?:qt  |isom|iso\d|mp4\d|M4V )", Content("a video")),
    ((b"\xff\xd8\xff",), Content("a JPEG image")),
    ((b"\x89PNG\r\n\x1a\n",), Content("a PNG image")),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), Content("a TIFF image")),
    (rb"RIFF....WEBP", Content("a WebP image")),
    ((b"GIF8",), Content("a GIF image")),
    (rb"BM....\0\0\0\0", Content("a BMP image")),
    (rb"data:image/|(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkq|TU0A|Qk[0-9])[a-z0-9+/=\s]{40}", BASE64),
    (
        _IMAGE_PATH,
        Content(
            "a path: a link that a copy has turned into text",
            "copy the file that it leads to",
            is_pointer=True,
        ),
    ),
    ((b"%PDF",), Content("a PDF document")),
    ((b"8BPS",), Content("a Photoshop file")),
    ((b"PAR1",), Content("a parquet file")),
    ((b"ARROW1", b"\xff\xff\xff\xff"), Content("an Arrow file", "save it as parquet")),
    ((b"SQLite format 3",), Content("an SQLite database")),
    ((b"\x89HDF",), Content("an HDF5 file")),
    ((b"\x93NUMPY",), Content("a NumPy array")),
    (rb"(?-i:PK\x03\x04.*xl/)", Content("an Excel workbook", 'save it as "CSV UTF-8"')),
    (
        (b"PK\x03\x04",),
        Content("a zip archive or a spreadsheet", 'unpack it, or save it as "CSV UTF-8"'),
    ),
    (
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
        Content("an old Office document", 'save it as "CSV UTF-8"'),
    ),
    (
        (b"\x1f\x8b\x08", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"Rar!", b"7z\xbc\xaf"),
        Content("a compressed file", "unpack it"),
    ),
    ((b"GGUF",), Content("a GGUF file, whose weights are quantised")),
    (rb"....TFL3", Content("a TensorFlow Lite model")),
    (rb"\x08.{1,3}\x12?.{0,40}(?:onnx|pytorch)", Content("an ONNX graph")),
    ((b"wOFF", b"wOF2"), Content("a web font (WOFF)")),
    ((b"%!PS", b"\x80\x01"), Content("a PostScript Type 1 font")),
    (rb"\x80[\x02-\x05]", Content("a Python pickle")),
    (_BOM + rb"<\?xml", Content("an XML document", "download the file itself: an error came")),
    (_BOM + rb'[\[{]\s*["{\[\]}]', Content("JSON text")),
)


def recognise(data: bytes) -> Content | None:
    """What a file is, by its first kilobyte at least; None where that is not known."""
    head = data[:_HEAD]

    def fits(sign: _Sign) -> bool:
        if isinstance(sign, tuple):
            return head.startswith(sign)
        return re.match(sign, head, re.IGNORECASE | re.DOTALL) is not None

    return next((content for sign, content in _KINDS if fits(sign)), None)


def other_content(path: Path, *own: bytes) -> str:
    """What a file is that does not begin as its kind does, in words; empty if that is unknown."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    found = None if head.startswith(own) else recognise(head)
    return found.words if found else "" if head else "an empty file"
