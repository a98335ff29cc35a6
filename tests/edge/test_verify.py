"""`edge verify` and `edge sign`, as a user meets them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.export.bundle import commit, locked, open_run
from edge.export.store import sha256_file
from edge.runtime.card import Card

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bundle(tmp_path: Path, tiny_card: Callable[..., Card], write_onnx: Callable[..., Path]) -> Path:
    """A sound bundle of one file."""
    facts = {"target": "onnx", "precision": "fp32", "recipe": "float"}
    name = "tiny-fp32.onnx"
    with locked(tmp_path / "out"), open_run(tmp_path / "out") as run:
        made = Path(shutil.move(write_onnx(name, replace(tiny_card(), artifact=facts)), run / name))
        entry: dict[str, Any] = {**facts, "contents": {"macs": 0}}
        entry |= {"bytes": made.stat().st_size, "sha256": sha256_file(made)}
        head = {"schema": 1, "edge": "0.1.0", "key": "k", "model": "tiny", "family": "custom", "weights": "seeded"}
        body = {"card": tiny_card().to_dict(), "checkpoint_sha256": None, "variants": {name: entry}, "tools": {}}
        commit(run, tmp_path / "out" / "tiny", head | body)
    return tmp_path / "out" / "tiny"


def test_a_sound_bundle_and_a_folder_of_bundles_pass(say: Say, bundle: Path) -> None:
    code, out, _ = say("verify", bundle)
    assert code == 0
    assert "as its manifest says (held: 1 manifest, 1 names, 1 hash, 1 card, 1 precision, 1 checkpoint)" in out

    code, out, _ = say("verify", bundle.parent, "--json")
    values = json.loads(out)
    assert (code, values["schema"], values["ok"]) == (0, 1, True)
    assert values["bundles"][0]["not_checked"] == []


def test_a_finding_is_a_line_and_exit_code_1_and_no_bill_is_written(say: Say, bundle: Path, tmp_path: Path) -> None:
    data = bytearray((bundle / "tiny-fp32.onnx").read_bytes())
    data[-1] ^= 1
    (bundle / "tiny-fp32.onnx").write_bytes(data)
    (bundle / "\x1b[2Jevil").write_text("")

    code, out, err = say("verify", bundle, "--sbom", tmp_path / "bill.json")

    assert code == 1
    assert "tiny-fp32.onnx: hash: sha256 is" in out
    assert "\\x1b[2Jevil: names: is not in the manifest" in out
    assert err.startswith("error: 2 findings")
    assert not (tmp_path / "bill.json").exists()


def test_what_is_no_bundle_is_refused(say: Say, tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "none"):
        code, _, err = say("verify", where)
        assert code == 2
        assert "is no bundle" in err


def test_without_the_packages_for_it_the_precision_is_told_not_to_be_checked(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx.py").write_text("raise ModuleNotFoundError(name='onnx')")  # as on a Pi
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from edge.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "verify", str(bundle), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run()
    assert done.returncode == 2
    assert "tiny-fp32.onnx: not checked: precision: needs the package onnx" in done.stdout
    assert "pip install 'edge-vision[export]'" in done.stderr
    told = run("--no-precision")
    assert told.returncode == 0
    assert "not checked: precision: not asked for" in told.stdout


def test_a_bill_of_materials_is_written(say: Say, bundle: Path, tmp_path: Path) -> None:
    code, _, _ = say("verify", bundle, "--no-precision", "--sbom", tmp_path / "bill.json")

    assert code == 0
    assert json.loads((tmp_path / "bill.json").read_text())["bomFormat"] == "CycloneDX"


@pytest.fixture
def signing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `model_signing` on PATH; with EDGE_TEST_SIGN=1 an environment is made for it, which takes a minute."""
    if shutil.which("model_signing") is not None:
        return
    if os.environ.get("EDGE_TEST_SIGN") != "1":
        pytest.skip("needs the program model_signing; EDGE_TEST_SIGN=1 installs it in an environment of its own")
    venv.create(tmp_path / "signing", with_pip=True)
    programs = tmp_path / "signing" / "bin"
    subprocess.run([programs / "pip", "install", "--quiet", "model-signing", "pyopenssl"], check=True)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def test_a_signature_holds_until_something_changes(signing: None, say: Say, bundle: Path, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        key, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        words: list[str | Path] = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]
        subprocess.run(words, check=True)
        made: list[str | Path] = ["openssl", "ec", "-in", key, "-pubout", "-out", public]
        subprocess.run(made, check=True, capture_output=True)

    code, _, err = say("verify", bundle, "--key", tmp_path / "ours.pub")
    assert (code, "1 finding" in err) == (1, True)  # not signed yet
    assert say("sign", bundle, "--key", tmp_path / "ours.key")[0] == 0
    assert say("verify", bundle, "--key", tmp_path / "ours.pub")[0] == 0
    assert "not checked: signature" in say("verify", bundle)[1]
    assert say("verify", bundle, "--key", tmp_path / "theirs.pub")[0] == 1

    from edge.export.seal import manifest_digest, manifest_text

    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["edge"] = "9.9.9"  # with a digest that fits
    manifest["digest"] = manifest_digest(manifest)
    (bundle / "manifest.json").write_text(manifest_text(manifest))
    assert say("verify", bundle)[0] == 0
    code, out, _ = say("verify", bundle, "--key", tmp_path / "ours.pub")
    assert (code, "signature: does not hold" in out) == (1, True)


def test_a_bundle_with_findings_is_not_signed_and_a_missing_program_is_named(
    say: Say, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "k").write_text("no key")
    monkeypatch.setenv("PATH", str(tmp_path))

    code, _, err = say("sign", bundle, "--key", tmp_path / "k")
    assert code == 2
    assert "pip install model-signing pyopenssl" in err
    (bundle / "extra").write_text("")
    code, _, err = say("sign", bundle, "--key", tmp_path / "k")
    assert code == 1
    assert "is not signed" in err
    assert say("verify", bundle, "--key", tmp_path / "none")[0] == 2
