"""A zoo is brought up to date by doing what changed, and nothing else."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bias_audit.errors import OutputError
from bias_audit.progress import Silent
from bias_audit.results.history.reading import all_audits, latest_audits
from bias_audit.software import software_of
from bias_audit.zoo.costing import predictions
from bias_audit.zoo.entries import DATABASE, entries, statuses, zoo_locked
from bias_audit.zoo.recovery import prune
from tests.zoo.conftest import Zoo


def reasons(zoo: Zoo, **options: Any) -> dict[str, tuple[str, ...]]:
    config = zoo.load()
    found = statuses(config, entries(config), progress=Silent(), **options)
    return {each.entry.label: each.reasons for each in found}


def folder(zoo: Zoo, label: str) -> Path:
    """Of the newest audit."""
    return latest_audits(zoo.load().folder / DATABASE, "tiny")["faces", label].folder


def subject(zoo: Zoo, label: str) -> dict[str, Any]:
    (found,) = json.loads((folder(zoo, label) / "audit.json").read_text())["subjects"]
    return dict(found)


def reused(zoo: Zoo, label: str) -> dict[str, bool]:
    return {cost["stage"]: cost["reused"] for cost in subject(zoo, label)["costs"]}


def states(zoo: Zoo, *, force: bool = False) -> dict[str, str]:
    return {state.entry: state.state for state in zoo.run(force=force).states}


def test_nothing_changed_costs_nothing(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reasons(zoo) == {"one": ("never audited",), "two": ("never audited",)}
    assert states(zoo) == {"one": "audited", "two": "audited"}

    def refused(*_args: object, **_options: object) -> None:
        raise AssertionError("a backbone was loaded")

    monkeypatch.setattr("bias_audit.audit.run.load_backbone", refused)
    assert states(zoo) == {"one": "unchanged", "two": "unchanged"}


def test_changed_weights_are_one_new_audit_and_its_cause(zoo: Zoo) -> None:
    zoo.run()
    zoo.change_weights("two")
    assert reasons(zoo) == {"one": (), "two": ("weights: the weights changed",)}
    assert states(zoo) == {"one": "unchanged", "two": "audited"}
    assert reused(zoo, "two")["forward pass"] is False
    found = json.loads((folder(zoo, "two") / "diff.json").read_text())
    assert {cause["kind"] for cause in found["causes"]} == {"weights"}


def test_a_changed_label_needs_no_forward_pass(zoo: Zoo) -> None:
    zoo.run()
    rows = zoo.rows()
    for row in rows[:8]:
        row["gender"] = {"female": "male", "male": "female"}[row["gender"]]
    zoo.write_rows(rows)
    assert reasons(zoo)["one"] == ("data: labels of the same images changed",)
    assert states(zoo)["one"] == "audited"
    stages = reused(zoo, "one")
    assert stages["forward pass"] is True
    assert stages["linear_probe"] is False


def test_a_new_image_is_the_only_one_to_pass(zoo: Zoo) -> None:
    rows = zoo.rows()
    zoo.write_rows(rows[1:])
    zoo.run()
    zoo.write_rows(rows)
    assert reasons(zoo)["one"] == ("data: the images changed",)
    zoo.run()
    assert subject(zoo, "one")["extraction"]["forward_images"] == 1


def test_a_changed_analysis_is_the_only_one_to_run(zoo: Zoo) -> None:
    zoo.run()
    zoo.settings["analyses"][1]["folds"] = 4
    assert reasons(zoo)["one"] == ("config: settings changed (analyses)",)
    zoo.run()
    stages = reused(zoo, "one")
    assert stages["linear_probe"] is True
    assert stages["group_profiles"] is False


def test_files_may_move(zoo: Zoo) -> None:
    backbone = {"kind": "checkpoint", "architecture": "test_resnet", "label": "ours"}
    zoo.settings["backbones"] = [backbone | {"file": str(zoo.weights("one")), "name": "ours"}]
    zoo.run()
    moved = zoo.folder / "elsewhere"
    moved.mkdir()
    shutil.move(zoo.weights("one"), moved / "one.safetensors")
    zoo.settings["backbones"][0]["file"] = str(moved / "one.safetensors")
    assert reasons(zoo) == {"ours": ()}


@pytest.mark.parametrize("who", ["bias-audit", "extension"])
def test_other_code_behind_an_analysis_is_named(
    who: str, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    if who == "extension":
        monkeypatch.setattr("bias_audit.audit.provenance._OWN", "bias_audit.data")
    zoo.run()

    def other(module: str) -> Any:
        found = software_of(module)
        if module.endswith("group_profiles"):
            return type(found)("of another version", found.packages)
        return found

    monkeypatch.setattr("bias_audit.audit.provenance.software_of", other)
    monkeypatch.setattr("bias_audit.finished.installed", lambda: "another version")
    module = "bias_audit.analyses.methods.group_profiles"
    expected = {
        "bias-audit": "code: bias-audit changed (group_profiles)",
        "extension": f"code: extension {module} changed",
    }
    assert reasons(zoo)["one"] == (expected[who],)


def test_what_makes_an_audit_stale_is_the_users_choice(zoo: Zoo) -> None:
    zoo.run()
    zoo.change_weights("one")
    zoo.settings["policy"] = {"stale_on": ["config"]}
    assert reasons(zoo)["one"] == ()
    zoo.settings["policy"] = {"max_age_days": 2}
    later = datetime.now(UTC) + timedelta(days=3)
    assert any(reason.startswith("age: ") for reason in reasons(zoo, now=later)["two"])


def test_force_repeats_from_stored_results(zoo: Zoo) -> None:
    zoo.run()
    before = subject(zoo, "one")["analyses"]
    assert states(zoo, force=True) == {"one": "audited", "two": "audited"}
    after, stages = subject(zoo, "one")["analyses"], reused(zoo, "one")
    assert all(stages[name] for name in ("forward pass", "linear_probe", "group_profiles"))
    assert [each["blocks"] for each in before] == [each["blocks"] for each in after]


def test_a_damaged_or_missing_result_is_made_again(zoo: Zoo) -> None:
    zoo.run()
    (folder(zoo, "one") / "audit.json").write_text("{")
    shutil.rmtree(folder(zoo, "two"))
    found = reasons(zoo)
    assert "was changed after it was written" in found["one"][0]
    assert "is missing" in found["two"][0]
    assert states(zoo) == {"one": "audited", "two": "audited"}
    assert reasons(zoo) == {"one": (), "two": ()}


def test_a_lost_history_is_made_again_from_the_run_folders(zoo: Zoo) -> None:
    zoo.run()
    (zoo.load().folder / DATABASE).unlink()
    folders = sorted(zoo.load().folder.glob("audits/*/*/*"))
    done = zoo.run()
    assert all("the history lost" in state.reason for state in done.states)
    assert sorted(zoo.load().folder.glob("audits/*/*/*")) == folders  # none was made again
    assert states(zoo) == {"one": "unchanged", "two": "unchanged"}


def test_one_backbone_that_cannot_be_loaded_does_not_stop_the_others(zoo: Zoo) -> None:
    zoo.weights("one").write_bytes(b"no weights")
    done = zoo.run()
    found = {state.entry: state for state in done.states}
    assert found["one"].state == "failed"
    assert "one.safetensors" in found["one"].reason
    assert found["two"].state == "audited"


def test_two_commands_never_collide(zoo: Zoo) -> None:
    with (
        zoo_locked(zoo.load().folder),
        pytest.raises(OutputError, match="another command is at work"),
    ):
        zoo.run()


def test_pruning_keeps_the_newest_folders_and_all_numbers(zoo: Zoo) -> None:
    for _ in range(3):
        zoo.run(force=True)
    zoo.settings["policy"] = {"keep": {"audits": 1}}
    config = zoo.load()
    database = config.folder / DATABASE
    folders = [a.folder for audits in all_audits(database, "tiny").values() for a in audits]
    told = list(prune(config, entries(config), mode="list"))
    assert len(told) == 5
    assert all(folder.is_dir() for folder in folders)
    list(prune(config, entries(config), mode="delete"))
    kept = {latest.folder for latest in latest_audits(database, "tiny").values()}
    assert {folder for folder in folders if folder.is_dir()} == kept
    with sqlite3.connect(database) as connection:
        counts = connection.execute("SELECT is_pruned, COUNT(*) FROM audits GROUP BY 1").fetchall()
    assert counts == [(0, 2), (1, 4)]
    assert states(zoo) == {"one": "unchanged", "two": "unchanged"}
    assert list(prune(config, entries(config), mode="delete"))[-1].startswith("deleted 0 run")


def test_intermediate_results_that_nobody_used_for_long_can_go(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.run()
    zoo.settings["policy"] = {"keep": {"cache_days": 3}}
    config = zoo.load()
    list(prune(config, entries(config), mode="delete"))
    assert any(Path(config.output.cache, "activations").iterdir())
    now = time.time()
    monkeypatch.setattr("bias_audit.zoo.recovery.time.time", lambda: now + 4 * 86400)
    list(prune(config, entries(config), mode="delete"))
    assert not any(Path(config.output.cache, "activations").iterdir())
    assert states(zoo, force=True)["one"] == "audited"


def test_a_plan_does_not_rest_on_fits_that_were_stored(zoo: Zoo) -> None:
    zoo.run()
    fitted = {cost["stage"]: cost["seconds"] for cost in subject(zoo, "two")["costs"]}
    zoo.settings["analyses"][0]["level"] = 0.9  # the same probes with other intervals
    zoo.run()
    zoo.change_weights("two")
    config = zoo.load()
    planned = predictions(config, entries(config), progress=Silent())
    (two,) = (each for each in planned if each.status.entry.label == "two")
    (part,) = (part for part in two.parts if part.stage == "linear_probe")
    assert part.seconds == pytest.approx(fitted["linear_probe"])
    assert "stored" not in part.basis
