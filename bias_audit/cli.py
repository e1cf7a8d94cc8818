"""The command line: `bias-audit`.

Exit codes: 0 done, and every criterion of the config passes; 1 a criterion, a check of the
self-test, or what a comparison was to fail on, fails; 2 the command, the config or the inputs need
correcting; 3 no criterion fails, but one is inconclusive (`diff`: nothing fails, but changes are
inconclusive, and --fail-on names these); 4 an analysis failed, which comes before 1 and 3 because
evidence is missing (the report is written and says which; `diff`: AFTER lacks what BEFORE has); 5
a system error (disk, permissions, another run in the same folder); 70 a defect of bias-audit
itself; 130 interrupted (rerun to resume).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from bias_audit import api, process
from bias_audit.command import (
    EXIT_ANALYSIS_FAILED,
    EXIT_CRITERION_FAILED,
    EXIT_DEFECT,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    ConfigArgument,
    LogOption,
    Output,
    SetOption,
    typed,
    verb,
)
from bias_audit.config.catalog import shipped, unknown_name
from bias_audit.console import print_brief, print_selftest
from bias_audit.errors import AuditError, OutputError
from bias_audit.zoo_cli import zoo_app

if TYPE_CHECKING:
    from bias_audit.audit.verifying import Match
    from bias_audit.config.schema import AuditConfig
    from bias_audit.report.verifying.verify import Check
    from bias_audit.results.audit import AuditResult


_GATES = {
    "open": 0,
    "failed": EXIT_CRITERION_FAILED,
    "undecided": EXIT_INCONCLUSIVE,
    "missing": EXIT_ANALYSIS_FAILED,
}
"""Exit code of a comparison, by what its gate does."""

_NARROWEST = 60
"""Columns of a terminal that help is laid out for."""

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audit what a pretrained image backbone encodes about people.",
    epilog="Exit codes: 0 done and every criterion passes, 1 a criterion fails, 2 correct the "
    "command, config or inputs, 3 a criterion is inconclusive, 4 an analysis failed, 5 a system "
    "error (disk, permissions, a run in the same folder), 70 a defect, 130 interrupted.",
)
data_app = typer.Typer(no_args_is_help=True, help="Check the images and labels before an audit.")
app.add_typer(data_app, name="data")
app.add_typer(zoo_app, name="zoo")


@app.command("run")
def run_command(
    config: ConfigArgument,
    overrides: SetOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite the finished audit of another config.")
    ] = False,
    open_it: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser once it is written.")
    ] = False,
    log_format: LogOption = "text",
) -> None:
    """Run an audit and write its report."""
    with verb(log_format) as out:
        settings = _settings(config, overrides)
        out.lines([f"Audit {settings.name} from {shipped(config)}"])
        audit = api.run(settings, command=typed(), progress=out.progress, replace=replace)
        out.lines([audit.notice] if audit.notice else [])
        result, paths, lines = audit.result, audit.reports, audit.brief
        code = _exit_code(result)
        if out.log:
            out.lines(lines)
        else:
            out.console.print()
            print_brief(out.console, lines)
        out.result(
            exit_code=code,
            verdicts=Counter(verdict.outcome for verdict in result.verdicts),
            failed_analyses=len(result.failed),
            reports=[str(path) for path in paths],
        )
        if open_it:
            import webbrowser

            if not paths or not webbrowser.open(paths[0].resolve().as_uri()):
                out.console.print("No browser was found to open the report with.")
        raise typer.Exit(code)


def _settings(config: Path, overrides: list[str] | None) -> AuditConfig:
    from bias_audit.config.load import load_config

    return load_config(config, overrides or ())


def _exit_code(result: AuditResult) -> int:
    """A failed analysis comes first: evidence is missing, whatever else there is."""
    outcomes = {verdict.outcome for verdict in result.verdicts}
    if result.failed:
        return EXIT_ANALYSIS_FAILED
    if "FAIL" in outcomes:
        return EXIT_CRITERION_FAILED
    return EXIT_INCONCLUSIVE if "INCONCLUSIVE" in outcomes else 0


@app.command("init")
def init_command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Of a shipped config; without, they are listed."),
    ] = None,
    to: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="To write; default: NAME.yaml.")
    ] = None,
) -> None:
    """Write a commented copy of a shipped config, with your own paths to edit."""
    with verb() as out:
        from bias_audit.config.starting import shipped_lines, start_config, started_lines

        out.lines(shipped_lines() if name is None else started_lines(start_config(name, to)))


@app.command("kinds")
def kinds_command() -> None:
    """List every kind that a config can name, and the packages that bring those not built in."""
    with verb() as out:
        from bias_audit.config.starting import built_in_lines, offered

        out.lines(built_in_lines())
        found = list(offered())
        out.lines(["", "Of other packages:", *(each.line for each in found)] if found else [])
        if any(each.problem for each in found):
            raise typer.Exit(AuditError.exit_code)


@app.command("check")
def check_command(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Validate a config and estimate time and disk space, without loading weights."""
    with verb() as out:
        settings = _settings(config, overrides)
        from bias_audit.audit.checking import check_lines, looking

        with looking(settings) as seen:
            out.lines(check_lines(seen, out.progress))


