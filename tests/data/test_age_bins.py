from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.data.ages import FAIRFACE_AGES, OLDEST, Ranges, bin_of, ordered_bins, parse_bin

AGES = Ranges(FAIRFACE_AGES)
MARCH = """
    Mar march MAR Mrz. Mär März mars marzo março maart mrt. marts marca mart марта мар. березня
    března bře. maalis maaliskuuta márc. martie Μάρ Μαρτίου maret III
""".split()  # noqa: SIM905
SEPTEMBER = """
    Sep sept. September SEP septembre sept. septiembre set. settembre setembro september wrz.
    września Eyl eylül сен. сентября вересня září zář syys syyskuuta szept. septembrie Σεπ IX
""".split()  # noqa: SIM905
OCTOBER = """
    Oct october Okt OKT. octobre oct. octubre ott. ottobre out outubro oktober paź. października
    Eki ekim окт. октября жовтня října říj loka lokakuuta október octombrie Οκτ X
""".split()  # noqa: SIM905
SEPARATORS = st.sampled_from(["-", " ", "/", ".", "- ", ". ", "\u2013", "\xa0", ""])
BLANKS = st.sampled_from(["", " ", "  ", "\t", "\u200b"])


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
    assert AGES.dated(before + separator.join(parts) + after) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("2023-09-03", "2023-09-03 00:00:00", "2023-03-09T00:00:00.000", "2023-09-03T00:00:00Z"),
        *("09/03/2023", "3/9/2023", "9.3.2023", "03.09.", "9. 3. 2023", "3/9", "9/3", "03-09"),
        *("9-Mar-23", "Mar 9, 2023", "9th of March 2023", "9 de marzo de 2023", "9. März 2023"),
        *("3月9日", "9月3日", "2023年9月3日", "3월 9일", "9 Thg3", "9 thg 3", "03.IX"),
        *("9/3/2023 12:00:00 AM", "45172", "45172.0"),
    ],
)
def test_dates_of_digits_and_other_forms(text: str) -> None:
    assert AGES.dated(text) == "3-9"


@pytest.mark.parametrize("text", ["2019-10-01", "10/2019", "Oct-2019", "1.10.2019", "2019年10月"])
def test_a_month_and_a_year_may_be_a_range(text: str) -> None:
    assert AGES.dated(text) == "10-19"


def test_serial_numbers_are_days_since_1899() -> None:
    days = (datetime.date(2023, 9, 3) - datetime.date(1899, 12, 30)).days
    assert AGES.dated(str(days)) == "3-9"
    assert AGES.dated(str(days + 1)) is None


@pytest.mark.parametrize(
    ("levels", "text", "expected"),
    [
        (("3-9", "9-30", "10-19"), "2023-09-03", "3-9"),
        (("1-10", "10-19"), "2019-10-01", None),  # 1 October, or October 2019
        (("1-10", "11-19"), "2019-10-01", "1-10"),
        (("1-5", "6-12", "13-17"), "12. Jun", "6-12"),
        (("1-5", "6-12", "13-17"), "Dec-06", "6-12"),
        (("3-11", "3-9"), "mar-9", "3-9"),
        (("young", "old"), "9-Mar", None),
        (("70+",), "9-Mar", None),
    ],
)
def test_only_one_meaning_among_the_declared_levels(
    levels: tuple[str, ...], text: str, expected: str | None
) -> None:
    assert Ranges(levels).dated(text) == expected


@given(st.text(max_size=12))
def test_other_text_is_never_changed(text: str) -> None:
    assert AGES.dated(text) in {None, "3-9", "10-19"}
    if not any(character.isdecimal() for character in text):
        assert AGES.dated(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(*FAIRFACE_AGES[3:], "04-Sep", "Oct-20", "9-Sep", "3-Mar", "Mario-9", "3.9", "9", "1903"),
        *("2023-09-03 14:30:00", "2023-13-09", "3 9", "Mar-Mar-9", "9 marbles"),
    ],
)
def test_no_guess_where_the_date_is_another(text: str) -> None:
    assert AGES.dated(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "3-9") for text in ("3\u20139", "3 \u2014 9", "3\u22129", "3 - 9", "03-09")),
        *((text, "3-9") for text in ("3 to 9", "3 bis 9", "3 à 9", "3..9", "3-9 years", "3_9")),
        *((text, "more than 70") for text in ("70+", ">70", ">=70", "> 70", "≥ 70", "70 +")),
        *((text, "more than 70") for text in ("More Than 70", "70 and over", "over 70", "70-")),
        *((text, "more than 70") for text in ("70 ans et plus", "über 70", "70 or older")),
        *((text, None) for text in (">69", "3-8", "70", "<70", "3-9-10", "")),
    ],
)
def test_ranges_in_other_words(text: str, expected: str | None) -> None:
    assert AGES.spelled(text) == expected


def test_fairface_bins_hold_every_age_once() -> None:
    bins = ordered_bins(FAIRFACE_AGES)
    assert [bin_of(age, bins) for age in (0, 2.9, 3, 69.99, 70, OLDEST)] == [0, 0, 1, 7, 8, 8]
    assert bin_of(OLDEST + 1, bins) is None
    assert bin_of(-0.5, bins) is None
    holding = [sum(first <= age <= last for first, last in bins) for age in range(117)]
    assert holding == [1] * 117


@pytest.mark.parametrize("text", ["9-3", "young", "", "3-", "-9", "70 plus"])
def test_a_bin_that_is_none_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a bin such as"):
        parse_bin(text)


def test_an_open_bin_above_all_ages_has_no_end() -> None:
    bins = ordered_bins(["150-159", "160+"])
    assert [bin_of(height, bins) for height in (149, 155, 160, 201)] == [None, 0, 1, 1]
