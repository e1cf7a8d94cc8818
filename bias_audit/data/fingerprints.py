"""What is kept of an image to find it again: digests, perceptual hashes, a thumbnail."""

from __future__ import annotations

import hashlib

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bias_audit.data.faces import ImageReference
from bias_audit.data.images import UnusableImageError, decode_first, read_bytes

Records = npt.NDArray[np.void]
SIDE = 32
"""Of the grey thumbnail."""
DTYPE = np.dtype(
    [
        ("key", "S32"),
        ("sha256", "S64"),
        ("pixels", "S64"),
        ("hash", "<u8", 4),
        ("mirrored", "<u8", 4),
        ("thumbnail", "u1", (SIDE, SIDE)),
        ("n_frames", "<i4"),
        ("white", "<i8"),
        ("is_white_stated", "?"),
        ("reason", "S24"),
        ("detail", "S240"),
    ]
)
"""One image: `sha256` of its bytes, `pixels` the SHA-256 of its size and decoded pixels, `hash`
its 256-bit perceptual hash, `mirrored` that of its mirror image, `white` the value of white where
the image is deeper than 8 bits (else 0), `reason` why it cannot be used.
`n_frames` or `reason` is written last: a record with neither frames nor a reason is not done."""
_HASH_SIDE = 16
_REDUCED = 4 * _HASH_SIDE


def fingerprint(reference: ImageReference, record: np.void) -> None:
    """Open one image and fill its record; an unusable one gets a reason instead."""
    try:
        data = read_bytes(reference)
        record["sha256"] = hashlib.sha256(data).hexdigest().encode()
        decoded = decode_first(data)
    except UnusableImageError as error:
        record["detail"] = error.detail.encode()[: DTYPE["detail"].itemsize]
        record["reason"] = error.reason.encode()
        return
    image = decoded.image
    size = f"{image.width}x{image.height}:".encode()
    record["pixels"] = hashlib.sha256(size + image.tobytes()).hexdigest().encode()
    grey = image.convert("L")
    reduced = grey.resize((_REDUCED, _REDUCED), Image.Resampling.LANCZOS)
    record["hash"] = perceptual_hash(reduced)
    record["mirrored"] = perceptual_hash(ImageOps.mirror(reduced))
    record["thumbnail"] = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    record["white"], record["is_white_stated"] = decoded.white, decoded.is_white_stated
    record["n_frames"] = decoded.n_frames


def perceptual_hash(image: Image.Image) -> npt.NDArray[np.uint64]:
    """256-bit DCT hash (`imagehash.phash` with `hash_size=16`) as four words, shape (4,)."""
    bits = np.asarray(imagehash.phash(image, hash_size=_HASH_SIDE).hash, dtype=bool)
    return np.packbits(bits.ravel()).view(np.uint64)
