"""README and docs name only verbs, options, models and files that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from edge.cli import VERBS, cli
from edge.models import registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """Return the `edge …` commands of a page's shell blocks, as words."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    calls = re.findall(r"(?:^|/bin/)edge ([^#\n]*)", "\n".join(blocks), re.MULTILINE)
    return [shlex.split(call) for call in calls]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_uses_verbs_and_options_that_exist(page: Path) -> None:
    found = commands(page)
    assert found

    for verb, *words in found:
        assert verb in VERBS
        command = cli.get_command(click.Context(cli), verb)
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words[0])
        assert command is not None
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known
        if verb == "models" or (verb == "export" and "--model" not in words):
            for name in (word for word in words[:1] if not word.startswith("-")):
                assert registry.get(name).name == name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_readme_holds_the_two_commands_that_ci_and_users_take() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    for marker in ("main-command", "test-command"):
        assert re.search(rf"<!-- {marker} -->\n```bash\npython3\.11 -m venv [^\n]+\n```", text)
    assert "<!-- table: variants -->\n|" in text  # generated, not empty
