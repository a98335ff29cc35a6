"""`edge completion`, in the shells themselves where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.cli import VERBS, main

BASH = """
source "$1"
complete_line() {
    COMP_WORDS=($1 "$2")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _edge_completion edge 2>/dev/null
    printf '%s ' "${COMPREPLY[@]}"
    echo
}
compopt() { :; }
complete -p edge
complete_line edge rep
complete_line "edge report" --max
complete_line "edge completion" ""
complete_line "edge nonsense" ""
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `edge` on the path that is this checkout's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "edge").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge "$@"\n')
    (folder / "edge").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"edge.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def need(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


def test_bash_completes_verbs_options_and_values(
    tmp_path: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script("bash", tmp_path, capsys)

    done = subprocess.run(
        [need("bash"), "--norc", "-c", BASH, "bash", path], capture_output=True, text=True, check=True, timeout=300
    )

    registered, *lines = [line.strip() for line in done.stdout.splitlines()]
    assert registered == "complete -o nosort -F _edge_completion edge"
    assert lines == ["report", "--max-bytes --max-ms --max-drop", "bash zsh fish", " ".join(VERBS)]
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(
    shell: str, tmp_path: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(shell, tmp_path, capsys)

    done = subprocess.run([need(shell), "-n", path], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_asks_edge_in_the_words_that_it_listens_to(
    shell: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script(shell, tmp_path, capsys).read_text()

    assert f"_EDGE_COMPLETE={shell}_complete" in text
    monkeypatch.setenv("_EDGE_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "edge comple")
    monkeypatch.setenv("COMP_CWORD", "comple" if shell == "fish" else "1")
    assert main([]) == 0
    assert "completion" in capsys.readouterr().out


def test_completing_a_verb_imports_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import json, os, sys; from edge.cli import main;"
        "os.environ.update(_EDGE_COMPLETE='bash_complete', COMP_WORDS='edge ', COMP_CWORD='1');"
        "main([]); print([name for name in sys.modules if name.startswith('edge.commands.') or name == 'numpy'])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *verbs, imported = done.stdout.splitlines()
    assert verbs == [f"plain,{verb}" for verb in VERBS]
    assert imported == "[]"


def test_the_script_comes_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["shell"]) == (1, "zsh")
    assert told["script"].startswith("#compdef edge")


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
