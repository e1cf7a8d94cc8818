"""The overview of a zoo holds what its history holds, and nothing else."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest

from bias_audit.errors import OutputError
from bias_audit.report.zoo.page import write_zoo_report
from bias_audit.report.zoo.trends import Step, thinned
from bias_audit.results.claims import overclaims
from bias_audit.results.history.reading import read_history
from bias_audit.results.history.recording import (
    EntryState,
    mark_pruned,
    record_diff,
    record_folder,
    record_run,
)
from bias_audit.shapes.printed import interval
from tests.report.browser import ARABIC
from tests.report.page import LOADING, Page, read
from tests.report.synthetic import criteria_of, estimate, make_audit
from tests.report.zoo_history import (
    START,
    compared,
    difference,
    keep,
    make_history,
    make_zoo_audit,
)

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six backbones on two datasets, three audits each, a change, a failure, a stale entry."""
    home = tmp_path_factory.mktemp("zoo")
    database = home / "history.sqlite"
    make_history(database, entries=[f"net_{letter}" for letter in "abcdef"], dates=3)
    for audit in read_history(database).audits:
        folder = home / audit.folder
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("a report", encoding="utf-8")
        if audit.entry == "net_c":
            (folder / "diff.html").write_text("a diff", encoding="utf-8")
    write_zoo_report(database, home / "zoo.html")
    return home


@pytest.fixture(scope="module")
def page(zoo: Path) -> Page:
    return read((zoo / "zoo.html").read_text(encoding="utf-8"))


