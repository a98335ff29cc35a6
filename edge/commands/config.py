"""`edge config`: what `edge.toml` says, whether it is right, and its JSON Schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.errors import InputError

if TYPE_CHECKING:
    from ..bench.config import Config

__all__ = ["command"]

SCHEMA = 1
WAYS = ("show", "check", "schema")


@click.command()
@click.argument("way", metavar="show|check|schema", type=click.Choice(WAYS))
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default="edge.toml",
    show_default=True,
    metavar="FILE",
    help="The configuration.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; `schema` is one always.")
def command(way: str, path: Path, as_json: bool) -> None:
    r"""Show or check `edge.toml`: devices, defaults and budgets; or print its JSON Schema, for editors.

    \b
    Examples:
        edge config check
        edge config show --json
        edge config schema > edge.schema.json
    """
    from ..bench.config import read_config
    from ..bench.config_schema import config_schema

    if way == "schema":
        click.echo(json.dumps(config_schema(), indent=2))
        return
    if not path.exists():
        raise InputError(f"there is no `{path}`", hint="docs/gates.md has one to begin with")
    config = read_config(path)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "command": f"config {way}", **_plain(config)}, allow_nan=False))
    elif way == "check":
        click.echo(f"{path}: {len(config.devices)} devices and {len(config.budgets)} budgets, nothing wrong")
    else:
        click.echo(_told(config))


def _plain(config: Config) -> dict[str, Any]:
    return {
        "file": str(config.path),
        "defaults": dataclasses.asdict(config.defaults),
        "devices": [dataclasses.asdict(device) for device in config.devices.values()],
        "budgets": [_facts(budget) for budget in config.budgets],
    }


def _facts(budget: Any) -> dict[str, Any]:
    """Return a budget's patterns and limits, and what goes with a latency where it has one."""
    from ..bench.budgets import OF_LATENCY, TIMED

    timed = any(name in budget.limits for name in TIMED)
    names = ("line", "model", "variant", *(OF_LATENCY if timed else ()))
    return {**{name: getattr(budget, name) for name in names}, "limits": budget.limits}


def _told(config: Config) -> str:
    from ..bench.show import draw_table

    rows = []
    for budget in config.budgets:
        facts = _facts(budget)
        where = f"{facts['device']}, {facts['threads']} threads, {facts['evidence']}" if "device" in facts else "-"
        limits = ", ".join(f"{name} {_number(value)}" for name, value in facts["limits"].items())
        rows.append((str(budget.line), budget.model, budget.variant, where, limits))
    defaults = ", ".join(f"{key} {value or '-'}" for key, value in dataclasses.asdict(config.defaults).items())
    lines = [f"defaults: {defaults}"]
    lines += [f"device {one.name}: {one.kind} at {one.ssh or one.adb}" for one in config.devices.values()]
    return "\n".join([*lines, draw_table(("line", "model", "variant", "where", "limits"), rows).rstrip()])


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).lower()
