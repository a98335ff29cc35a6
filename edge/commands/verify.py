"""`edge verify`: is a bundle what it says, file by file?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..run_output import print_result, shown_name, shown_text
from ..runtime.errors import EdgeError, InputError, MissingExtraError
from ..runtime.files import check_writable, folders_with, write_whole
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..export.verify import Verification

__all__ = ["command"]

SCHEMA = 1


@click.command()
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="Weights that it was made of.")
@click.option(
    "--precision/--no-precision",
    default=True,
    show_default=True,
    help="Look into each file for what its name claims; needs the packages of the extra `export`.",
)
@click.option("--key", type=click.Path(path_type=Path), metavar="PUB", help="Demand a signature that this key made.")
@click.option(
    "--sbom", type=click.Path(path_type=Path), metavar="FILE", help="Write a bill of materials: CycloneDX JSON."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    bundles: tuple[Path, ...],
    checkpoint: Path | None,
    precision: bool,
    key: Path | None,
    sbom: Path | None,
    as_json: bool,
) -> int:
    """Check bundles of `edge export`: every hash, every card, the precision really in each file, nothing else there.

    One bit that changed anywhere, in an artifact or in the manifest, is found. That is against accidents; against
    people there is `--key`, with a signature of `edge sign`. A folder of bundles stands for all in it.

    Exits with 0 where all is as the manifest says, with 1 and a line for each finding where it is not, and with 2
    where the packages for the precision are missing: `--no-precision` does without it, and says so.

    \b
    Example:
        edge verify edge-out/face-nanob
        edge verify edge-out/face-nanob --key team.pub --sbom face.cdx.json
        edge verify edge-out --json
    """
    from ..export.bundle import MANIFEST
    from ..export.verify import verify_bundle

    folders = [one for folder in bundles for one in folders_with(folder, MANIFEST) or [folder]]
    if len(folders) > 1 and (checkpoint is not None or sbom is not None):
        raise InputError("`--checkpoint` and `--sbom` are of one bundle", got=f"{len(folders)} bundles")
    if sbom is not None:
        check_writable(sbom)
    found = []
    with Progress("verifying", lines=False, alive=True) as progress:
        for number, folder in enumerate(folders):
            progress.at(number, len(folders), shown_name(folder))
            result = verify_bundle(folder, checkpoint=checkpoint, precision=precision)
            _check_signature(result, key)
            found.append(result)
            if not as_json:
                progress.close()  # no bar among lines of the same terminal
                _tell(result)
    if as_json:
        values = {"ok": not any(one.findings for one in found), "bundles": [one.to_dict() for one in found]}
        print_result(json.dumps({"schema": SCHEMA, "command": "verify", **values}, allow_nan=False))
    if any(one.findings for one in found):
        count = sum(len(one.findings) for one in found)
        raise EdgeError(
            f"{count} {'finding' if count == 1 else 'findings'}: not as the manifest says",
            hint="do not ship it; export it again",
        )
    missing = [line for one in found for line in one.not_checked if line.check == "precision"] if precision else []
    if missing:
        raise MissingExtraError(
            f"the precision of {len(missing)} files was not checked", got=missing[0].message,
            hint="pip install 'edge-vision[export]', or pass --no-precision",
        )  # fmt: skip
    if sbom is not None:
        from ..export.sbom import sbom as bill

        assert found[0].manifest is not None
        write_whole(sbom, json.dumps(bill(found[0].manifest, found[0].hashes), indent=1, allow_nan=False) + "\n")
    return 0


def _check_signature(result: Verification, key: Path | None) -> None:
    from ..export.verify import SIGNATURE

    if key is None:
        if (result.bundle / SIGNATURE).exists():
            result.missed(SIGNATURE, "signature", "give the signer's key with --key")
        return
    from ..export.signing import signature_complaint

    with result.doing("signature"):
        if complaint := signature_complaint(result.bundle, key):
            result.found(SIGNATURE, "signature", complaint)


def _tell(result: Verification) -> None:
    """Print findings, what was not checked, and what was."""
    label = shown_name(result.bundle)
    for one in result.findings:
        print_result(shown_text(f"{label}/{one.file}: {one.check}: {one.message}"))
    for one in result.not_checked:
        print_result(shown_text(f"{label}/{one.file}: not checked: {one.check}: {one.message}"))
    done = ", ".join(f"{count} {check}" for check, count in result.checked.items() if count)
    verdict = f"{len(result.findings)} findings" if result.findings else "as its manifest says"
    print_result(f"{label}: {verdict} (held: {done or 'nothing'})")
