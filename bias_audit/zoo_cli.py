"""The verbs of `bias-audit zoo`: audits of many backbones, again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bias_audit.command import (
    EXIT_ANALYSIS_FAILED,
    EXIT_CRITERION_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_REFUSED,
    LogOption,
    SetOption,
    typed,
    verb,
)
from bias_audit.config.catalog import names_shipped

if TYPE_CHECKING:
    from bias_audit.config.zoo import ZooConfig
    from bias_audit.zoo.entries import Entry
    from bias_audit.zoo.run import ZooRun

zoo_app = typer.Typer(
    no_args_is_help=True,
    help="Audit many backbones (a zoo) repeatedly; only what changed is audited again.",
    epilog="Exit codes of `zoo run`: 0 every audit is current and every criterion passes, 1 a "
    "criterion fails or a change is one on which the config fails, 2 correct the command or the "
    "config, 3 a criterion is inconclusive (if policy.inconclusive is fails), 4 an audit or an "
    "analysis failed, 5 a system error (disk, permissions, another command at work in the "
    "zoo), 70 a defect, 130 interrupted.",
)

ZooArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A YAML zoo config, or a shipped one's name.")
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATTERN",
        help="Only entries whose backbone, data set or DATASET/BACKBONE matches; repeatable.",
    ),
]


@zoo_app.command("run")
def run_command(
    config: ZooArgument,
    overrides: SetOption = None,
    only: OnlyOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also repeat audits that are current, with what is cached."),
    ] = False,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor", metavar="KIND", help="local (this machine) or ray (a cluster)."
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Address of the cluster, such as auto.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            "--summary-file",
            metavar="FILE",
            help="Also write a summary for chat or mail; as data if the name ends in .json.",
        ),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option("--mlflow", metavar="URI", help="Also log new audits to this MLflow store."),
    ] = None,
    log_format: LogOption = "text",
) -> None:
    """Audit what is new or stale, compare it with the previous audit, and write the report."""
    with verb(log_format) as out:
        settings = list(overrides or ())
        settings += [] if executor is None else [f"executor={{kind: {executor}}}"]
        settings += [] if address is None else [f"executor.address={address}"]
        zoo, chosen = _zoo(config, settings, only)
        from bias_audit.report.zoo.summary import summary_text, write_summary
        from bias_audit.report.zoo.tracking import log_to_mlflow, mlflow_client
        from bias_audit.report.zoo.update import update_zoo_report
        from bias_audit.zoo.run import end, run_zoo

        if mlflow is not None:
            mlflow_client(mlflow)  # a missing package is said before any work

        done = run_zoo(
            zoo, chosen, command=typed(), progress=out.progress, force=force, delivery="later"
        )
        page = None  # as long as no audit was ever made
        if done.has_audits:
            page = zoo.folder / "zoo.html"
            if not update_zoo_report(done.database, page, zoo=zoo.name):
                out.lines([f"Nothing changed since {page} was written: it stays as it is."])
        if summary is not None:
            write_summary(done.database, summary, run=done.id, report=page)
        if mlflow is not None:
            audited = (state.audit_id for state in done.states if state.state == "audited")
            new = {audit for audit in audited if audit is not None}
            folder = done.database.parent
            made = log_to_mlflow(done.database, new, tracking_uri=mlflow, reports=folder)
            out.lines([f"MLflow: logged {len(made)} runs to {mlflow}"])
        code = _exit_code(zoo, done)
        out.lines(["", *summary_text(done.database, run=done.id, report=page).splitlines()])
        out.lines(f"This stops the pipeline: {gate}" for gate in done.failed_gates)
        out.result(
            exit_code=code,
            states=Counter(state.state for state in done.states),
            failed_gates=list(done.failed_gates),
            report=str(page) if page else None,
            seconds=done.seconds,
        )
        end(zoo.folder)
        raise typer.Exit(code)


@zoo_app.command("status")
def status_command(
    config: ZooArgument,
    overrides: SetOption = None,
    only: OnlyOption = None,
    log_format: LogOption = "text",
) -> None:
    """List which audits are current, which are stale, and why; computes nothing."""
    with verb(log_format) as out:
        zoo, chosen = _zoo(config, overrides or (), only)
        from bias_audit.zoo.entries import statuses

        found = statuses(zoo, chosen, progress=out.progress)
        width = max(len(each.entry.label) for each in found)
        for each in found:
            why = "; ".join(each.reasons)
            if out.log:
                out.log.event(
                    "standing",  # the name of the event, which log collectors know
                    dataset=each.entry.dataset,
                    entry=each.entry.label,
                    state=each.state,
                    reasons=list(each.reasons),
                )
            else:
                out.lines([f"{each.state:<8}{each.entry.label:<{width}}  {each.entry.dataset}"])
                out.lines([f"        {why}"] if why else [])
        counts = Counter(each.state for each in found)
        out.lines([", ".join(f"{number} {state}" for state, number in counts.items())])
        out.result(states=counts)


@zoo_app.command("plan")
def plan_command(
    config: ZooArgument,
    overrides: SetOption = None,
    only: OnlyOption = None,
    log_format: LogOption = "text",
) -> None:
    """Predict how long the next run takes, from earlier audits on this machine."""
    with verb(log_format) as out:
        zoo, chosen = _zoo(config, overrides or (), only)
        from bias_audit.zoo.costing import plan_lines, predictions

        found = predictions(zoo, chosen, progress=out.progress)
        out.lines(plan_lines(found))
        out.result(
            audits=len(found),
            seconds=round(sum(each.seconds for each in found), 1),
            bytes=sum(each.bytes for each in found),
        )


@zoo_app.command("report")
def report_command(
    place: Annotated[
        Path, typer.Argument(metavar="ZOO", help="Config, folder or history of the zoo.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Default: zoo.html in the folder.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Write the report of the zoo again, from its history alone."""
    with verb() as out:
        database, name = place, None
        if place.is_dir():
            database = place / "history.sqlite"
        elif place.suffix in {".yaml", ".yml"} or names_shipped(place):
            from bias_audit.config.load import load_zoo

            zoo = load_zoo(place, overrides or ())
            database, name = zoo.folder / "history.sqlite", zoo.name
        from bias_audit.report.zoo.page import write_zoo_report

        page = write_zoo_report(database, to or database.parent / "zoo.html", zoo=name)
        out.lines([f"Report: {page}"])


