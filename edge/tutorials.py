"""Tutorials whose commands are run, and which show what really came out.

    python -m edge.tutorials docs/tutorials/*.md            run every command and rewrite the outputs
    python -m edge.tutorials docs/tutorials/*.md --check    run every command; exit with 1 where a page has drifted

The blocks of a page are taken in order, in one empty folder:

    ```bash               commands, all of which must succeed
    edge gate edge-out    # exit code 3        the block is one command that must end with this code
    # not run here: WHY                        as first line: nobody runs the block, and its reader sees why
    # needs javac ~/sdk                        as first line: run only where these programs and files are
    ```text               behind a block of commands: what it printed, written by this module
    ```toml title="edge.toml"                  with a title: a file that the reader saves, and so do we

Outputs are stdout, and then the errors and notes of stderr. What differs from machine to machine (times, the name
of the processor) is masked on the page; a page has drifted where more than figures differs from what came out.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from .runtime.errors import EdgeError, InputError, one_line
from .runtime.files import write_whole

__all__ = ["Command", "Document", "Page", "drift", "masked", "read_page", "rewritten", "run_page"]

TIMEOUT_S = 900.0
SHELLS = ("bash", "sh", "shell", "console", "")  # words under which a reader would take a block for commands
MASK = "…"
TIMED = ("ms",)  # columns of tables in which every cell is a time
# A number behind which a unit of time stands. Whole seconds are lengths of sounds, which are the same everywhere.
TIMES = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?= ?(?:ms|µs)\b)|(?<![\w.])\d[\d,]*\.\d+(?= s\b)")
STAGE = re.compile(r"\b(load|first|pre|infer|decode) \d+(?:\.\d+)?\b")
STAGES = re.compile(r"(after \d+\.\d+ s) \([^)]*\)")  # which ones took how long, longest first
PROCESSOR = re.compile(r"host \(.*?\), measured")
KEPT = ("error: ", "hint: ", "note: ")  # lines of stderr that are no progress
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?%?")
HASH = re.compile(r"\b[0-9a-f]{12,64}\b")
RECIPE = re.compile(r"\b(?:static|dynamic)(?:-\w+)+")
BLOCK = re.compile(r'^```(\w*)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
EXIT_CODE = re.compile(r"\s+# exit code (\d+)\s*$")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file that the reader saves.

    Attributes:
        name: of the file, in the folder of the page.
        text: its content.
    """

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A block of commands.

    Attributes:
        script: for bash.
        exit_code: that it must end with.
        not_run: why nobody runs it; empty where it is run.
        needs: programs and files without which it is left out.
        shown: the output on the page; None where it shows none.
        place: where that stands in the page's text, start and end.
    """

    script: str
    exit_code: int = 0
    not_run: str = ""
    needs: tuple[str, ...] = ()
    shown: str | None = None
    place: tuple[int, int] = (0, 0)

    @property
    def missing(self) -> list[str]:
        """Programs and files that it needs and that are not here."""
        return [name for name in self.needs if shutil.which(os.path.expanduser(name)) is None and not _is_there(name)]


@dataclass(frozen=True, kw_only=True)
class Page:
    """A tutorial: its text, and its steps in order."""

    text: str
    steps: tuple[Document | Command, ...]

    @property
    def commands(self) -> list[Command]:
        """The blocks of commands, in order."""
        return [step for step in self.steps if isinstance(step, Command)]


def read_page(text: str) -> Page:
    """Return the steps of a page.

    Args:
        text: Markdown.

    Raises:
        InputError: a block would be taken for commands and is not marked as such, a file lies outside of the folder, an
            exit code stands where several commands are, or a reason is missing.
    """
    steps: list[Document | Command] = []
    owned: set[int] = set()  # outputs behind a block that is run
    blocks = list(BLOCK.finditer(text))
    for index, block in enumerate(blocks):
        language, title, body = block.groups()
        if title is not None:
            if Path(title).is_absolute() or ".." in Path(title).parts:
                raise InputError(f"file `{title}` of a tutorial lies outside of its folder")
            steps.append(Document(name=title, text=body))
        elif language == "bash":
            after = blocks[index + 1] if index + 1 < len(blocks) else None
            belongs = after is not None and after[1] == "text" and not text[block.end() : after.start()].strip()
            command = _command(body, after if belongs else None)
            owned |= {index + 1} if belongs and not command.not_run else set()
            steps.append(command)
        elif language == "text" and index not in owned:
            raise InputError("an output on a tutorial belongs to no command that is run", got=body.strip()[:60])
        elif language in SHELLS:
            raise InputError(
                f"a block of a tutorial is not marked: `{body.strip()[:60]}`", expected="```bash or ```text"
            )
    return Page(text=text, steps=tuple(steps))


def run_page(page: Page, folder: Path) -> list[str | None]:
    """Run a page as its reader would and return what each block of commands printed.

    Args:
        page: of `read_page`.
        folder: empty; files are written there.

    Returns:
        Masked outputs in the order of `page.commands`; None for blocks that are not run, here or anywhere.

    Raises:
        EdgeError: a block ended with another code than the page says, or did not end.
    """
    outputs: list[str | None] = []
    with tempfile.TemporaryDirectory(prefix="edge-tutorial-") as programs:
        environment = _environment(Path(programs))
        for step in page.steps:
            if isinstance(step, Document):
                path = folder / step.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.text, encoding="utf-8")
            elif step.not_run or step.missing:
                outputs.append(None)
            else:
                outputs.append(masked(_run(step, folder, environment)))
    return outputs


def masked(text: str) -> str:
    """Return an output without what differs from machine to machine."""
    text = STAGES.sub(r"\1", _without_timed_cells(text))
    text = PROCESSOR.sub(f"host ({MASK}), measured", STAGE.sub(rf"\1 {MASK}", TIMES.sub(MASK, text)))
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def drift(page: Page, outputs: Sequence[str | None]) -> list[str]:
    """Return where a page shows something else than what came out, as lines of a diff; figures may differ.

    Args:
        page: as it is.
        outputs: of `run_page`.
    """
    lines: list[str] = []
    for command, output in zip(page.commands, outputs, strict=True):
        if command.shown is None or output is None:
            continue
        before, now = _structure(command.shown), _structure(output)
        if before != now:
            lines.append(f"$ {command.script.strip()}")
            lines += difflib.unified_diff(before, now, "the page", "what came out", lineterm="", n=1)
    return lines


def rewritten(page: Page, outputs: Sequence[str | None]) -> str:
    """Return the text of a page with the outputs that it shows renewed.

    Args:
        page: as it is.
        outputs: of `run_page`; what was not run stays as it is.
    """
    text = page.text
    for command, output in reversed(list(zip(page.commands, outputs, strict=True))):
        if command.shown is not None and output is not None:
            start, end = command.place
            text = text[:start] + output + text[end:]
    return text


def _is_there(name: str) -> bool:
    return "/" in name and Path(name).expanduser().exists()


def _command(body: str, shown: re.Match[str] | None) -> Command:
    first, _, rest = body.partition("\n")
    not_run = ""
    needs: tuple[str, ...] = ()
    if first.startswith("# not run here"):
        not_run = first.removeprefix("# not run here").lstrip(": ")
        if not not_run:
            raise InputError("a block of a tutorial is not run and does not say why", got=body.strip()[:60])
    elif first.startswith("# needs "):
        needs, body = tuple(first.removeprefix("# needs ").split()), rest
    code = EXIT_CODE.search(body)
    if code is not None and len([line for line in body.splitlines() if not line.startswith("#")]) != 1:
        raise InputError("an exit code belongs to a block of one command", got=body.strip()[:60])
    return Command(
        script=body,
        exit_code=0 if code is None else int(code[1]),
        not_run=not_run,
        needs=needs,
        shown=None if shown is None else shown[3],
        place=(0, 0) if shown is None else shown.span(3),
    )


def _environment(programs: Path) -> Mapping[str, str]:
    """Return the environment of a reader in whose shell `edge` and `python` are those that run this."""
    for name, call in (("edge", '-P -m edge "$@"'), ("python", '"$@"')):
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {call}\n', encoding="utf-8")
        path.chmod(0o755)
    root = Path(__file__).resolve().parents[1]
    left_out = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "CI")  # a reader's terminal has none of them
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(root),
        "EDGE_CHECKOUT": str(root),
        "COLUMNS": "160",
    }


def _run(command: Command, folder: Path, environment: Mapping[str, str]) -> str:
    call = ["bash", "-euo", "pipefail", "-c", command.script]
    label = command.script.strip().splitlines()[0][:80]
    try:
        done = subprocess.run(
            call, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise EdgeError(f"`{label}` did not end within {TIMEOUT_S:g} s") from exc
    if done.returncode != command.exit_code:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise EdgeError(
            f"`{label}` ended with another code than its page says",
            expected=command.exit_code,
            got=f"{done.returncode}: {' '.join(last)}",
        )
    said = [line for line in done.stderr.splitlines(keepends=True) if line.startswith(KEPT)]
    return done.stdout + "".join(said)


def _without_timed_cells(text: str) -> str:
    """Mask the cells under `TIMED` heads of aligned tables: a head, a line of dashes, rows."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if index == 0 or not re.fullmatch(r"-+(?:  -+)*", line):
            continue
        spans = [found.span() for found in re.finditer(r"-+", line)]
        timed = [span for span in spans if lines[index - 1][slice(*span)].strip() in TIMED]
        for row in range(index + 1, len(lines)):
            if any(lines[row][end : end + 2].strip() for _, end in spans):  # no row: text runs across the gaps
                break
            for start, end in timed:
                lines[row] = lines[row][:start] + MASK.rjust(end - start) + lines[row][end:]
    return "\n".join(lines)


