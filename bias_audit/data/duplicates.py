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

import numpy as np
import numpy.typing as npt
import scipy

from bias_audit.arrays import BoolArray, IntArray
from bias_audit.progress import Step

MAX_DISTANCE = 50
"""Bits of 256."""
MIN_CORRELATION = 0.73
_ROWS, _COLUMNS = 256, 4096
"""Images compared at once: 8 MB of hash words."""
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

    An index by equal parts of hashes would not help: that two hashes which differ in 50 of 256
    bits share a part is certain only of parts of 5 bits, which 1 of 32 images shares.

    Args:
        hashes: Perceptual hash, shape (n_images, 4).
        mirrored: That of the mirror image, shape (n_images, 4).
        thumbnails: Grey, shape (n_images, side, side).
        step: Advanced by the number of images compared with all others.

    Returns:
        Set of each image, shape (n_images,); most sets hold one.
    """
    n = len(hashes)
    sets = np.arange(n)
    structured = np.flatnonzero(_has_structure(thumbnails))
    words, own_words = hashes[structured].T.copy(), (hashes, mirrored)
    step.advance(n - len(structured))
    for start in range(0, len(structured), _ROWS):
        rows = structured[start : start + _ROWS]
        for column in range(start, len(structured), _COLUMNS):
            others = structured[column : column + _COLUMNS]
            for own, flip in zip(own_words, (1, -1), strict=True):
                i, j = _near(own[rows].T, words[:, column : column + _COLUMNS])
                # pairs that are joined already need no look at their thumbnails
                new = (start + i < column + j) & (sets[rows[i]] != sets[others[j]])
                pairs = np.stack([rows[i[new]], others[j[new]]], axis=1)
                same = pairs[_are_alike(thumbnails, pairs, flip)]
                if len(same):
                    sets = _with_joined(sets, same)
        step.advance(len(rows))
    return joined(np.stack([np.arange(n), sets], axis=1), n)


def _near(rows: Words, columns: Words) -> tuple[IntArray, IntArray]:
    """Places of pairs whose hashes are near; both are words by images, shape (4, n)."""
    # Three words, those of the finest structure first, rule out nearly all pairs.
    distance = np.bitwise_count(np.bitwise_xor.outer(rows[3], columns[3]))
    for word in (2, 1):
        distance += np.bitwise_count(np.bitwise_xor.outer(rows[word], columns[word]))
    i, j = np.divmod(np.flatnonzero(distance <= MAX_DISTANCE), columns.shape[1])
    is_near = distance[i, j] + np.bitwise_count(rows[0, i] ^ columns[0, j]) <= MAX_DISTANCE
    return i[is_near], j[is_near]


def _with_joined(sets: IntArray, pairs: Pairs) -> IntArray:
    """Sets, each known by its first member, after pairs of members have joined some of them."""
    names, places = np.unique(sets[pairs], return_inverse=True)
    groups = joined(places.reshape(-1, 2), len(names))
    renamed = np.arange(len(sets))
    renamed[names] = names[np.unique(groups, return_index=True)[1][groups]]
    return renamed[sets]


def _are_alike(thumbnails: Thumbnails, pairs: Pairs, flip: int) -> BoolArray:
    """Whether the fine structure of thumbnails correlates, the first of each pair flipped or not.

    All first ones are compared with all second ones at once, at most a block of them.
    """
    if not len(pairs):
        return np.zeros(0, dtype=bool)
    (rows, i), (columns, j) = (np.unique(each, return_inverse=True) for each in pairs.T)
    one, other = _fine(thumbnails[rows, :, ::flip]), _fine(thumbnails[columns])
    lengths = np.linalg.norm(one, axis=1)[i] * np.linalg.norm(other, axis=1)[j]
    return np.asarray((one @ other.T)[i, j] / lengths >= MIN_CORRELATION)


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
    for start in range(0, len(thumbnails), _COLUMNS):
        fine = _fine(thumbnails[start : start + _COLUMNS])
        result[start : start + _COLUMNS] = np.sqrt(np.square(fine).mean(axis=1)) >= _FLAT
    return result
