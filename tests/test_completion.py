"""What the shells offer: verbs, the flags of a verb, the fixed values of a flag, else files."""

import shutil
import subprocess

import pytest

from lep_core.cli import main
from lep_core.pipeline import VERBS


def script_of(shell, capsys):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered", "withheld"),
    [
        (["lep", "tr"], {"train"}, {"propagate"}),
        (["lep", ""], set(VERBS) | {"runs", "completion"}, set()),
        (["lep", "train", "--"], {"--model", "--learning-rate", "--no-resume", "--json"}, {"--variant"}),
        (["lep", "train", "--lear"], {"--learning-rate"}, {"--model"}),
        (["lep", "build-tokenizer", "--variant", ""], {"continued-bpe", "unigram"}, {"swap"}),
        (["lep", "adapt", "--method", "swap", "con"], {"conversion"}, {"swap"}),
        (["lep", "train", "--model", ""], set(), {"--model"}),
        (["lep", "stop", "--"], {"--workspace"}, {"--model"}),
        (["lep", "completion", ""], {"bash", "zsh", "fish"}, set()),
    ],
)
def test_bash_offers_what_fits(words, offered, withheld, tmp_path, capsys):
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    (tmp_path / "lep.bash").write_text(script_of("bash", capsys), encoding="utf-8")
    ask = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lep; printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "--norc", "-c", ask, "ask", str(tmp_path / "lep.bash"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    found = set(done.stdout.split())
    assert offered <= found
    assert not withheld & found
    assert not done.stderr


def test_fish_and_zsh_scripts_name_every_verb_and_are_sound_where_the_shell_is_there(tmp_path, capsys):
    for shell in ("zsh", "fish"):
        text = script_of(shell, capsys)
        assert all(name in text for name in VERBS)
        (tmp_path / shell).write_text(text, encoding="utf-8")
        if shutil.which(shell):
            subprocess.run([shell, "-n", str(tmp_path / shell)], check=True, timeout=30)


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err