def _text(page: Page) -> str:
    return " ".join(page.all("body")[0].text.split())


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for tag in page.tags:
        for name in LOADING:
            assert tag.attributes.get(name, "").startswith("data:") or name not in tag.attributes
    policy = next(tag for tag in page.all("meta") if "http-equiv" in tag.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_links_are_relative_and_lead_to_reports_that_exist(zoo: Path, page: Page) -> None:
    links = [tag.attributes["href"] for tag in page.all("a") if "href" in tag.attributes]
    outward = [link for link in links if not link.startswith("#")]
    assert len(outward) > 60
    for link in outward:
        assert not re.match(r"[a-z]+:|/", link)
        path, _, anchor = link.partition("#")
        assert (zoo / unquote(path)).is_file()
        assert re.fullmatch(r"|backbone-\d+|verdict-\d+", anchor)
    assert any(link.endswith("report.html#verdict-2") for link in outward)
    assert sum(link.endswith("diff.html") for link in outward) == 4, (
        "notices and table, 2 datasets"
    )
    here = {tag.attributes["id"] for tag in page.tags if "id" in tag.attributes}
    assert {link[1:] for link in links if link.startswith("#")} <= here


def test_the_zoo_can_be_moved(zoo: Path, tmp_path: Path) -> None:
    moved = tmp_path / "a new place"
    shutil.copytree(zoo, moved)
    write_zoo_report(moved / "history.sqlite", moved / "again.html")
    assert (moved / "again.html").read_text() == (zoo / "zoo.html").read_text()


def test_a_page_elsewhere_links_to_the_same_reports(zoo: Path, tmp_path: Path) -> None:
    page = read(write_zoo_report(zoo / "history.sqlite", tmp_path / "x" / "zoo.html").read_text())
    links = [tag.attributes["href"] for tag in page.all("a")]
    outward = [link for link in links if not link.startswith("#")]
    assert outward
    assert all((tmp_path / "x" / unquote(link.partition("#")[0])).is_file() for link in outward)


def test_values_are_those_of_the_history_with_their_intervals(zoo: Path, page: Page) -> None:
    history = read_history(zoo / "history.sqlite")
    text = _text(page)
    for backbone in history.latest:
        for target in ("age", "race", "gender"):
            assert interval(history.highest[backbone.id, "macro_auc", target].estimate) in text
            assert interval(history.last[backbone.id, "bits", target].estimate) in text


def test_attention_comes_first_and_names_each_kind(page: Page) -> None:
    notices = [
        tag
        for tag in page.all("li")
        if "section" in tag.inside
        and tag.attributes.get("class") in {"failed", "verdict", "worse", "stale", "missing"}
    ]
    kinds = [tag.attributes["class"] for tag in notices]
    order = ["failed", "verdict", "worse", "stale", "missing"]
    assert kinds == sorted(kinds, key=order.index)
    assert {"failed", "worse", "stale", "missing"} <= set(kinds)
    told = " ".join(" ".join(tag.text.split()) for tag in notices)
    assert "new_net on faces: not audited: weights not found" in told
    assert "Likely cause: weights" in told
    assert page.all("h2")[0].attributes["id"] == "attention"


def test_verdicts_tell_by_word_and_shape_and_link_to_the_audit(zoo: Path, page: Page) -> None:
    history = read_history(zoo / "history.sqlite")
    cells = [tag for tag in page.all("td") if "table" in tag.inside and "was" not in tag.text]
    words = " ".join(" ".join(tag.text.split()) for tag in cells)
    for outcome, shape in (("PASS", "●"), ("FAIL", "■"), ("INCONCLUSIVE", "◇")):
        expected = sum(verdict.outcome == outcome for verdict in history.verdicts)
        assert expected
        assert words.count(f"{shape} {outcome}") >= expected


def test_no_score_and_no_word_that_claims_too_much(page: Page) -> None:
    text = _text(page)
    assert overclaims(text.replace("bias-audit", "")) == ()
    assert not re.search(r"\bscore\b(?! *[;.])", text.replace("added up into a score", ""))


def test_pairs_that_share_a_strength_are_not_told_apart(zoo: Path, page: Page) -> None:
    groups = [
        " ".join(tag.text.split())
        for tag in page.all("li")
        if re.match(r"[a-z]: ", tag.text.strip())
    ]
    assert any("net_a" in group and "net_b" in group for group in groups)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite"
    one, other = (
        keep(
            database,
            make_zoo_audit(
                HOSTILE, dataset=ARABIC, started=START + timedelta(days=day), failed=True, seed=day
            ),
            dataset=ARABIC,
            entry=HOSTILE,
            zoo=HOSTILE,
        )
        for day in (0, 1)
    )
    keep(database, make_zoo_audit("long" * 60), dataset=ARABIC, entry="long" * 60, zoo=HOSTILE)
    changes = [difference("worse", 0.1, backbone=HOSTILE, group=HOSTILE)]
    record_diff(database, one, other, compared(HOSTILE, HOSTILE, HOSTILE, changes))
    states = [
        EntryState(HOSTILE, HOSTILE, "failed", HOSTILE),
        EntryState(ARABIC, "x", "stale", HOSTILE),
    ]
    record_run(
        database, zoo=HOSTILE, started=START.isoformat(), seconds=1, command=HOSTILE, states=states
    )
    source = write_zoo_report(database, tmp_path / "zoo.html").read_text()
    page = read(source)
    assert len(page.all("script")) == 1
    assert "{{ 7*7 }}" in _text(page)
    assert "<script>alert(1)</script>" in _text(page)
    assert ARABIC in _text(page)


def test_a_folder_that_looks_like_a_scheme_is_no_scheme(tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite"
    odd = tmp_path / "javascript:alert(1)"
    odd.mkdir()
    (odd / "report.html").write_text("x")
    keep(database, make_zoo_audit("net"), dataset="faces", entry="net")
    from bias_audit.results.history.opening import writing_to

    with writing_to(database) as connection:
        connection.execute("UPDATE audits SET folder = 'javascript:alert(1)'")
    page = read(write_zoo_report(database, tmp_path / "zoo.html").read_text())
    outward = {
        t.attributes["href"].partition("#")[0]
        for t in page.all("a")
        if t.attributes["href"][0] != "#"
    }
    assert outward == {"javascript%3Aalert%281%29/report.html"}


def test_pruned_audits_are_told_and_not_linked(zoo: Path, tmp_path: Path) -> None:
    home = tmp_path / "zoo"
    shutil.copytree(zoo, home)
    audits = [
        audit for audit in read_history(home / "history.sqlite").audits if not audit.is_latest
    ]
    mark_pruned(home / "history.sqlite", [audits[0].id])
    source = write_zoo_report(home / "history.sqlite", home / "zoo.html").read_text()
    assert f'{audits[0].folder} <span class="rationale">(pruned)</span>' in source
    assert f'{audits[0].folder}/report.html"' not in source
    assert f'{audits[1].folder}/report.html"' in source


def test_one_audit_without_criteria_or_costs_is_told_as_such(tmp_path: Path) -> None:
    folder = make_audit(backbones=("one", "two")).write(tmp_path / "run")
    database = tmp_path / "history.sqlite"
    record_folder(database, folder, zoo="small", dataset="renders", entry="pair")
    text = _text(read(write_zoo_report(database, tmp_path / "zoo.html").read_text()))
    assert "pair: one" in text and "pair: two" in text
    for sentence in ("No verdict.", "No trend yet.", "No comparison.", "Nothing. No audit failed"):
        assert sentence in text


def test_backbones_with_other_layers_and_criteria_stand_side_by_side(tmp_path: Path) -> None:
    database = tmp_path / "history.sqlite"
    keep(
        database,
        make_zoo_audit("deep", layers=[f"l{i}" for i in range(40)]),
        dataset="d",
        entry="deep",
    )
    keep(database, make_zoo_audit("flat", layers=("a", "b")), dataset="d", entry="flat")
    made = make_audit(backbones=("other",), criteria=criteria_of("age")).result
    keep(database, made, dataset="d", entry="other")
    text = _text(read(write_zoo_report(database, tmp_path / "zoo.html").read_text()))
    assert "not examined" in text
    assert "phenotype on d" in text


def test_an_empty_or_damaged_history_is_an_error_and_writes_nothing(
    zoo: Path, tmp_path: Path
) -> None:
    to = tmp_path / "zoo.html"
    with pytest.raises(OutputError, match="expected audits of zoo 'absent'"):
        write_zoo_report(zoo / "history.sqlite", to, zoo="absent")
    damaged = tmp_path / "history.sqlite"
    shutil.copy(zoo / "history.sqlite", damaged)
    from bias_audit.results.history.opening import writing_to

    with writing_to(damaged) as connection:
        connection.execute(
            "UPDATE estimates SET value = 'text', lower = 'text' WHERE group_name IS NULL"
        )
    with pytest.raises(OutputError, match="damaged"):
        write_zoo_report(damaged, to)
    assert not to.exists()


def test_old_audits_are_thinned_but_never_those_where_something_changed() -> None:
    steps = [
        Step(
            f"2026-01-01T00:00:{i:02d}+00:00",
            "l",
            estimate(0.7, 0.1, 9),
            ("weights",) if i in {7, 23} else (),
        )
        for i in range(60)
    ]
    kept = thinned(steps)
    assert len(kept) == 30
    assert kept[0] is steps[0] and list(kept[-15:]) == steps[-15:]
    assert steps[7] in kept and steps[23] in kept
    assert [step.started for step in kept] == sorted(step.started for step in kept)
    assert thinned(steps[:10]) == tuple(steps[:10])