@app.command("suggest")
def suggest_command(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Suggest criteria that these images can decide; what is acceptable is for you to say."""
    with verb() as out:
        settings = _settings(config, overrides)
        from bias_audit.audit.checking import looking
        from bias_audit.audit.suggesting import suggested_lines

        with looking(settings) as seen:
            out.lines(suggested_lines(seen, out.progress))


@data_app.command("check")
def data_check_command(
    config: ConfigArgument,
    overrides: SetOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Open only a sample of the images; takes seconds.")
    ] = False,
) -> None:
    """Count the images in every intersection; list exclusions and warnings."""
    with verb() as out:
        settings = _settings(config, overrides)
        from bias_audit.audit.checking import data_lines, looking, quick_lines

        with looking(settings) as seen:
            out.lines((quick_lines if quick else data_lines)(seen, out.progress))


@data_app.command("forget")
def data_forget_command(
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="SUBJECT...",
            help="Who withdrew consent, by the names that labels have; or a file.",
        ),
    ],
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML config of an audit, or of a zoo.")
    ],
) -> None:
    """Remove all that is kept about people, and say which audits rest on their images.

    They are left out of all later audits with the same cache.
    """
    with verb() as out:
        from bias_audit.audit.forgetting import forget, subjects_of
        from bias_audit.config.load import is_zoo_config

        if is_zoo_config(config):
            from bias_audit.config.load import load_zoo
            from bias_audit.zoo.entries import entries

            zoo = load_zoo(config)
            configs, runs = [entry.config for entry in entries(zoo)], zoo.folder.parent
        else:
            configs = [_settings(config, None)]
            runs = configs[0].folder.parent
        out.lines(forget(configs, subjects_of(subjects), runs, out.progress))


@app.command("render")
def render_command(
    run_folder: RunArgument,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="html or pdf; repeatable; default: both.")
    ] = None,
    fonts: Annotated[
        list[Path] | None,
        typer.Option(
            "--font",
            metavar="FILE",
            help="Use this font instead of the config's output.fonts; repeatable.",
        ),
    ] = None,
) -> None:
    """Write the reports of a finished run again, from its results alone."""
    with verb() as out:
        _refuse_other_folders(run_folder)
        from bias_audit.report.render import render

        paths = render(run_folder, formats=tuple(formats or ("html", "pdf")), fonts=fonts)
        out.lines(f"Report: {path}" for path in paths)


def _refuse_other_folders(*folders: Path) -> None:
    """Stop where an argument is no run folder, which is for the user to correct.

    Raises:
        AuditError: Nothing is there, or something else.
    """
    for folder in folders:
        if (folder / "audit.json").is_file():
            continue
        found = "found no audit.json in it" if folder.is_dir() else "got a file"
        found = found if folder.exists() else "but nothing is there"
        raise AuditError(f"{folder}: expected a finished run's folder, {found}")


@app.command("verify")
def verify_command(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="A report.pdf.")],
    run_folder: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="FOLDER", help="Compare with the results in this run folder."
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Check whether these weights were audited; repeatable.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Check whether this data (a config or a folder) was audited.",
        ),
    ] = None,
) -> None:
    """Verify a report against its embedded data and source files.

    Exit codes: 0 everything agrees, 1 something differs, 2 not a report, or unreadable.
    """
    with verb() as out:
        from bias_audit.report.verifying.verify import NOT_SHOWN, verify_report

        found = verify_report(report, run=run_folder)
        _print_checks(out, found.checks)
        holds = found.holds
        if found.result is not None and (weights or data is not None):
            from bias_audit.audit.verifying import data_match, weights_matches

            others = list(weights_matches(found.result, weights or ()))
            if data is not None:
                others.append(data_match(found.result, data, out.progress))
            _print_checks(out, others)
            holds = holds and all(check.holds for check in others)
        out.lines([NOT_SHOWN])
        raise typer.Exit(0 if holds else EXIT_CRITERION_FAILED)


def _print_checks(out: Output, checks: Iterable[Check | Match]) -> None:
    for check in checks:
        outcome = "[green]● MATCHES[/green]" if check.holds else "[red]■ DIFFERS[/red]"
        line = f"{outcome} {check.name}: {escape(check.text)}"
        out.console.print(line, highlight=False, soft_wrap=True)
        out.lines(f"    {detail}" for detail in check.details)


@app.command("diff")
def diff_command(
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="Run folder of the earlier audit.")
    ],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Run folder of the later audit.")],
    *,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on", help="Fail on changes that are worse, changed or undecided; repeatable."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", min=0, help="Changes smaller than this do not matter, for every quantity."
        ),
    ] = None,
    better: Annotated[
        list[str] | None,
        typer.Option(
            "--better",
            metavar="QUANTITY=WAY",
            help="Which way is better, such as macro_auc=lower; repeatable.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Default: AFTER.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Cache of both audits; default: the one named in each config."),
    ] = None,
) -> None:
    """Compare two audits: what changed, by how much, and why.

    Exit codes: 0 nothing named by --fail-on occurred, 1 something did, 2 the audits have nothing
    in common or were not found, 3 inconclusive changes only, with --fail-on undecided, 4 AFTER
    lacks what BEFORE has, with any --fail-on, 5 a run cannot be read.
    """
    with verb() as out:
        _refuse_other_folders(before, after)
        from bias_audit.report.changes.page import write_diff
        from bias_audit.report.changes.wording import diff_brief

        found = api.diff(
            *(before, after),
            fail_on=fail_on or (),
            margin=margin,
            better=better or (),
            cache=cache,
        )
        paths = write_diff(found, to or after)
        out.lines(diff_brief(found, paths))
        raise typer.Exit(_GATES[found.gate.outcome])


@app.command("export")
def export_command(
    run_folder: RunArgument,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="junit, csv, parquet, cyclonedx or model-card; repeatable; default: all.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Default: RUN/exports.")
    ] = None,
) -> None:
    """Write a finished run's results in the formats of other tools."""
    with verb() as out:
        _refuse_other_folders(run_folder)
        from bias_audit.report.exporting.writing import FORMATS, export_run

        for name in formats or ():
            if name not in FORMATS:
                raise AuditError(f"--format: {unknown_name(name, FORMATS, noun='format')}")
        paths = export_run(run_folder, to=to, formats=formats or ())
        out.lines(f"Export: {path}" for path in paths)


@app.command("schema")
def schema_command(
    of: Annotated[
        Literal["config", "zoo", "results"],
        typer.Argument(
            help="config: of an audit's config; zoo: of a zoo's config; results: of audit.json."
        ),
    ] = "config",
) -> None:
    """Print the JSON Schema of configs (for text editors) or of results."""
    with verb():
        if of == "results":
            from bias_audit.results.audit import AuditResult

            schema = AuditResult.model_json_schema()
        else:
            from bias_audit.config.load import json_schema, zoo_json_schema

            schema = zoo_json_schema() if of == "zoo" else json_schema()
        typer.echo(json.dumps(schema, indent=2))


@app.command("selftest")
def selftest_command(
    quick: Annotated[
        bool, typer.Option("--quick", help="Run fewer trials; takes half a minute.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated audits.")] = 0,
    save: Annotated[
        bool, typer.Option("--save", help="Store the outcome for audits that use this cache.")
    ] = False,
    cache: Annotated[Path, typer.Option(help="Cache folder of the audits.")] = Path("runs/cache"),
    power: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Only draw the power curve, as .svg or .png; its data go beside it.",
        ),
    ] = None,
) -> None:
    """Check the audit's code on simulated data for which the right answers are known."""
    with verb() as out:
        mode: Literal["full", "quick"] = "quick" if quick else "full"
        if power is not None:
            from bias_audit.report.figures.power_curve import write_power_curve
            from bias_audit.selftest.run import power_curves

            curves = power_curves(mode, seed=seed, progress=out.progress)
            numbers = write_power_curve(power, curves)
            out.lines([f"Power curve: {power}", f"Its data: {numbers}"])
            return
        from bias_audit.report.sections.method import selftest
        from bias_audit.selftest.run import keep, self_test

        found = self_test(mode, seed=seed, progress=out.progress)
        if save:
            out.lines([f"Stored: {keep(cache, found)}"])
        shown = selftest(found)
        labels = [column.label for column in shown.table.columns]
        print_selftest(out.console, labels, shown.table.rows, shown.counts)
        raise typer.Exit(EXIT_CRITERION_FAILED if found.not_ok else 0)


