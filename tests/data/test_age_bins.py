from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.data.age_bins import FAIRFACE_AGES, Ranges, parse_bin

MARCH = ["Mar", "march", "MAR", "Mrz", "Mär"]
SEPTEMBER = ["Sep", "sept", "September", "SEP"]
OCTOBER = ["Oct", "october", "Okt", "OKT"]
SEPARATORS = st.sampled_from(["-", " ", "/", ".", "- ", ". "])
BLANKS = st.sampled_from(["", " ", "  ", "\t"])


@pytest.mark.parametrize("text", ["03-Sep", "3-Sep", "9-Mar", "09-Mar", "Sep-03", "Mar-09"])
def test_dates_from_3_to_9(text: str) -> None:
    assert repair_age(text) == "3-9"


@pytest.mark.parametrize("text", ["Oct-19", "19-Oct", "19-october"])
def test_dates_from_10_to_19(text: str) -> None:
    assert repair_age(text) == "10-19"


@given(
    case=st.one_of(
        st.tuples(st.sampled_from(SEPTEMBER), st.sampled_from(["3", "03"]), st.just("3-9")),
        st.tuples(st.sampled_from(MARCH), st.sampled_from(["9", "09"]), st.just("3-9")),
        st.tuples(st.sampled_from(OCTOBER), st.just("19"), st.just("10-19")),
    ),
    separator=SEPARATORS,
    before=BLANKS,
    after=BLANKS,
    day_first=st.booleans(),
)
def test_every_spelling_of_the_date_is_repaired(
    case: tuple[str, str, str], separator: str, before: str, after: str, day_first: bool
) -> None:
    month, day, expected = case
    parts = (day, month) if day_first else (month, day)
    assert repair_age(before + separator.join(parts) + after) == expected


@given(st.text(max_size=12))
def test_other_text_is_never_changed(text: str) -> None:
    assert repair_age(text) in {None, "3-9", "10-19"}
    if not any(month in text.casefold() for month in ("mar", "mrz", "mär", "sep", "oct", "okt")):
        assert repair_age(text) is None


@pytest.mark.parametrize("text", [*FAIRFACE_AGES, "04-Sep", "Oct-20", "9-Sep", "3-Mar", "Mars-9"])
def test_no_guess_where_the_date_is_another(text: str) -> None:
    assert repair_age(text) is None


def test_fairface_bins_hold_every_age_once() -> None:
    bins = [parse_bin(age) for age in FAIRFACE_AGES]
    holding = [sum(first <= age <= last for first, last in bins) for age in range(117)]
    assert holding == [1] * 117


@pytest.mark.parametrize("text", ["9-3", "young", "", "3-", "-9", "70 +"])
def test_a_bin_that_is_none_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a bin such as"):
        parse_bin(text)
