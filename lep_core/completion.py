"""Shell completion, generated from the verbs and their settings: `lep completion bash|zsh|fish` prints a script.

lep completion bash > ~/.local/share/bash-completion/completions/lep
lep completion zsh  > a file that .zshrc sources
lep completion fish > ~/.config/fish/completions/lep.fish
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lep_core import pipeline
from lep_core.config import base_type, field_type, flag

SHELLS = ("bash", "zsh", "fish")
# Flags of every verb beside its settings, and of the commands on run directories.
COMMON = ("--config", "--json", "--prepare-only", "--slurm", "--nodes", "--workspace", "--project", "--help")
RUN_FLAGS = ("--workspace", "--help")


@dataclass(frozen=True)
class Option:
    """One flag: its fixed values if it has some, and one line about it."""

    flag: str
    choices: tuple[str, ...] = ()
    about: str = ""


def script(shell: str, commands: Mapping[str, str]) -> str:
    """The completion script for a shell; `commands` are the names beside the verbs, with one line about each."""
    if shell == "fish":
        return _fish(commands)
    text = _bash(commands)
    return f"#compdef lep\nautoload -U +X bashcompinit && bashcompinit\n{text}" if shell == "zsh" else text


def options_of(verb: str) -> list[Option]:
    """The flags of a verb: its settings, then the common ones."""
    config = pipeline.VERBS[verb].config
    found = []
    for item in dataclasses.fields(config):
        choices, about = tuple(map(str, item.metadata["choices"] or ())), item.metadata["help"]
        found.append(Option(flag(item.name), choices, about))
        if base_type(field_type(config, item.name)) is bool:
            found.append(Option("--no-" + flag(item.name).removeprefix("--"), (), about))
    return [*found, *map(Option, COMMON)]


def _bash(commands: Mapping[str, str]) -> str:
    flags, values = [], []
    for verb in pipeline.VERBS:
        options = options_of(verb)
        flags.append(_case(verb, [option.flag for option in options], "flags"))
        values += [_case(f"{verb} {option.flag}", option.choices, "values") for option in options if option.choices]
    flags += [_case(name, SHELLS if name == "completion" else RUN_FLAGS, "flags") for name in commands]
    lines = [
        "_lep() {",
        '    local current="${COMP_WORDS[COMP_CWORD]}" verb="${COMP_WORDS[1]}" last="" flags="" values="" word',
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        COMPREPLY=($(compgen -W {shlex.quote(" ".join([*pipeline.VERBS, *commands]))} -- "$current"))',
        "        return",
        "    fi",
        '    for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do case "$word" in --*) last="$word" ;; esac; done',
        '    case "$verb" in',
        *flags,
        "    esac",
        '    case "$verb $last" in',
        *values,
        "    esac",
        '    case "$current" in',
        '        -*) COMPREPLY=($(compgen -W "$flags" -- "$current")) ;;',
        # Without fixed values the shell's own completion offers files.
        '        *) if [ -n "$values" ]; then COMPREPLY=($(compgen -W "$values" -- "$current"))',
        '           elif [ "$verb" = completion ]; then COMPREPLY=($(compgen -W "$flags" -- "$current")); else COMPREPLY=(); fi ;;',
        "    esac",
        "}",
        "complete -o bashdefault -o default -F _lep lep",
    ]
    return "\n".join(lines) + "\n"


def _case(pattern: str, words: Sequence[str], name: str) -> str:
    return f"        {shlex.quote(pattern)}) {name}={shlex.quote(' '.join(words))} ;;"


def _fish(commands: Mapping[str, str]) -> str:
    entries = {**{name: verb.summary for name, verb in pipeline.VERBS.items()}, **commands}
    lines = ["complete -c lep -f -n __fish_use_subcommand -s h -l help -d 'list the verbs'"]
    for name, about in entries.items():
        lines.append(f"complete -c lep -f -n __fish_use_subcommand -a {name} -d {_fish_quoted(about)}")
    for verb in pipeline.VERBS:
        for option in options_of(verb):
            values = f" -x -a {_fish_quoted(' '.join(option.choices))}" if option.choices else ""
            about = f" -d {_fish_quoted(option.about)}" if option.about else ""
            lines.append(f"complete -c lep -n '__fish_seen_subcommand_from {verb}' -l {option.flag.removeprefix('--')}{values}{about}")
    lines.append(f"complete -c lep -f -n '__fish_seen_subcommand_from completion' -a {_fish_quoted(' '.join(SHELLS))}")
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
