"""`edge completion`: the script that teaches a shell to complete verbs, options and their values."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]

SCHEMA = 1
SHELLS = ("bash", "zsh", "fish")
PROGRAM, VARIABLE = "edge", "_EDGE_COMPLETE"  # as `cli.main` listens to it


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(shell: str, as_json: bool) -> None:
    r"""Print a script that teaches a shell to complete `edge`.

    Bash needs version 4.4. The script asks the `edge` on the path, so it never goes out of date.

    \b
    Examples:
        edge completion bash > ~/.local/share/bash-completion/completions/edge
        edge completion zsh > ~/.zfunc/_edge       # a folder of your $fpath, before compinit
        edge completion fish > ~/.config/fish/completions/edge.fish
        source <(edge completion bash)             # in this shell alone
    """
    script = _script(shell)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "command": "completion", "shell": shell, "script": script}))
    else:
        click.echo(script, nl=False)


def _script(shell: str) -> str:
    """Return click's script for a shell."""
    from ..cli import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click brings all of SHELLS
    completion = kind(cli, {}, PROGRAM, VARIABLE)
    # Not `source()`: of bash that starts the installed one to look at its version, which says nothing of the shell
    # that the script is for.
    return str(completion.source_template % completion.source_vars())
