"""The nine age levels of FairFace: repairing what spreadsheets made of them, and binning ages."""

from __future__ import annotations

import re

FAIRFACE_AGES = (
    "0-2",
    "3-9",
    "10-19",
    "20-29",
    "30-39",
    "40-49",
    "50-59",
    "60-69",
    "more than 70",
)
"""As FairFace writes them; "more than 70" follows "60-69", so it holds ages from 70 on."""

_MONTHS = {"mar": 3, "mrz": 3, "mär": 3, "sep": 9, "oct": 10, "okt": 10}
_MONTH_NAME = r"(?:mar(?:ch)?|mrz|märz?|sept?(?:ember)?|o[ck]t(?:ober)?)"
_DATE = re.compile(
    rf"(?:(?P<day>\d{{1,2}})[-./ ]+(?P<month>{_MONTH_NAME})"
    rf"|(?P<month_first>{_MONTH_NAME})[-./ ]+(?P<day_last>\d{{1,2}}))\.?"
)
_REPAIRS = {(9, 3): "3-9", (3, 9): "3-9", (10, 19): "10-19"}
"""(month, day) that a spreadsheet read into an age range, whichever it took for the month."""
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")
_OPEN = re.compile(r"(?:more than (\d{1,3})|(\d{1,3})\+)")
OLDEST = 116
"""The oldest age UTKFace's description allows."""


def repair_age(text: str) -> str | None:
    """The age range that a spreadsheet turned into a date, such as "3-9" for "03-Sep".

    Returns:
        The range; None where the text is no such date.
    """
    match = _DATE.fullmatch(" ".join(text.casefold().split()))
    if match is None:
        return None
    month = (match["month"] or match["month_first"])[:3]
    return _REPAIRS.get((_MONTHS[month], int(match["day"] or match["day_last"])))


def parse_bin(text: str) -> tuple[int, int]:
    """First and last age of a bin such as "3-9", "70+" or "more than 70" (from 70 on).

    Raises:
        ValueError: It is none of these.
    """
    if match := _OPEN.fullmatch(text):
        return int(match[1] or match[2]), OLDEST
    if match := _RANGE.fullmatch(text):
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last:
            return first, last
    raise ValueError(f'expected a bin such as "3-9", "70+" or "more than 70", got {text!r}')
