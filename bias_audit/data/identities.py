"""Who is shown: one form of each name, placeholders, and people with many images."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from bias_audit.data.faces import Faces
from bias_audit.data.texts import WHOLE_NUMBER, typed, without_invisible
from bias_audit.errors import some

_PLACEHOLDERS_WORDS = """
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
_PLACEHOLDERS = frozenset(_PLACEHOLDERS_WORDS.split())
"""Words, without what stands between letters, that can be nothing but a placeholder."""
_MAYBE_PLACEHOLDERS_WORDS = (
    "person people human face faces other others various several multiple mixed misc group crowd "
    "subject someone somebody stranger johndoe janedoe maxmustermann x xx xxx"
)
_MAYBE_PLACEHOLDERS = frozenset(_MAYBE_PLACEHOLDERS_WORDS.split())
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
    """One form of an identity, whichever way it is written; a form is its own form.

    Case, blanks, invisible characters, typographic hyphens and apostrophes, and Unicode's
    compatible forms make no difference (compatibility caseless matching, Unicode Standard 3.13,
    D146), nor does ".0" after a whole number, which software adds where a column has gaps. No
    number is parsed: "03" is not "3", and "1e3" is not "1000". Where a column `has_thousands`,
    ".000" is part of the number, and stays.
    """
    folded = unicodedata.normalize("NFD", without_invisible(written)).casefold()
    text = typed(unicodedata.normalize("NFKD", folded).casefold())
    whole = WHOLE_NUMBER.fullmatch(text)
    if whole is None or (has_thousands and text.endswith(".000")):
        return text
    return whole[1]


def is_placeholder(identity: str) -> bool:
    """Whether a canonical identity is empty, punctuation alone, or a word such as "unknown"."""
    bare = _bare(identity)
    return not bare or bare in _PLACEHOLDERS


def read_identities(written: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The identities of a source's rows in one form each, "" where none is recorded, and notices.

    No notice names an identity.
    """
    has_thousands = any(map(_THOUSANDS.fullmatch, written))
    forms = {
        text: canonical_identity(text, has_thousands=has_thousands)
        for text in dict.fromkeys(written)
    }
    placeholders = {form for form in forms.values() if is_placeholder(form)}
    people = Counter(form for form in forms.values() if form not in placeholders)
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
    without = Counter(forms[text] for text in written if forms[text] in placeholders)
    if without:
        values = [f'{n} x "{form}"' if form else f"{n} x empty" for form, n in without.items()]
        notices.append(
            f"{without.total()} rows do not say who is shown ({some(values)}); each counts as "
            "a different person"
        )
    return tuple("" if forms[t] in placeholders else forms[t] for t in written), tuple(notices)


def identity_cautions(
    faces: Faces, max_share: float, *, name_values: bool = False
) -> tuple[str, ...]:
    """What a reader must know about who is shown, before reading a number.

    An identity with more than `max_share` of the images is reported. Identities are personal data:
    `name_values` names them on the terminal of those who have the table, never in a result.
    """
    return tuple(_cautions(faces, max_share, name_values=name_values))


def _cautions(faces: Faces, max_share: float, *, name_values: bool) -> Iterator[str]:
    table = faces.table.once
    counts = Counter(name for name in table.identities or () if name)
    n_images = len(table)
    if table.identities is not None and counts.total() < n_images:
        yield (
            f"{n_images - counts.total()} of {n_images} images do not say who is shown. Each "
            "counts as a different person; where several show one person, intervals are too narrow"
        )
    if not counts:
        return
    usual = statistics.median(counts.values())
    limit = max(1, max_share * n_images)
    large = {name: n for name, n in counts.most_common() if n > limit}
    maybe = {
        name: n
        for name, n in counts.most_common()
        if n >= _SUSPICIOUS * usual
        and name not in large
        and (_MAYBE_NUMBER.fullmatch(name) or _bare(name) in _MAYBE_PLACEHOLDERS)
    }
    if large:
        largest = max(large.values())
        share = f"{100 * largest / n_images:.3g} % of the images ({largest} of {n_images})"
        who = f"{len(large)} identities have many images each, the largest {share}"
        who = who if len(large) > 1 else f"one identity has {share}"
        named = some([f"{name!r} ({n})" for name, n in large.items()])
        yield (
            f"{who}, more than sampling.max_identity_share ({100 * max_share:.3g} %)"
            f"{f': {named}' if name_values else ''}. Images of one identity count as one person; "
            "if the value stands for several people, leave it empty in the table"
        )
    if maybe:
        named = some([repr(name) for name in maybe])
        yield (
            f"{sum(maybe.values())} of {n_images} images carry an identity that may be a "
            f"placeholder, such as 0, -1, person or other{f': {named}' if name_values else ''}; a "
            f"person has {usual:g} images (median). If it stands for several people, leave it "
            "empty in the table"
        )


def _bare(identity: str) -> str:
    """Letters, marks, digits and pictures: "n/a" is "na", "<no id>" is "noid"."""
    return "".join(
        character
        for character in identity
        if (category := unicodedata.category(character))[0] in "LMN" or category == "So"
    )
