"""Tutorials do what they say: every command of theirs is run, and what they show is what came out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.runtime.errors import EdgeError, InputError
from edge.tutorials import Command, drift, main, masked, read_page, rewritten, run_page

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(FOLDER.glob("*.md"))
WANTED = {"first-export", "own-model", "int8-lost-accuracy", "raspberry-pi", "android", "ci-gates"}

SMALL = """Save this:

```text title="words.txt"
old words
```

```bash
cat words.txt
echo note: 3.25 ms >&2
echo halfway >&2
```

```text
{shown}```

```bash
false    # exit code 1
```

```bash
# not run here: it takes a phone
adb devices
```
"""


def small(shown: str) -> str:
    return SMALL.format(shown=shown)


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the pages share what was exported: the same files on each of them are made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# --- the real pages ---------------------------------------------------------------


def test_there_is_a_tutorial_on_each_subject() -> None:
    assert {page.stem for page in PAGES} == WANTED


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_command_of_a_tutorial_runs_and_prints_what_the_page_shows(
    path: Path, tmp_path: Path, own_cache: None
) -> None:
    page = read_page(path.read_text(encoding="utf-8"))

    outputs = run_page(page, tmp_path)

    assert drift(page, outputs) == []
    missing = sorted({name for command in page.commands for name in command.missing})
    if missing:
        pytest.skip(f"all but what needs {', '.join(missing)} was run")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_block_that_nobody_runs_says_why(path: Path) -> None:
    page = read_page(path.read_text(encoding="utf-8"))  # refuses blocks without a mark, and marks without a reason
    left_out = [command for command in page.commands if command.not_run]

    assert [command.script for command in left_out if len(command.not_run.split()) < 3] == []
    assert len(left_out) < len(page.commands)


# --- the reader and the runner -----------------------------------------------------


def test_files_are_written_commands_run_in_order_and_outputs_renewed(tmp_path: Path) -> None:
    page = read_page(small("nothing yet\n"))

    outputs = run_page(page, tmp_path)

    assert outputs == ["old words\nnote: … ms\n", "\n", None]
    assert rewritten(page, outputs) == small("old words\nnote: … ms\n")
    assert (tmp_path / "words.txt").read_text() == "old words\n"


def test_a_page_whose_words_differ_has_drifted_and_one_whose_figures_differ_has_not(tmp_path: Path) -> None:
    outputs = run_page(read_page(small("")), tmp_path)

    assert drift(read_page(small("old words\nnote: 99 ms\n")), outputs) == []
    told = drift(read_page(small("new words\nnote: … ms\n")), outputs)
    assert told[0] == "$ cat words.txt\necho note: 3.25 ms >&2\necho halfway >&2"
    assert {"-new words", "+old words"} <= set(told)


def test_a_command_that_ends_with_another_code_is_told_with_its_last_line(tmp_path: Path) -> None:
    for script, words in (
        ("true    # exit code 3", "expected 3, got 0"),
        ("echo gone >&2; false", "expected 0, got 1: gone"),
        ("false\ntrue", "expected 0, got 1"),  # of several commands each counts
        ("false | cat", "expected 0, got 1"),
    ):
        with pytest.raises(EdgeError, match=words):
            run_page(read_page(f"```bash\n{script}\n```\n"), tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```\nedge doctor\n```\n", "not marked"),
        ("```sh\nedge doctor\n```\n", "not marked"),
        ("```bash\n# not run here:\nadb\n```\n", "does not say why"),
        ("```bash\ntrue\nfalse # exit code 1\n```\n", "block of one command"),
        ('```toml title="../edge.toml"\n```\n', "outside of its folder"),
        ("Look:\n\n```text\ntyped by hand\n```\n", "no command"),
        ("```bash\n# not run here: it needs a phone\nadb\n```\n\n```text\ninvented\n```\n", "no command"),
    ],
)
def test_what_could_pass_unseen_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_page(text)


def test_a_block_is_left_out_where_its_programs_are_missing(tmp_path: Path) -> None:
    text = "```bash\n# needs cat no-such-program ~/no/such/file\nno-such-program\n```\n"
    (command,) = read_page(text).commands

    assert command.missing == ["no-such-program", "~/no/such/file"]
    assert run_page(read_page(text), tmp_path) == [None]


def test_the_reader_has_edge_and_python_and_an_empty_folder(tmp_path: Path) -> None:
    page = read_page(
        "```bash\nls\nedge --version\npython -c 'import edge; print(edge.__name__)'\n```\n\n```text\n```\n"
    )

    (output,) = run_page(page, tmp_path)

    assert output is not None
    version, name = output.splitlines()
    assert version.startswith("edge, version ")
    assert name == "edge"


def test_figures_of_time_are_masked_and_all_others_kept() -> None:
    table = (
        "file         bytes    ms  recipe\n"
        "-----------  -----  ----  ------\n"
        "a-int8.onnx    412  1.25  static\n"
        "ms: one thread, host (Some(R) CPU), measured when made. Clips of 30 s.\n"
        "1 bundles in out after 12.5 s (trace 9 s, parity 3 s)\n"
        "people.png: 2 people [pre 1.2, infer 0.5, decode 0.3 ms]\n"
    )

    assert masked(table) == (
        "file         bytes    ms  recipe\n"
        "-----------  -----  ----  ------\n"
        "a-int8.onnx    412     …  static\n"
        "ms: one thread, host (…), measured when made. Clips of 30 s.\n"
        "1 bundles in out after … s\n"
        "people.png: 2 people [pre …, infer …, decode … ms]\n"
    )
    assert masked(masked(table)) == masked(table)


def test_the_command_rewrites_a_page_and_with_check_only_tells(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(small("new words\n"))

    told = CliRunner().invoke(main, [str(path), "--check"])
    assert told.exit_code == 1
    assert "2 blocks run, 1 not: drifted" in told.output
    assert path.read_text() == small("new words\n")

    assert CliRunner().invoke(main, [str(path)]).exit_code == 0
    assert path.read_text() == small("old words\nnote: … ms\n")
    assert CliRunner().invoke(main, [str(path), "--check"]).exit_code == 0


def test_a_page_that_fails_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```bash\nexit 4\n```\n")

    told = CliRunner().invoke(main, [str(path)])

    assert told.exit_code == 1
    assert "expected 0, got 4" in told.output


def test_commands_are_values() -> None:
    assert read_page("```bash\ntrue\n```\n").commands == [Command(script="true\n")]
