"""Images that show the same photograph: exactly, or after re-encoding, mirroring, slight cropping.

Two images are near duplicates when their perceptual hashes (or that of one and the mirror image
of the other) differ in at most 50 of 256 bits, and the fine structure of their 32 x 32 grey
thumbnails correlates at 0.73 or more. Both limits were set on 5709 FairFace, 1728 UTKFace and 720
rendered faces, looking at every pair near them. Joined besides exact copies: 3 pairs in FairFace
and 9 in UTKFace, each of one photograph, and none among the renders, which all differ in identity
(hashes and whole thumbnails alone joined some of those).

Recall on 750 planted copies of each kind: 1.00 for JPEG quality 75 and 30, half size, grey,
brightness 0.7 and 1.3, contrast 0.7, mirroring, mirroring with JPEG quality 50, and cropping to
98 % of the sides; 0.26 for cropping to 95 %; 0 for tighter crops, which need another method.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy

from bias_audit.arrays import BoolArray, IntArray
from bias_audit.progress import Step

MAX_DISTANCE = 50
"""Bits of 256."""
MIN_CORRELATION = 0.73
_ROWS, _COLUMNS = 512, 4096
"""Pairs compared at once: 16 MB of hash words."""
_CONFIRMED = 4096
"""Candidate pairs whose thumbnails are compared at once."""
_FLAT = 1.0
"""Root mean square of fine structure, in grey values, below which there is nothing to compare."""

Words = npt.NDArray[np.uint64]
Thumbnails = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.int64]


def joined(pairs: Pairs, n: int) -> IntArray:
    """Number the sets that pairs join, in order of their first member.

    Args:
        pairs: Members of pairs, shape (n_pairs, 2).
        n: Number of elements.

    Returns:
        Set of each element, shape (n,), from 0 without gaps.
    """
    graph = scipy.sparse.coo_array(
        (np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n)
    )
    labels = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def near_duplicate_sets(
    hashes: Words, mirrored: Words, thumbnails: Thumbnails, *, step: Step
) -> IntArray:
    """Sets of near duplicates, found by comparing all pairs in blocks of fixed memory.

    Args:
        hashes: Perceptual hash, shape (n_images, 4).
        mirrored: That of the mirror image, shape (n_images, 4).
        thumbnails: Grey, shape (n_images, side, side).
        step: Advanced by the number of images compared with all others.

    Returns:
        Set of each image, shape (n_images,); most sets hold one.
    """
    n = len(hashes)
    structured = np.flatnonzero(_has_structure(thumbnails))
    hashes, mirrored = hashes[structured], mirrored[structured]
    links = np.empty((0, 2), dtype=np.int64)
    step.advance(n - len(structured))
    for start in range(0, len(structured), _ROWS):
        found = [links]
        for plain, pairs in _candidates(hashes, mirrored, start):
            same = structured[pairs]
            found.append(same[_confirmed(thumbnails, same, mirror=not plain)])
        # at most n pairs that join the same sets: each image with the first of its set
        sets = joined(np.concatenate(found), n)
        first = np.unique(sets, return_index=True)[1][sets]
        others = np.flatnonzero(first != np.arange(n))
        links = np.stack([first[others], others], axis=1).astype(np.int64)
        step.advance(min(_ROWS, len(structured) - start))
    return joined(links, n)


def _candidates(hashes: Words, mirrored: Words, start: int) -> Iterator[tuple[bool, Pairs]]:
    """Pairs (i, j), i < j, with i in the block of rows at `start`, whose hashes are near."""
    rows = slice(start, start + _ROWS)
    for column in range(start, len(hashes), _COLUMNS):
        others = hashes[column : column + _COLUMNS]
        for plain, own in ((True, hashes[rows]), (False, mirrored[rows])):
            # Half of the bits rule out nearly all pairs; the rest is counted for what is left.
            distance = np.bitwise_count(own[:, None, 0] ^ others[None, :, 0])
            distance += np.bitwise_count(own[:, None, 1] ^ others[None, :, 1])
            i, j = np.nonzero(distance <= MAX_DISTANCE)
            later = start + i < column + j
            i, j = i[later], j[later]
            total = np.bitwise_count(own[i] ^ others[j]).sum(axis=1)
            near = total <= MAX_DISTANCE
            yield plain, np.stack([start + i[near], column + j[near]], axis=1)


def _confirmed(thumbnails: Thumbnails, pairs: Pairs, *, mirror: bool) -> BoolArray:
    """Whether the fine structure of the two thumbnails of each pair correlates, shape (n,)."""
    result = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _CONFIRMED):
        piece = slice(start, start + _CONFIRMED)
        one, other = thumbnails[pairs[piece, 0]], thumbnails[pairs[piece, 1]]
        a, b = _fine(one[:, :, ::-1] if mirror else one), _fine(other)
        product = np.einsum("ij,ij->i", a, b)
        squares = np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b)
        result[piece] = product / np.sqrt(squares) >= MIN_CORRELATION
    return result


def _fine(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    """What blurring by one pixel takes away, centred, shape (n, side * side).

    Coarse light and shade are alike in many portraits; edges are not.
    """
    grey = thumbnails.astype(np.float32)
    fine = (grey - scipy.ndimage.gaussian_filter(grey, sigma=(0, 1, 1))).reshape(len(grey), -1)
    centred: npt.NDArray[np.float32] = fine - fine.mean(axis=1, keepdims=True)
    return centred


def _has_structure(thumbnails: Thumbnails) -> BoolArray:
    result = np.zeros(len(thumbnails), dtype=bool)
    for start in range(0, len(thumbnails), _CONFIRMED):
        fine = _fine(thumbnails[start : start + _CONFIRMED])
        result[start : start + _CONFIRMED] = np.sqrt(np.square(fine).mean(axis=1)) >= _FLAT
    return result
