"""Latest audits as runs of an MLflow store, for those who look at everything there.

MLflow is imported only when needed. Nothing is sent anywhere but to the store that is named:
MLflow's own telemetry is switched off unless the user has set it.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bias_audit.errors import AuditError, OutputError
from bias_audit.results.history.reading import Backbone, History, Point, read_history
from bias_audit.statistics.estimate import Estimate

_BATCH: Final = 500
"""Metrics of one request; servers take at most 1000."""
_LONGEST_KEY, _LONGEST_TEXT = 250, 5000
_TAG: Final = "bias_audit.audit_sha256"
_BACKBONE: Final = "bias_audit.backbone"


def log_to_mlflow(
    database: Path, audits: Collection[int], *, tracking_uri: str, reports: Path | None = None
) -> tuple[str, ...]:
    """Log latest audits, one MLflow run per backbone; what is there already is left alone.

    An experiment stands for the zoo. Metrics are named QUANTITY.TARGET with the layer's depth as
    the step, and have their interval beside them as NAME_lower and NAME_upper; NAME_highest is
    the highest over the layers. Verdicts, weights and fingerprints are tags.

    Args:
        database: The history.
        audits: Ids of audits; those that are not the latest of their entry are passed over.
        tracking_uri: Of the store: `sqlite:///FILE`, or a server's address.
        reports: Folder that audits' folders are relative to; given, reports are artefacts.

    Returns:
        The ids of the MLflow runs made.

    Raises:
        AuditError: MLflow is not installed.
        OutputError: The history cannot be read, or the store refuses.
    """
    client, refusals = mlflow_client(tracking_uri)
    history = read_history(database)
    chosen = [each for each in history.latest if each.audit.id in audits]
    try:
        return tuple(
            made
            for backbone in chosen
            if (made := _log(client(), history, backbone, reports)) is not None
        )
    except refusals as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutputError(
            f"{tracking_uri}: expected a store that MLflow can write to, it says: {first}"
        ) from error


def mlflow_client(uri: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """What makes a client of the store, and what it raises where the store refuses.

    Raises:
        AuditError: MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        tracking = importlib.import_module("mlflow.tracking")
        exceptions = importlib.import_module("mlflow.exceptions")
    except ImportError as error:
        raise AuditError(
            f"expected MLflow to log to {uri}, found none ({error}); "
            "install it with: pip install 'bias-audit[mlflow]'"
        ) from error
    return lambda: tracking.MlflowClient(tracking_uri=uri), (exceptions.MlflowException, OSError)


def _log(client: Any, history: History, backbone: Backbone, reports: Path | None) -> str | None:
    audit = backbone.audit
    experiment = _experiment(client, audit.zoo)
    tags = dict(_tags(history, backbone))
    if _is_there(client, experiment, tags):
        return None
    began = round(1000 * datetime.fromisoformat(audit.started).timestamp())
    name = f"{backbone.label} on {audit.dataset}"
    run = client.create_run(experiment, start_time=began, tags=tags, run_name=name)
    number = str(run.info.run_id)
    entities = importlib.import_module("mlflow.entities")
    params = [entities.Param(key, value) for key, value in _params(backbone)]
    client.log_batch(number, params=params)
    metrics = [
        entities.Metric(each.key, each.value, began, each.step)
        for each in _metrics(history, backbone)
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(number, metrics=metrics[start : start + _BATCH])
    report = reports / audit.folder / "report.html" if reports else None
    if report is not None and report.is_file():
        client.log_artifact(number, str(report))
    client.set_terminated(number, end_time=began + round(1000 * audit.seconds))
    return number


def _experiment(client: Any, zoo: str) -> str:
    found = client.get_experiment_by_name(zoo)
    return str(client.create_experiment(zoo) if found is None else found.experiment_id)


def _is_there(client: Any, experiment: str, tags: dict[str, str]) -> bool:
    """Digests are hexadecimal, so they may stand in a filter; names are compared here."""
    runs = client.search_runs([experiment], filter_string=f"tags.`{_TAG}` = '{tags[_TAG]}'")
    return any(run.data.tags.get(_BACKBONE) == tags[_BACKBONE] for run in runs)


def _params(backbone: Backbone) -> Iterator[tuple[str, str]]:
    audit = backbone.audit
    yield from (
        ("backbone", _text(backbone.name)),
        ("weights", _text(backbone.weights)),
        ("dataset", _text(audit.dataset)),
        ("n_parameters", str(backbone.n_parameters)),
        ("n_layers", str(backbone.n_layers)),
        ("n_images", str(audit.n_images)),
        ("config_sha256", _text(audit.config_sha256)),
        ("bias_audit", _text(audit.code_version)),
    )


def _tags(history: History, backbone: Backbone) -> Iterator[tuple[str, str]]:
    audit = backbone.audit
    yield _TAG, re.sub(r"[^0-9a-zA-Z]", "_", audit.audit_sha256)
    yield _BACKBONE, _text(backbone.name)
    yield "bias_audit.weights_sha256", _text(backbone.weights_sha256)
    yield "bias_audit.manifest_sha256", _text(audit.manifest_sha256)
    yield "bias_audit.folder", _text(audit.folder.as_posix())
    yield "bias_audit.outcome", _text(audit.outcome)
    for kind, value in audit.fingerprints.items():
        yield key_of(f"bias_audit.fingerprint.{kind}"), _text(value)
    for verdict in history.verdicts:
        if verdict.backbone_id == backbone.id:
            yield key_of(f"bias_audit.verdict.{verdict.criterion}"), _text(verdict.outcome)


@dataclass(frozen=True)
class _Metric:
    key: str
    value: float
    step: int


def _metrics(history: History, backbone: Backbone) -> Iterator[_Metric]:
    for (number, quantity, target), points in history.profiles.items():
        if number == backbone.id:
            yield from _curve(key_of(f"{quantity}.{target}"), points)
    seconds: dict[str, float] = {}
    for cost in history.costs:
        if cost.backbone_id == backbone.id:
            seconds[cost.stage] = seconds.get(cost.stage, 0.0) + cost.seconds
    for stage, spent in seconds.items():
        yield _Metric(key_of(f"seconds.{stage}"), spent, 0)


def _curve(key: str, points: Sequence[Point]) -> Iterator[_Metric]:
    for place, point in enumerate(points):
        yield from _estimate(key, point.estimate, place if point.depth < 0 else point.depth)
        if point.lift_estimate is not None:
            yield from _estimate(f"{key}_lift", point.lift_estimate, max(point.depth, 0))
    best = max(points, key=lambda point: point.estimate.value)
    yield from _estimate(f"{key}_highest", best.estimate, 0)


def _estimate(key: str, estimate: Estimate, step: int) -> Iterator[_Metric]:
    yield _Metric(key, estimate.value, step)
    yield _Metric(f"{key}_lower", estimate.lower, step)
    yield _Metric(f"{key}_upper", estimate.upper, step)


def key_of(name: str) -> str:
    """A name that MLflow takes: letters, digits and a few signs, and no path out of its folder."""
    plain = re.sub(r"[^\w\-. ]", "_", name, flags=re.ASCII)
    return plain.strip()[: _LONGEST_KEY - 20]


def _text(value: str) -> str:
    return value[:_LONGEST_TEXT]
