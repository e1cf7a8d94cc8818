"""Small pictures and tables made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bias_audit.data.faces import FaceTable, ImageReference
from bias_audit.groups import Attribute

ATTRIBUTES = (Attribute("age", ("young", "old")), Attribute("gender", ("f", "m")))


def picture(seed: int, side: int = 64) -> Image.Image:
    """A random picture with coarse shades and fine structure."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    grain = rng.normal(0, 25, (side, side, 3))
    pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def table_of(
    files: Sequence[Path], codes: Sequence[tuple[int, int]] = (), **more: object
) -> FaceTable:
    """Faces of all files, of one intersection unless codes say otherwise."""
    fields: dict[str, object] = {
        "name": "test faces",
        "attributes": ATTRIBUTES,
        "references": tuple(ImageReference(file) for file in files),
        "codes": np.array(codes or [(0, 0)] * len(files), dtype=np.int64).reshape(-1, 2),
        "identities": None,
        "splits": None,
        "label_origin": "unknown",
        "licence": "none",
    }
    return FaceTable(**{**fields, **more})  # type: ignore[arg-type]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def save(name: str, data: bytes) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    return save
