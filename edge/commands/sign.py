"""`edge sign`: put a signature of your own on a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..run_output import shown_name
from ..runtime.errors import EdgeError
from ..runtime.progress import Progress

__all__ = ["command"]

SCHEMA = 1


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), required=True, metavar="PRIV", help="Private key, PEM.")
@click.option(
    "--precision/--no-precision", default=True, show_default=True, help="As of `edge verify`, which comes first."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(bundle: Path, key: Path, precision: bool, as_json: bool) -> None:
    """Verify a bundle and sign it: `model.sig` in it covers every file by name and hash.

    The signature is sigstore's model-signing, made on this machine with a key of an elliptic curve; nothing goes out.
    `edge verify --key` and the program `model_signing` itself check it. `openssl ecparam -name prime256v1 -genkey
    -noout -out team.key` makes a key, `openssl ec -in team.key -pubout -out team.pub` its public half.

    \b
    Example:
        edge sign edge-out/face-nanob --key team.key
        edge verify edge-out/face-nanob --key team.pub
    """
    from ..export.signing import sign
    from ..export.verify import verify_bundle

    with Progress("verifying", lines=False, alive=True):
        found = verify_bundle(bundle, precision=precision)
    wrong = [*found.findings, *(one for one in found.not_checked if precision and one.check == "precision")]
    if wrong:
        raise EdgeError(
            f"`{shown_name(bundle)}` is not signed, for it is not as its manifest says",
            got=f"{wrong[0].file}: {wrong[0].message}",
            hint="see `edge verify`",
        )
    with Progress("signing", lines=False, alive=True):
        made = sign(bundle, key)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "command": "sign", "signature": str(made)}))
    else:
        click.echo(f"signed: {shown_name(made)}")
