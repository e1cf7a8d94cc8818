"""Audits in an MLflow store: their numbers with intervals, once, without any network."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from typing import Any

import pytest

from bias_audit.errors import AuditError, OutputError
from bias_audit.report.zoo.tracking import key_of, log_to_mlflow
from bias_audit.results.history.reading import read_history
from tests.report.zoo_history import keep, make_zoo_audit

pytestmark = [
    # MLflow's own use of SQLAlchemy and of Python's typing
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "history.sqlite"
    (tmp_path / "faces" / "net" / "2026-01-04").mkdir(parents=True)
    (tmp_path / "faces" / "net" / "2026-01-04" / "report.html").write_text("a report")
    keep(path, make_zoo_audit("net"), dataset="faces", entry="net")
    keep(path, make_zoo_audit("odd", weights="f" * 64), dataset="../..;rm", entry="odd/<b>")
    return path


@pytest.mark.slow
def test_a_local_store_holds_every_number_once(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    history = read_history(database)
    every = {audit.id for audit in history.audits}
    made = log_to_mlflow(database, every, tracking_uri=uri, reports=tmp_path)
    assert len(made) == 2
    assert log_to_mlflow(database, every, tracking_uri=uri) == (), "given again, left alone"
    client: Any = importlib.import_module("mlflow.tracking").MlflowClient(tracking_uri=uri)
    runs = {client.get_run(number).info.run_name: client.get_run(number) for number in made}
    run = runs["net on faces"]
    backbone = next(each for each in history.latest if each.label == "net")
    points = history.profiles[backbone.id, "macro_auc", "gender"]
    kept = {
        name: {m.step: m.value for m in client.get_metric_history(run.info.run_id, name)}
        for name in ("macro_auc.gender", "macro_auc.gender_lower", "macro_auc.gender_upper")
    }
    for name, bound in zip(kept, ("value", "lower", "upper"), strict=True):
        assert kept[name] == {p.depth: getattr(p.estimate, bound) for p in points}
    best = history.highest[backbone.id, "macro_auc", "gender"].estimate
    assert run.data.metrics["macro_auc.gender_highest"] == best.value
    assert run.data.tags["bias_audit.weights_sha256"] == backbone.weights_sha256
    assert run.data.tags["bias_audit.fingerprint.weights"] == "net"
    assert run.data.tags["bias_audit.verdict.age is readable"] in {"PASS", "FAIL", "INCONCLUSIVE"}
    assert run.data.params["dataset"] == "faces"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_without_mlflow_the_fix_is_named(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(AuditError, match=r"pip install 'bias-audit\[mlflow\]'") as caught:
        log_to_mlflow(database, {1}, tracking_uri="sqlite:///x.db")
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_a_store_that_refuses_is_named(database: Path) -> None:
    with pytest.raises(OutputError, match="mystery://store"):
        log_to_mlflow(database, {1}, tracking_uri="mystery://store")


def test_names_stay_names() -> None:
    assert key_of("macro_auc.age") == "macro_auc.age"
    assert key_of("../../etc/passwd") == ".._.._etc_passwd"
    assert len(key_of("x" * 999)) < 250