@zoo_app.command("prune")
def prune_command(
    config: ZooArgument,
    overrides: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be deleted; delete nothing.")
    ] = False,
) -> None:
    """Delete run folders beyond policy.keep; the history keeps their numbers."""
    with verb() as out:
        zoo, chosen = _zoo(config, overrides or (), None)
        from bias_audit.zoo.recovery import prune

        mode: Literal["delete", "list"] = "list" if dry_run else "delete"
        out.lines(prune(zoo, chosen, mode=mode))


def _zoo(
    config: Path, overrides: Sequence[str], only: Sequence[str] | None
) -> tuple[ZooConfig, tuple[Entry, ...]]:
    from bias_audit.config.load import load_zoo

    zoo = load_zoo(config, overrides)
    from bias_audit.zoo.entries import chosen_entries, entries

    return zoo, chosen_entries(entries(zoo), only or (), source=zoo.name)


def _exit_code(zoo: ZooConfig, done: ZooRun) -> int:
    """Missing evidence (a system error, or a failure) comes first, whatever else there is."""
    outcomes = done.outcomes
    if done.refused:
        return EXIT_REFUSED
    if "failed" in outcomes or any(state.state == "failed" for state in done.states):
        return EXIT_ANALYSIS_FAILED
    if "FAIL" in outcomes or done.failed_gates:
        return EXIT_CRITERION_FAILED
    undecided = "INCONCLUSIVE" in outcomes and zoo.policy.inconclusive == "fails"
    return EXIT_INCONCLUSIVE if undecided else 0
