"""Pictures inside figures, in as few bytes as their content needs."""

from __future__ import annotations

import base64
import io
from typing import Final

from PIL import Image

_FLAT: Final = 256
"""Up to so many colours a picture is areas with edges, which must not be smeared."""
_QUALITY: Final = 64
_MOST_DOTS: Final = 1_200_000
"""Of a picture of many small maps, which is smooth: no eye sees more on a screen."""


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
