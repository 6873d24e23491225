"""The command line: one subcommand per verb, its flags made from the verb's config, and a few that work on run directories.

    lep train --model initialized --input corpus --output trained --steps 300
    lep train --config settings.json --steps 300 --json

Exit code 0 = done, 2 = the user can mend it (one line `error: WHAT. HINT`), 1 = a bug (traceback), 130 = interrupted.
With `--json` the last line of stdout is one JSON object; everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import io
import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lep_core import __version__, launch, pipeline, ranks
from lep_core.completion import SHELLS, script
from lep_core.config import Config, base_type, field_type, flag, is_repeatable
from lep_core.console import ConsoleReporter, interruptible, summary, table
from lep_core.errors import ConfigError, LepError
from lep_core.execute import SHARED_VERBS, execute, leave_team, run_share, write_rank_error
from lep_core.failures import INTERRUPTED, SUCCEEDED, described, exit_code, explained, redacted
from lep_core.jobs.command import slurm_script
from lep_core.runs.metrics import json_safe
from lep_core.runs.run import Run
from lep_core.runs.workspace import Workspace

DEFAULT_WORKSPACE = "workspace"
DEFAULT_PROJECT = "Command line"
FOLLOW_SECONDS = 2.0


class UsageError(LepError):
    """The command line itself cannot be understood."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a letter must not end the work.
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt as interrupt:
        # A stage that was stopped before it had anything to keep says so.
        print(f"interrupted: {interrupt}" if str(interrupt) else "interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; the flush at exit must not fail on the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCEEDED
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001
        # The process ends here; a panic of a native library is a BaseException too.
        known = explained(error)
        if known is None:
            print(redacted("".join(traceback.format_exception(error))), file=sys.stderr, end="")
        else:
            print(redacted(f"error: {known}"), file=sys.stderr)
        return exit_code(error)


def run_command(name: str, options: Sequence[str]) -> int:
    """Run a verb in this process on plain paths."""
    verb = pipeline.VERBS[name]
    parsed = vars(verb_parser(name).parse_args(list(options)))
    common = {key: parsed.pop(key) for key in ("config", "json", "prepare_only", "slurm", "nodes", "workspace", "project")}
    values = {**_config_file(common["config"]), **parsed}
    if common["prepare_only"] or common["slurm"]:
        return _prepare_only(name, values, given=parsed, **common)
    config = verb.config.from_mapping(values)
    if name in SHARED_VERBS and config.to_mapping()["processes"] > 1 and not ranks.is_rank():
        return launch.run_verb_in_processes([name, *options], processes=config.to_mapping()["processes"])
    if ranks.world_size() > 1:
        return _run_share(verb, config, as_json=common["json"])
    reporter = ConsoleReporter()
    with contextlib.redirect_stdout(sys.stderr), interruptible(reporter):
        try:
            report = verb.run(config, reporter)
        finally:
            reporter.close()
    return _show(report, as_json=common["json"], stopped=reporter.stop_heard)


def _show(report: pipeline.Report, *, as_json: bool, stopped: bool) -> int:
    if as_json:
        _print_json(json_safe(report.to_json()))
    else:
        # Long reports have a short form for people.
        print(summary(json_safe(getattr(report, "to_summary", report.to_json)())), flush=True)
    stopped = getattr(report, "stopped", stopped)
    if stopped:
        print("stopped before the end; what was finished is kept", file=sys.stderr)
    return INTERRUPTED if stopped else SUCCEEDED


def _run_share(verb: pipeline.Verb, config: Config, *, as_json: bool) -> int:
    """Run a verb in one of several processes: the first shows progress and the report, each leaves its own error."""
    is_first = ranks.rank() == 0
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        reporter = ConsoleReporter(None if is_first else nowhere)
        errors = ranks.RankErrors.from_environment()

        def ask_to_stop() -> None:
            reporter.stop_asked = True

        try:
            with contextlib.redirect_stdout(sys.stderr), interruptible(reporter):
                report = run_share(verb.name, config, reporter, on_loss=lambda loss: None, on_stop=ask_to_stop)
                reporter.close()
            code = _show(report, as_json=as_json, stopped=reporter.stop_heard) if is_first else SUCCEEDED
            leave_team()
            return INTERRUPTED if getattr(report, "stopped", False) else code
        except ranks.PeerLost as error:
            if error.failure is None and errors is not None:
                write_rank_error(errors, described(error))
            return exit_code(error)
        except KeyboardInterrupt:
            return INTERRUPTED
        except BaseException as error:
            # The process ends here; who started it shows the error, once for all processes.
            if errors is None:
                raise
            write_rank_error(errors, described(error))
            return exit_code(error)


def execute_command(options: Sequence[str]) -> int:
    """Execute a run directory in this process."""
    return _execute(_parsed_run("execute", "execute a prepared run directory in this process", options))


def resume_command(options: Sequence[str]) -> int:
    """Go on with a stopped or failed run in this process."""
    parser = _run_parser("resume", "go on with a stopped or failed run in this process, from its newest checkpoint")
    parser.add_argument("--prepare-only", action="store_true", help="only make `execute RUN` go on with it, and print its path")
    parsed = parser.parse_args(list(options))
    run = _found_run(parsed)
    if run.status().ended:
        run.new_attempt()
    if parsed.prepare_only:
        print(run.path)
        return SUCCEEDED
    return _execute(run)


def _execute(run: Run) -> int:
    if run.verb in SHARED_VERBS and run.config.get("processes", 1) > 1 and not ranks.is_rank():
        return launch.execute_in_processes(run)
    return execute(run.path)


def stop_command(options: Sequence[str]) -> int:
    """Ask a run to stop and keep what it has."""
    run = _parsed_run("stop", "ask a run to stop after its present step and to keep what it has", options)
    state = run.status().state
    if run.status().ended:
        print(f"{run.id} has ended already ({state})")
    else:
        run.request_stop()
        print(f"{run.id} was asked to stop")
    return SUCCEEDED


def runs_command(options: Sequence[str]) -> int:
    """List the runs of a workspace, newest first."""
    parser = _Parser(prog="lep runs", description="List the runs of a workspace, newest first.", allow_abbrev=False)
    _add_workspace(parser)
    parser.add_argument("--project", help="only this project (id or name)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_args(list(options))
    workspace = Workspace(parsed.workspace, create=False)
    project = workspace.find_project(parsed.project) or workspace.project(parsed.project) if parsed.project else None
    rows = [_run_row(run) for run in (project.runs() if project else workspace.runs())]
    if parsed.json:
        print(json.dumps(json_safe({"runs": rows})))
    elif rows:
        print("\n".join(table([{key: value for key, value in row.items() if key != "error"} for row in rows])))
    else:
        print("no runs yet")
    return SUCCEEDED


def tensorboard_command(options: Sequence[str]) -> int:
    """Write the metrics of runs as TensorBoard event files."""
    from lep_core.runs.tensorboard import Mirror

    parser = _Parser(prog="lep tensorboard", description="Write the metrics of runs as TensorBoard event files.", allow_abbrev=False)
    parser.add_argument("run", nargs="*", metavar="RUN", help="run directories, or ids of runs in the workspace (default: all runs there)")
    parser.add_argument("--output", metavar="DIR", default="tensorboard", help="folder for the event files (default: tensorboard)")
    parser.add_argument("--follow", action="store_true", help="go on with what runs write, until Ctrl-C")
    parser.add_argument("--project", help="only runs of this project (id or name)")
    _add_workspace(parser)
    parsed = parser.parse_args(list(options))
    mirror = Mirror(Path(parsed.output))

    def runs() -> list[Run]:
        if parsed.run:
            return [_named_run(name, parsed.workspace) for name in parsed.run]
        workspace = Workspace(parsed.workspace, create=False)
        project = workspace.find_project(parsed.project) or workspace.project(parsed.project) if parsed.project else None
        return project.runs() if project else workspace.runs()

    written = mirror.update(runs())
    print(
        f"{written} values of {len(mirror.folders)} runs; look at them with: tensorboard --logdir {shlex.quote(parsed.output)}", flush=True
    )
    while parsed.follow:
        time.sleep(FOLLOW_SECONDS)
        mirror.update(runs())
    mirror.close()
    return SUCCEEDED


def completion_command(options: Sequence[str]) -> int:
    """Print a completion script for a shell."""
    about = "Print a completion script; where it goes: see lep_core/completion.py or docs/cli.md."
    parser = _Parser(prog="lep completion", description=about, allow_abbrev=False)
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(list(options)).shell
    print(script(shell, {name: text for name, (_, text) in COMMANDS.items()}), end="")
    return SUCCEEDED


Command = Callable[[Sequence[str]], int]
COMMANDS: dict[str, tuple[Command, str]] = {
    "execute": (execute_command, "Execute a prepared run directory."),
    "resume": (resume_command, "Go on with a stopped or failed run."),
    "stop": (stop_command, "Ask a run to stop and keep what it has."),
    "runs": (runs_command, "List the runs of a workspace."),
    "tensorboard": (tensorboard_command, "Write the metrics of runs as TensorBoard event files."),
    "completion": (completion_command, "Print a completion script for bash, zsh or fish."),
}


def verb_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a verb. Flags that were not given are absent from its result; the config checks the values."""
    verb = pipeline.VERBS[name]
    parser = _Parser(prog=f"lep {name}", description=verb.summary, allow_abbrev=False, formatter_class=_HelpFormatter)
    for item in dataclasses.fields(verb.config):
        _add_field(parser, verb.config, item)
    common = parser.add_argument_group("common options")
    common.add_argument("--config", metavar="FILE.json", help="settings from a file; flags given here count more")
    common.add_argument("--json", action="store_true", help="print the report as one JSON object on the last line of stdout")
    common.add_argument(
        "--prepare-only", action="store_true", help="only write a run directory and print its path, to execute it elsewhere"
    )
    common.add_argument("--slurm", action="store_true", help="like --prepare-only, and print a Slurm script for it")
    common.add_argument("--nodes", type=int, metavar="N", help="with --slurm: hosts to spread the processes over; by default 8 on each")
    _add_workspace(common)
    common.add_argument(
        "--project", default=DEFAULT_PROJECT, help=f"project of a prepared run; made when it is new (default: {DEFAULT_PROJECT})"
    )
    return parser


def top_help() -> str:
    """What `lep --help` prints."""
    entries = {**{name: verb.summary for name, verb in pipeline.VERBS.items()}, **{name: text for name, (_, text) in COMMANDS.items()}}
    width = max(map(len, entries))
    lines = [f"  {name:<{width}}  {' '.join(text.split())}" for name, text in entries.items()]
    usage = "usage: lep VERB [options]    (or: python -m lep_core VERB)"
    more = "  lep VERB --help lists the options of a verb; lep --version prints the version."
    return "\n".join([usage, "", "Teach an open language model another language.", "", *lines, "", more])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"`{self.prog} --help` lists the options")


class _HelpFormatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(top_help())
        return SUCCEEDED if arguments else 2
    name, options = arguments[0], arguments[1:]
    if name == "--version":
        print(f"lep {__version__}")
        return SUCCEEDED
    if name in COMMANDS:
        return COMMANDS[name][0](options)
    if name in pipeline.VERBS:
        return run_command(name, options)
    close = difflib.get_close_matches(name, [*pipeline.VERBS, *COMMANDS], n=1)
    raise UsageError(f"there is no verb {name}", f"Did you mean {close[0]}?" if close else "`lep --help` lists the verbs")


def _add_field(parser: argparse.ArgumentParser, config_class: type[Config], item: dataclasses.Field[Any]) -> None:
    hint, about = field_type(config_class, item.name), item.metadata
    kind, required = base_type(hint), item.default is dataclasses.MISSING
    notes = [f"in {about['unit']}"] if about["unit"] and about["unit"] not in about["help"] else []
    if required:
        notes.append("required")
    elif item.default not in (None, (), False, True):
        notes.append(f"default: {' '.join(map(str, item.default)) if isinstance(item.default, tuple) else item.default}")
    elif item.default is True:
        notes.append("default: on")
    if about["choices"]:
        notes.append(f"one of: {', '.join(map(str, about['choices']))}")
    text = (about["help"] + (f" ({'; '.join(notes)})" if notes else "")).replace("%", "%%")
    # Required flags may come from --config too, so that the config and not argparse asks for them.
    options: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS, "help": text}
    if kind is bool:
        parser.add_argument(flag(item.name), action=argparse.BooleanOptionalAction, **options)
        return
    options |= {"type": _converter(kind), "metavar": _metavar(kind, about["kind"])}
    if is_repeatable(hint):
        options |= {"nargs": "+", "action": "extend"}
    parser.add_argument(flag(item.name), **options)


def _metavar(kind: type, stands_for: str) -> str:
    names = {"model": "DIR", "tokenizer": "DIR", "folder": "DIR", "text": "FILE", "items": "FILE", "prompt": "TEXT"}
    return names.get(stands_for) or {int: "N", float: "X"}.get(kind, "NAME")


def _converter(kind: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        if kind is str:
            return text
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
        # The config refuses it and says what it wants.
        return text

    return convert


def _add_workspace(parser: Any) -> None:
    default = os.environ.get("WORKSPACE") or DEFAULT_WORKSPACE
    parser.add_argument(
        "--workspace",
        metavar="DIR",
        default=default,
        help=f"workspace folder (default: $WORKSPACE or {DEFAULT_WORKSPACE})".replace("%", "%%"),
    )


def _config_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        # A pipe that nobody writes to would be waited for without end, and a device never ends.
        if Path(path).exists() and not Path(path).is_file():
            raise ConfigError("config", f"{path} is no regular file", "Give --config a JSON file of settings")
        values = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError("config", f"{path} cannot be read ({error.strerror})", "Give --config a JSON file of settings") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError("config", f"{path} is not JSON ({error})", "Mend the file; it holds one object of settings") from error
    if not isinstance(values, dict):
        raise ConfigError("config", f"{path} holds no JSON object", 'Write settings as {"steps": 300}')
    # JSON names and flag spellings are both taken: "block_size" and "block-size".
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def _prepare_only(
    name: str,
    values: dict[str, Any],
    *,
    given: dict[str, Any],
    json: bool,
    slurm: bool,
    nodes: int | None,
    workspace: str,
    project: str,
    **_: Any,
) -> int:
    for place in ("output", "checkpoints"):
        if given.get(place):
            raise ConfigError(
                place, f"{flag(place)} and --prepare-only are both given", f"Leave {flag(place)} out: it lies in the run directory"
            )
    home = Workspace(workspace)
    run = (home.find_project(project) or home.create_project(project)).create_run(name, values, prepared=True)
    script = slurm_script(run, nodes=nodes) if slurm else None
    if json:
        _print_json({"run": str(run.path), "slurm": script})
    else:
        print(run.path if script is None else script, end="\n" if script is None else "")
    if slurm and not json:
        print(f"prepared {run.path}", file=sys.stderr)
    return SUCCEEDED


def _print_json(value: Any) -> None:
    print(json.dumps(json_safe(value), allow_nan=False), flush=True)


def _parsed_run(command: str, description: str, options: Sequence[str]) -> Run:
    return _found_run(_run_parser(command, description).parse_args(list(options)))


def _run_parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"lep {command}", description=description, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="run directory, or the id of a run in the workspace")
    _add_workspace(parser)
    return parser


def _found_run(parsed: argparse.Namespace) -> Run:
    return _named_run(parsed.run, parsed.workspace)


def _named_run(name: str, workspace: str) -> Run:
    if Path(name).is_dir() or Path(name).name != name:
        return Run.open(name)
    return Workspace(workspace, create=False).run(name)


def _run_row(run: Run) -> dict[str, Any]:
    status = run.status()
    return {
        "id": run.id,
        "project": run.path.parent.parent.name,
        "verb": run.verb,
        "state": status.state,
        "stage": status.stage,
        "done": status.done,
        "total": status.total,
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.created)),
        "path": str(run.path),
        "error": None if status.error is None else f"{status.error.message}. {status.error.hint}",
    }