@app.command("layers")
def layers_command(config: ConfigArgument, overrides: SetOption = None) -> None:
    """List the layers that a config audits, and every other layer that it could name."""
    with verb() as out:
        settings = _settings(config, overrides)
        from bias_audit.audit.checking import layer_lines

        out.lines(layer_lines(settings))


@app.command("activations")
def activations_command(
    config: ConfigArgument,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where they are written.")],
    overrides: SetOption = None,
) -> None:
    """Write the activations of a config's backbones, to be audited elsewhere without weights.

    They are personal data: a row for each image, named by the SHA-256 of its file.
    """
    with verb() as out:
        settings = _settings(config, overrides)
        from bias_audit.audit.handing_over import hand_over

        paths = hand_over(settings, to, out.progress)
        out.lines(f"Activations: {path} (a row for each image: personal data)" for path in paths)


def main() -> None:
    """Run the command line."""
    process.prepare_streams()
    process.prepare_caches()
    if shutil.get_terminal_size().columns < _NARROWEST:  # tables of options would lose names
        os.environ.setdefault("TERMINAL_WIDTH", str(_NARROWEST))
    try:
        app()
    except SystemExit as ended:
        if ended.code == 0 and (why := process.lost_output()):
            sys.stderr.write(f"Error: the output cannot be written: {why}\n")
            sys.exit(OutputError.exit_code)
        raise
    except KeyboardInterrupt:  # before or after a command, which says what it kept
        sys.exit(EXIT_INTERRUPTED)
    except Exception:  # noqa: BLE001  whatever it is, it says nothing about a criterion
        traceback.print_exc()
        sys.exit(EXIT_DEFECT)


if __name__ == "__main__":
    main()
