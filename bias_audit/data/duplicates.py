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

import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bias_audit.arrays import IntArray
from bias_audit.data.faces import Faces
from bias_audit.data.texts import WHOLE_NUMBER, some, typed, without_invisible
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
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
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
        links = _spanning(np.concatenate(found), n)
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


def _confirmed(thumbnails: Thumbnails, pairs: Pairs, *, mirror: bool) -> npt.NDArray[np.bool_]:
    result = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _CONFIRMED):
        piece = slice(start, start + _CONFIRMED)
        one, other = thumbnails[pairs[piece, 0]], thumbnails[pairs[piece, 1]]
        correlation = _correlations(one[:, :, ::-1] if mirror else one, other)
        result[piece] = correlation >= MIN_CORRELATION
    return result


def _correlations(one: Thumbnails, other: Thumbnails) -> npt.NDArray[np.float32]:
    """Correlation of the fine structure of corresponding thumbnails, shape (n,)."""
    a, b = _fine(one), _fine(other)
    product = np.einsum("ij,ij->i", a, b)
    result: npt.NDArray[np.float32] = product / np.sqrt(
        np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b)
    )
    return result


def _fine(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    """What blurring by one pixel takes away, centred, shape (n, side * side).

    Coarse light and shade are alike in many portraits; edges are not.
    """
    grey = thumbnails.astype(np.float32)
    fine = (grey - gaussian_filter(grey, sigma=(0, 1, 1))).reshape(len(grey), -1)
    centred: npt.NDArray[np.float32] = fine - fine.mean(axis=1, keepdims=True)
    return centred


def _has_structure(thumbnails: Thumbnails) -> npt.NDArray[np.bool_]:
    pieces = [
        np.sqrt(np.square(_fine(thumbnails[start : start + _CONFIRMED])).mean(axis=1)) >= _FLAT
        for start in range(0, len(thumbnails), _CONFIRMED)
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=bool)


def _spanning(pairs: Pairs, n: int) -> Pairs:
    """At most n pairs that join the same sets: each element with the first of its set."""
    sets = joined(pairs, n)
    first = np.unique(sets, return_index=True)[1][sets]
    others = np.flatnonzero(first != np.arange(n))
    return np.stack([first[others], others], axis=1).astype(np.int64)


_NOBODY_WORDS = """
    unknown unk unknownperson unknownidentity unknownsubject unidentified unidentifiable unlabeled
    unlabelled unnamed unspecified undefined unassigned unavailable na nan nat none null nil empty
    blank missing anonymous anon anonym anonymized anonymised notavailable notapplicable notknown
    notrecorded notspecified notstated notgiven notprovided noid noidentity noname nobody
    tbd tba tobedetermined unbekannt keineangabe inconnu inconnue nonrenseigné nondisponible
    desconocido desconocida sinnombre desconhecido desconhecida sconosciuto sconosciuta onbekend
    okänd ukjent ukendt tuntematon nieznany nieznana neznámý neznámá necunoscut ismeretlen άγνωστο
    bilinmiyor bilinmeyen неизвестно неизвестный неизвестная невідомо невідомий tidakdiketahui
    khôngrõ 未知 不明 不詳 不详 無名 无名 未详 미상 알수없음 مجهول غيرمعروف अज्ञात
"""
_NOBODY = frozenset(_NOBODY_WORDS.split())
"""Words, without what stands between letters, that can be nothing but a placeholder."""
_MAYBE_NOBODY_WORDS = (
    "person people human face faces other others various several multiple mixed misc group crowd "
    "subject someone somebody stranger johndoe janedoe maxmustermann x xx xxx"
)
_MAYBE_NOBODY = frozenset(_MAYBE_NOBODY_WORDS.split())
"""Words that are placeholders in some tables and identities in others."""
_MAYBE_NUMBER = re.compile(r"-1|-?(?:0+|9{2,})")
"""Numbers of which the same is true."""
_SUSPICIOUS = 5
"""A value that may be a placeholder is suspicious with so many times a person's median images."""
_THOUSANDS = re.compile(r"\s*-?\d{1,3}\.(?!000)\d{3}\s*")
"""What shows that ".000" in a column is part of the number: 12.001 beside 12.000."""
_ROUNDED = re.compile(r"-?\d(?:[.,]\d+)?e\+\d+")
"""How spreadsheets write long numbers, whose last digits are lost."""


def canonical_identity(written: str, *, has_thousands: bool = False) -> str:
    """One form of an identity, whichever way it is written.

    Case, blanks, invisible characters, typographic hyphens and apostrophes, and Unicode's
    compatible forms make no difference (compatibility caseless matching, Unicode Standard 3.13,
    D146), nor does ".0" after a whole number, which software adds where a column has gaps. No
    number is parsed: "03" is not "3", and "1e3" is not "1000".

    Args:
        written: As the source writes it.
        has_thousands: Whether ".000" is part of the number, and stays.

    Returns:
        The form; the same for a form as for what it was made from.
    """
    folded = unicodedata.normalize("NFD", without_invisible(written)).casefold()
    text = typed(unicodedata.normalize("NFKD", folded).casefold())
    whole = WHOLE_NUMBER.fullmatch(text)
    if whole is None or (has_thousands and text.endswith(".000")):
        return text
    return whole[1]


def names_nobody(identity: str) -> bool:
    """Whether a canonical identity is empty, punctuation alone, or a word such as "unknown"."""
    bare = _bare(identity)
    return not bare or bare in _NOBODY


def read_identities(written: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The identities of a source's rows, in one form each.

    Args:
        written: As the source writes them, one for each row.

    Returns:
        The canonical identities, "" where none is recorded, and notices that name no identity.
    """
    has_thousands = any(map(_THOUSANDS.fullmatch, written))
    forms = {
        text: canonical_identity(text, has_thousands=has_thousands)
        for text in dict.fromkeys(written)
    }
    nobody = {form for form in forms.values() if names_nobody(form)}
    people = Counter(form for form in forms.values() if form not in nobody)
    notices = []
    if merged := sum(n > 1 for n in people.values()):
        notices.append(
            "identities written in more than one form (other case, other blanks, 3.0 for 3), "
            f"each read as one person: {merged}"
        )
    rounded = Counter(forms[text] for text in written if _ROUNDED.fullmatch(forms[text]))
    if n := sum(n for n in rounded.values() if n > 1):
        notices.append(
            f"{n} rows share an identity such as 1.23E+12: a spreadsheet rounded these numbers, "
            "and different people may count as one; export the column as text"
        )
    without = Counter(forms[text] for text in written if forms[text] in nobody)
    if without:
        values = [f'{n} x "{form}"' if form else f"{n} x empty" for form, n in without.items()]
        notices.append(
            f"{without.total()} rows do not say who is shown ({some(values)}); each is taken for "
            "a different person"
        )
    return tuple("" if forms[t] in nobody else forms[t] for t in written), tuple(notices)


def identity_cautions(
    faces: Faces, max_share: float, *, name_values: bool = False
) -> tuple[str, ...]:
    """What a reader must know about who is shown, before reading a number.

    Args:
        faces: The images to use.
        max_share: Share of the images above which one identity is said to hold many.
        name_values: Whether to name identities, which are personal data: on the terminal of those
            who have the table, never in a result.
    """
    return tuple(_cautions(faces, max_share, name_values=name_values))


def _cautions(faces: Faces, max_share: float, *, name_values: bool) -> Iterator[str]:
    counts = Counter(name for name in faces.table.identities or () if name)
    n_images = len(faces)
    if faces.table.identities is not None and counts.total() < n_images:
        yield (
            f"{n_images - counts.total()} of {n_images} images do not say who is shown. Each is "
            "taken for a different person; where several show one person, intervals are too narrow"
        )
    if not counts:
        return
    large = [(name, n) for name, n in counts.most_common() if n > max(1, max_share * n_images)]
    if large:
        share = f"{100 * large[0][1] / n_images:.3g} % of the images ({large[0][1]} of {n_images})"
        who = (
            f"one identity holds {share}"
            if len(large) == 1
            else f"{len(large)} identities hold many images each, the largest {share}"
        )
        named = f": {some([f'{name!r} ({n})' for name, n in large])}" if name_values else ""
        yield (
            f"{who}, more than sampling.max_identity_share ({100 * max_share:.3g} %){named}. "
            "Images of one identity count as one person; if the value stands for several people, "
            "leave it empty in the table"
        )
    usual = statistics.median(counts.values())
    maybe = [
        (name, n)
        for name, n in counts.most_common()
        if n >= _SUSPICIOUS * usual and (name, n) not in large and _may_name_nobody(name)
    ]
    if maybe:
        named = f": {some([repr(name) for name, _ in maybe])}" if name_values else ""
        yield (
            f"{sum(n for _, n in maybe)} of {n_images} images carry an identity that may be a "
            f"placeholder, such as 0, -1, person or other{named}; a person has {usual:g} images "
            "(median). If it stands for several people, leave it empty in the table"
        )


def _may_name_nobody(identity: str) -> bool:
    return bool(_MAYBE_NUMBER.fullmatch(identity)) or _bare(identity) in _MAYBE_NOBODY


def _bare(identity: str) -> str:
    """Letters, marks, digits and pictures: "n/a" is "na", "<no id>" is "noid"."""
    return "".join(
        character
        for character in identity
        if (category := unicodedata.category(character))[0] in "LMN" or category == "So"
    )