def _structure(text: str) -> list[str]:
    """Return what must not change on a page: words and their order, whatever the figures and the best recipe are."""
    told = RECIPE.sub("recipe", re.sub(r"\bchosen\b", "fit", masked(text)))
    told = re.sub(r"[-─]{3,}", "---", NUMBER.sub("#", HASH.sub("hash", told)))
    return [" ".join(line.split()) for line in told.splitlines()]


@click.command()
@click.argument("pages", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 where a page shows what does not come out.")
def main(pages: tuple[Path, ...], check: bool) -> None:
    """Run the commands of tutorials, each page in a folder of its own, and rewrite the outputs that they show."""
    drifted = 0
    for path in pages:
        try:
            page = read_page(path.read_text(encoding="utf-8"))
            with tempfile.TemporaryDirectory(prefix="edge-tutorial-") as folder:
                outputs = run_page(page, Path(folder))
        except EdgeError as exc:
            click.echo(f"{path}: {one_line(exc)}", err=True)
            sys.exit(exc.exit_code)
        found = drift(page, outputs)
        drifted += bool(found)
        told = "drifted" if found else "as it says"
        click.echo(f"{path}: {len(outputs) - outputs.count(None)} blocks run, {outputs.count(None)} not: {told}")
        click.echo("".join(f"{line}\n" for line in found), nl=False)
        if not check:
            write_whole(path, rewritten(page, outputs))
    sys.exit(1 if check and drifted else 0)


if __name__ == "__main__":
    main()
