from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bias_audit.audit.checking import check_lines, data_lines
from bias_audit.audit.plan import find_faces, make_plan
from bias_audit.config.load import load_config
from bias_audit.data.faces import Faces
from bias_audit.data.identities import (
    canonical_identity,
    identity_cautions,
    is_placeholder,
    read_identities,
)
from bias_audit.data.sampling import clustered
from bias_audit.errors import AuditError, ConfigError
from bias_audit.progress import Silent
from tests.data.conftest import encoded, picture
from tests.data.test_sampling import table_and_scan

# One form.


@given(st.text(max_size=12))
def test_a_form_is_its_own_form(text: str) -> None:
    form = canonical_identity(text)
    assert canonical_identity(form) == form
    assert form == " ".join(form.split())


@given(st.text(max_size=12), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_unicode_forms_and_blanks_around_make_no_difference(text: str, form: str) -> None:
    wanted = canonical_identity(text)
    assert canonical_identity(unicodedata.normalize(form, text)) == wanted  # type: ignore[arg-type]
    assert canonical_identity(f" \u00a0\t{text}\u200b \n") == wanted


@given(st.text(max_size=12))
def test_case_makes_no_difference(text: str) -> None:
    assert canonical_identity(text.casefold()) == canonical_identity(text)


@given(st.integers(-(10**20), 10**20), st.integers(1, 6))
def test_a_whole_number_is_the_number_it_became(number: int, zeros: int) -> None:
    assert canonical_identity(f"{number}.{'0' * zeros}") == str(number)


@given(st.lists(st.from_regex(r"[a-z0-9]{1,3}([-_.][a-z1-9]{1,3})?", fullmatch=True), unique=True))
def test_different_plain_identities_stay_different(texts: list[str]) -> None:
    assert len({canonical_identity(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    "same",
    [
        ("3", "3.0", " 3 ", "\uff13", "3.00", "\ufeff3"),
        ("Ann Lee", "ANN LEE", "ann  lee", "Ann\u00a0Lee", "Ann\u2003Lee", "Ann Lee\u200d"),
        ("Zoë", "Zoe\u0308", "ZOË"),
        ("Straße", "STRASSE"),
        ("A-1", "A\u20131", "a\u20111", "A\u22121"),
        ("O'Brien", "O\u2019Brien"),
    ],
)
def test_forms_of_one_identity(same: Sequence[str]) -> None:
    assert len({canonical_identity(text) for text in same}) == 1


@pytest.mark.parametrize(
    "pair",
    [
        *("3 03", "3 3.5", "3 30", "1e3 1000", "1e3 1E03", "2e5 20e4", "inf infinity", "0x10 16"),
        *("A-1 A1", "-1 1", "1_000 1000", "Zoe Zoë", "1.0.0 1"),
    ],
)
def test_different_identities(pair: str) -> None:
    one, other = pair.split()
    assert canonical_identity(one) != canonical_identity(other)


def test_blanks_inside_make_a_difference() -> None:
    assert len({canonical_identity(text) for text in ("A-1", "A 1", "Ann Lee", "AnnLee")}) == 4


# What names nobody.

PLACEHOLDERS = """
unknown (unknown) n/a N/A na NA NaN none None NULL <NA> #N/A - -- — ? ??? . ... anonymous no_id
unidentified unlabeled Unlabelled missing TBD unbekannt Inconnu desconocido neznámý 不明 अज्ञात
"""


@pytest.mark.parametrize(
    "word",
    [*PLACEHOLDERS.split(), "", "not available", "no id", "Unknown person", "n. a.", "알 수 없음"],
)
def test_a_placeholder_names_no_person(word: str) -> None:
    assert is_placeholder(canonical_identity(word))
    assert is_placeholder(canonical_identity(f"{word} ".upper()))
    identities, notices = read_identities([word, "ann", word])
    assert identities == ("", "ann", "")
    assert len(notices) == 1
    assert notices[0].startswith("2 rows do not say who is shown")


@pytest.mark.parametrize(
    "name", ["0", "-1", "999", "person", "other", "unknown 7", "n/a-3", "Nana", "Noneman", "?1"]
)
def test_what_may_be_an_identity_stays_one(name: str) -> None:
    assert read_identities([name, name]) == ((canonical_identity(name),) * 2, ())


def test_merged_forms_are_counted_and_not_named() -> None:
    identities, notices = read_identities(["Ann", "ANN", "ann ", "3", "3.0", "bob", "cid"])
    assert identities == ("ann", "ann", "ann", "3", "3", "bob", "cid")
    (notice,) = notices
    assert notice.endswith("each read as one person: 2")
    assert "ann" not in notice.lower()


# What is said of them.


def faces_of(names: Sequence[str]) -> Faces:
    table, seen = table_and_scan([(0, 0)] * len(names), identities=tuple(names))
    return clustered(table, seen)


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    max_share=st.sampled_from([0.05, 0.1, 0.5, 1.0]),
)
def test_a_large_identity_is_said_exactly_where_there_is_one(
    counts: list[int], max_share: float
) -> None:
    faces = faces_of([f"who{i}" for i, n in enumerate(counts) for _ in range(n)])
    is_large = max(counts) > max(1, max_share * sum(counts))
    cautions = identity_cautions(faces, max_share)
    assert len(cautions) == is_large
    assert "who" not in "".join(cautions).replace("whole", "")
    if is_large:
        assert f"({max(counts)} of {sum(counts)})" in cautions[0]
        largest = f"'who{counts.index(max(counts))}' ({max(counts)})"
        assert largest in identity_cautions(faces, max_share, name_values=True)[0]


@pytest.mark.parametrize("name", ["0", "-1", "999", "person", "other", "x"])
def test_a_possible_placeholder_is_said_only_where_it_has_many_images(name: str) -> None:
    others = [f"p{i // 2}" for i in range(200)]
    assert identity_cautions(faces_of([*others, name, name]), 0.1) == ()
    (caution,) = identity_cautions(faces_of([*others, *[name] * 10]), 0.1)
    assert caution.startswith("10 of 210 images carry an identity that may be a placeholder")
    assert repr(name) not in caution
    assert identity_cautions(faces_of([*others, *["p300"] * 10]), 0.1) == ()
    (named,) = identity_cautions(faces_of([*others, *[name] * 10]), 0.1, name_values=True)
    assert repr(name) in named


def test_images_without_identity_are_said_and_a_source_without_people_is_not() -> None:
    (caution,) = identity_cautions(faces_of(["ann", "", "bob", ""]), 0.5)
    assert caution.startswith("2 of 4 images do not say who is shown")
    table, seen = table_and_scan([(0, 0)] * 3)
    assert identity_cautions(clustered(table, seen), 0.1) == ()


# As people write their tables.

Audit = Callable[[list[str], list[str] | None], Path]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Write a config, its table and pictures, of which those named "" are empty files."""

    def write(people: list[str], empty: list[str] | None = None) -> Path:
        rows = []
        for i, who in enumerate(people):
            name = f"{i}.png"
            data = b"" if name in (empty or ()) else encoded(picture(i, 32))
            (tmp_path / name).write_bytes(data)
            rows.append(f'{name},{"fm"[i % 2]},"{who}"')
        (tmp_path / "labels.csv").write_text("\n".join(["path,gender,person", *rows]), "utf-8")
        path = tmp_path / "c.yaml"
        path.write_text(
            f"name: t\ndata: {{kind: manifest, file: {tmp_path}/labels.csv, attributes: "
            "{gender: [f, m]}, identity_column: person}\nsampling: {near_duplicates: false}\n"
            "small_groups: {suppress_below: 1}\nbackbones: [{kind: bundled, layers: [bn2]}]\n"
            "analyses: [{kind: linear_probe, folds: 3}]\n"
            f"output: {{cache: {tmp_path}/cache}}\n"
        )
        return path

    return write


def lines_of(config: Path, error: type[AuditError] | None = None) -> list[str]:
    """What `data check` prints, up to the error that stops it."""
    lines: list[str] = []
    made = data_lines(load_config(config), Silent())
    if error is None:
        return list(made)
    with pytest.raises(error):  # noqa: PT012  the lines before the error are what is looked at
        for line in made:
            lines.append(line)
    return lines


def test_a_person_written_3_and_3_0_is_one_person_in_one_fold(audit: Audit) -> None:
    config = audit([f"{i // 4}{['', '.0'][i % 2]}" for i in range(24)], None)
    lines = lines_of(config)
    assert "people: 6 identities" in lines
    assert "effective number of clusters: 6.0 (clusters of equal size" in "\n".join(lines)
    assert any("each read as one person: 6" in line for line in lines)
    plan = make_plan(load_config(config))
    assert find_faces(plan, progress=Silent()).clusters.tolist() == [i // 4 for i in range(24)]


def test_rows_of_an_unknown_person_are_people_of_their_own_and_said(audit: Audit) -> None:
    config = audit([*["unknown"] * 14, *"abcdef"], None)
    lines = lines_of(config)
    assert "people: 6 identities" in lines
    assert "images without an identity: 14" in lines
    assert 'notice: 14 rows do not say who is shown (14 x "unknown"); ' in "\n".join(lines)
    warning = "warning: 14 of 20 images do not say who is shown."
    assert any(line.startswith(warning) for line in lines)
    checked = check_lines(load_config(config), Silent())
    assert any(line.startswith(warning) for line in checked)


def test_only_the_reviewer_reads_the_name_of_an_identity_with_many_images(audit: Audit) -> None:
    config = audit([*["Bob"] * 14, *"abcdef"], None)
    (line,) = (line for line in lines_of(config) if "max_identity_share" in line)
    assert "one identity has 70 % of the images (14 of 20)" in line
    assert "'bob' (14)" in line
    checked = "\n".join(check_lines(load_config(config), Silent()))
    assert "one identity has 70 % of the images (14 of 20)" in checked
    assert "bob" not in checked


@pytest.mark.parametrize(
    ("n_empty", "n_missing", "line"),
    [
        (20, 0, "  20 x not an image (left out)"),
        (24, 0, "  24 x not an image (left out)"),
        (0, 22, "  22 x missing file (left out)"),
        (0, 24, "  24 x missing file (left out)"),
    ],
)
def test_the_ledger_is_printed_although_too_few_images_are_left(
    audit: Audit, n_empty: int, n_missing: int, line: str
) -> None:
    config = audit([f"p{i}" for i in range(24)], [f"{i}.png" for i in range(n_empty)])
    for i in range(n_missing):
        (config.parent / f"{i}.png").unlink()
    assert line in lines_of(config, AuditError)
    if n_empty == 20:
        with pytest.raises(ConfigError, match=r"\(20 more were left out: `bias-audit data check`"):
            find_faces(make_plan(load_config(config)), progress=Silent())
