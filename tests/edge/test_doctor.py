"""What `edge doctor` says of complete, incomplete and unsafe installations."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import pytest

from edge import cli
from edge.commands import doctor
from edge.commands.doctor import Check, examine


def pretend(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str | None]) -> None:
    """Make packages look installed in other versions, or (None) absent."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        found = versions[name] if name in versions else real(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)


def of(checks: list[Check], name: str, group: str) -> Check:
    return next(check for check in checks if (check.name, check.group) == (name, group))


def test_the_wanted_versions_are_those_of_the_distribution() -> None:
    wanted = {(check.name, check.wanted) for check in examine() if check.group in ("base", *doctor.EXTRAS)}

    for line in importlib.metadata.requires("edge-vision") or []:
        name, spec, extra = doctor._requirement(line)
        if extra in ("", "export", "eval"):
            assert (name, spec) in wanted or any(name == known and ">=" in floor for known, floor in wanted)


@pytest.mark.parametrize(("name", "floor"), [*doctor.FLOORS.items()])
def test_a_version_below_its_security_floor_is_bad(
    name: str, floor: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, {name: "0.9.9"})

    check = of(examine(), name, "export")
    assert check.state == "bad"
    assert floor in check.wanted
    assert "pip install" in check.hint
    assert cli.main(["doctor"]) == 2
    out, err = capsys.readouterr()
    assert name in out
    assert err.count("\n") == 1


def test_without_any_engine_run_is_not_fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch, {"onnxruntime": None, "ai-edge-litert": None})

    assert cli.main(["doctor", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["fit"] is False
    assert "edge-vision[onnxruntime]" in err


def test_one_engine_and_no_export_extra_is_fit_for_run(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {name: None for name in ("onnxruntime", "torch", "tensorflow", "onnx", "litert-torch")}
    pretend(monkeypatch, {**lacking, "ai-edge-litert": "2.3.0", "numpy": "2.4.6", "pillow": "13.0.0", "click": "8.5.1"})

    checks = examine()

    assert not [check for check in checks if check.state == "bad"]
    assert of(checks, "torch", "export").hint == "pip install 'edge-vision[export]'"
    assert "pytorch's own install page" in of(checks, "torch build", "export").hint


def test_a_package_of_several_extras_is_listed_once_with_the_smallest_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = ["torch==2.13.0; extra == 'export'", "optuna>=5.0; extra == 'train'", "torch==2.13.0; extra == 'train'"]
    lines += ["faster-coco-eval>=1.8; extra == 'train'", "faster-coco-eval>=1.8; extra == 'eval'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    pretend(monkeypatch, {"optuna": None, "faster-coco-eval": None})

    checks = examine()

    found = {check.name: check for check in checks if check.group in doctor.EXTRAS and check.name != "torch build"}
    assert [(check.name, check.group) for check in found.values()] == [
        ("torch", "export"),
        ("faster-coco-eval", "eval"),
        ("optuna", "train"),
    ]
    assert found["optuna"].state == "note"
    assert found["optuna"].hint == "pip install 'edge-vision[train]'"
    assert found["faster-coco-eval"].hint == "pip install 'edge-vision[eval]'"


def test_another_version_than_the_tested_one_is_a_note_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"torch": "2.99.0"})

    check = of(examine(), "torch", "export")

    assert (check.state, check.found) == ("note", "2.99.0")
    assert check.hint.startswith("pip install 'torch==")


@pytest.mark.parametrize(
    ("version", "spec", "fits"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13", "==2.13.0", True),
        ("2.9.0", ">=2.10", False),
        ("2.10.0rc1", ">=2.10", True),
        ("11", ">=11", True),
        ("1.0", "", True),
        ("3.0", ">=2.0,==3.1", False),
    ],
)
def test_versions_compare_by_number(version: str, spec: str, fits: bool) -> None:
    assert doctor._satisfies(version, spec) is fits


def test_a_checkout_that_was_never_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)

    assert "pip install -e ." in of(examine(), "edge-vision", "base").hint


def test_doctor_works_where_numpy_is_missing() -> None:
    program = "import sys\nsys.modules['numpy'] = None\nfrom edge.commands.doctor import examine\nprint(len(examine()))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
