"""`edge export` as a user meets it: what comes out, what is refused, what survives."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edge.cli import main
from edge.export.bundle import intact, read_manifest
from edge.export.store import sha256_file
from edge.models import registry
from edge.runtime import read_card

NETS = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        y = self.stem(x)
        return {"logits": self.fc(self.pool(y).flatten(1)), "features": y}

class Sorts(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)

def make(): return Small()
def broken(): raise RuntimeError("no such luck")
def exits(): raise SystemExit(7)
def sorts(): return Sorts()
"""  # noqa: E501

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "user_nets.py").write_text(NETS)
    return folder


def export(nets: Path, output: Path, *more: str, factory: str = "make", shape: str = "1,3,32,32") -> int:
    own = ["small", "--model", f"user_nets:{factory}", "--plugin-path", str(nets), "--input", shape]
    return main(["export", *own, "--output", str(output), *more])


def error_line(said: Said, code: int, expected: int) -> str:
    """Check the exit code and that the error is the one line it should be; return it."""
    out, err = said.readouterr()
    errors = [line for line in err.splitlines() if not line.startswith(("[", "note:"))]

    assert code == expected, err
    assert out == ""
    assert "Traceback" not in err
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert len(errors[0]) <= 300
    return errors[0]


@pytest.fixture(scope="module")
def bundle(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out")
    assert export(nets, output) == 0
    return output / "small"


def manifest_of(bundle: Path) -> dict[str, Any]:
    manifest = read_manifest(bundle)
    assert manifest is not None
    return manifest


def test_a_users_own_model_gives_six_files_and_a_manifest(bundle: Path) -> None:
    names = {f"small-{precision}.{target}" for precision in ("fp32", "fp16", "int8") for target in ("onnx", "tflite")}

    assert {path.name for path in bundle.iterdir()} == names | {"manifest.json"}
    assert intact(bundle, manifest_of(bundle))


def test_every_latency_says_whether_the_machine_was_busy(bundle: Path) -> None:
    for entry in manifest_of(bundle)["variants"].values():
        assert entry["latency"]["best_ms"] > 0
        assert entry["latency"]["busy"] in (True, False)


def test_every_file_holds_its_parity_limit_on_every_output(bundle: Path) -> None:
    for entry in manifest_of(bundle)["variants"].values():
        assert set(entry["parity"]) == {"logits", "features"}
        assert entry["complaints"] == []
        for parity in entry["parity"].values():
            if entry["precision"] == "fp32":
                assert parity["max_error"] <= 1e-4
            elif entry["precision"] == "fp16":
                assert parity["max_error"] <= 1e-2
            else:
                assert parity["sqnr_db"] >= 20


def test_every_file_describes_itself(bundle: Path) -> None:
    for path in bundle.glob("small-*"):
        card = read_card(path)
        assert card.model == "small"
        assert {output.name for output in card.outputs} == {"logits", "features"}
        assert path.name == f"small-{card.artifact['precision']}.{card.artifact['target']}"


def test_the_manifest_says_what_was_tried_and_on_what(bundle: Path) -> None:
    manifest = manifest_of(bundle)
    searched = manifest["variants"]["small-int8.tflite"]

    assert manifest["samples"]["synthetic"] is True
    assert {row["name"] for row in searched["route"]["table"]} == {"onnx2tf", "litert-torch"}
    assert [row["verdict"] for row in searched["search"]].count("chosen") == 1
    assert searched["int8_mac_share"] > 0.5
    assert manifest["tools"]["torch"].startswith("2.13.0")


def test_a_second_run_has_nothing_to_do(nets: Path, bundle: Path, capsys: Said) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()}

    assert export(nets, bundle.parent) == 0

    assert "up to date" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()} == before


def test_the_cache_serves_another_folder_with_the_same_bytes(
    nets: Path, bundle: Path, tmp_path: Path, capsys: Said
) -> None:
    assert export(nets, tmp_path) == 0

    assert "cached" in capsys.readouterr().out
    for path in bundle.glob("small-*"):
        assert sha256_file(tmp_path / "small" / path.name) == sha256_file(path)


def test_variants_that_were_not_asked_for_again_stay(nets: Path, bundle: Path) -> None:
    assert export(nets, bundle.parent, "--target", "onnx", "--precision", "dynamic") == 0

    assert len(manifest_of(bundle)["variants"]) == 7
    assert intact(bundle, manifest_of(bundle))
    (bundle / "small-dynamic.onnx").unlink()  # leave what other tests expect
    assert export(nets, bundle.parent) == 0
    assert len(manifest_of(bundle)["variants"]) == 6


def test_other_inputs_replace_a_bundle_only_by_force(nets: Path, bundle: Path, tmp_path: Path, capsys: Said) -> None:
    assert export(nets, tmp_path, "--target", "onnx", "--precision", "fp32") == 0
    capsys.readouterr()
    again = ("--target", "onnx", "--precision", "fp32", "--seed", "1")

    line = error_line(capsys, export(nets, tmp_path, *again), 2)
    assert "--force" in line
    assert export(nets, tmp_path, *again, "--force") == 0


def test_two_exports_without_a_cache_are_byte_identical(nets: Path, tmp_path: Path) -> None:
    fixed = ("--no-cache", "--precision", "fp32,int8", "--target", "onnx")
    for name in ("a", "b"):
        assert export(nets, tmp_path / name, *fixed) == 0

    for path in (tmp_path / "a" / "small").glob("small-*"):
        assert path.read_bytes() == (tmp_path / "b" / "small" / path.name).read_bytes()


def test_no_path_of_this_machine_gets_into_a_file(nets: Path, bundle: Path) -> None:
    for path in bundle.iterdir():
        data = path.read_bytes()
        for secret in (str(nets), str(Path.home()), str(bundle.parent)):
            assert secret.encode() not in data


def test_json_prints_the_manifests(nets: Path, bundle: Path, capsys: Said) -> None:
    capsys.readouterr()
    assert export(nets, bundle.parent, "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["bundles"] == [manifest_of(bundle)]


@pytest.mark.slow
def test_a_killed_export_goes_on_where_it_stopped(nets: Path, tmp_path: Path) -> None:
    own = ["small", "--model", "user_nets:make", "--plugin-path", str(nets), "--input", "1,3,48,48", "--target", "onnx"]
    argv = [sys.executable, "-m", "edge", "export", *own, "--output", str(tmp_path / "out")]
    environment = os.environ | {"EDGE_CACHE": str(tmp_path / "cache")}
    first = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    for line in first.stderr:
        if "searching a recipe" in line:
            first.send_signal(signal.SIGKILL)
    first.wait()
    first.stderr.close()
    assert not (tmp_path / "out" / "small").exists()

    again = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)

    assert "exporting to ONNX" not in again.stderr  # that stage was kept
    assert intact(tmp_path / "out" / "small", manifest_of(tmp_path / "out" / "small"))
    assert list((tmp_path / "out").glob(".run-*")) == []


@pytest.mark.slow
def test_ctrl_c_ends_at_once_and_leaves_nothing(nets: Path, tmp_path: Path) -> None:
    own = ["small", "--model", "user_nets:make", "--plugin-path", str(nets), "--input", "1,3,40,40"]
    argv = [sys.executable, "-m", "edge", "export", *own, "--target", "tflite", "--output", str(tmp_path / "out")]
    environment = os.environ | {"EDGE_CACHE": str(tmp_path / "cache")}
    run = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert run.stderr is not None
    for line in run.stderr:
        if "converting to TFLite" in line:
            break
    time.sleep(2)
    run.send_signal(signal.SIGINT)
    said = run.stderr.read()
    run.stderr.close()

    assert run.wait(timeout=20) == 130
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    workers = subprocess.run(["pgrep", "-f", f"tflite_worker {tmp_path}"], capture_output=True, text=True, check=False)
    assert workers.stdout == ""


def test_a_failing_factory_is_one_line(nets: Path, tmp_path: Path, capsys: Said) -> None:
    for factory, said in (("broken", "no such luck"), ("exits", "SystemExit: 7"), ("absent", "has no `absent`")):
        line = error_line(capsys, export(nets, tmp_path / "out", factory=factory), 2)
        assert said in line
    assert not (tmp_path / "out").exists()


def test_a_module_that_is_not_found_gets_the_hint(tmp_path: Path, capsys: Said) -> None:
    code = main(["export", "--model", "nowhere_nets:make", "--input", "1,3,8,8", "--output", str(tmp_path / "out")])

    assert "--plugin-path" in error_line(capsys, code, 2)


def test_an_unsupported_operator_is_named(nets: Path, tmp_path: Path, capsys: Said) -> None:
    code = export(nets, tmp_path / "out", factory="sorts", shape="1,3,8,8")

    line = error_line(capsys, code, 1)
    assert "svd" in line
    assert not (tmp_path / "out").exists()


NAME = "pose-student-2mb"


def refuse(tmp_path: Path, capsys: Said, *more: str, code: int = 2) -> str:
    """Run an export that must be refused; return its line after checking that nothing was left behind."""
    before = sorted(path.name for path in tmp_path.iterdir())
    got = main(["export", NAME, "--output", str(tmp_path / "out"), "--target", "onnx", *more])

    line = error_line(capsys, got, code)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    return line


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "pose.pth"
    torch.save(registry.get(NAME).build().state_dict(), path)
    return path


def test_a_missing_checkpoint_is_refused(tmp_path: Path, capsys: Said) -> None:
    assert "does not exist" in refuse(tmp_path, capsys, "--checkpoint", str(tmp_path / "no.pth"))


def test_a_folder_for_a_checkpoint_is_refused(tmp_path: Path, capsys: Said) -> None:
    assert "is not a file" in refuse(tmp_path, capsys, "--checkpoint", str(tmp_path))


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, capsys: Said, checkpoint: Path, keep: int) -> None:
    data = checkpoint.read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: len(data) // 2] if keep < 0 else data[:keep])

    refuse(tmp_path, capsys, "--checkpoint", str(tmp_path / "cut.pth"))


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path, capsys: Said) -> None:
    torch.save({"state_dict": _Evil(str(tmp_path / "canary"))}, tmp_path / "evil.pth")

    refuse(tmp_path, capsys, "--checkpoint", str(tmp_path / "evil.pth"))

    assert not (tmp_path / "canary").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, capsys: Said) -> None:
    torch.save(registry.get("pose-student-8mb").build().state_dict(), tmp_path / "other.pth")

    assert "pose-student-8mb" in refuse(tmp_path, capsys, "--checkpoint", str(tmp_path / "other.pth"))


def test_a_nan_in_the_weights_is_refused_by_name(tmp_path: Path, capsys: Said, checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["conv3.op.weight"][0, 0, 0, 0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")

    assert "conv3.op.weight" in refuse(tmp_path, capsys, "--checkpoint", str(tmp_path / "nan.safetensors"))


@pytest.mark.parametrize(("name", "data"), [("broken.png", b"\x89PNG not really"), ("empty.jpg", b"")])
def test_an_unreadable_calibration_image_is_named(tmp_path: Path, capsys: Said, name: str, data: bytes) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / name).write_bytes(data)

    assert name in refuse(tmp_path, capsys, "--calibration", str(tmp_path / "photos"))


def test_too_few_distinct_calibration_images_are_refused(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(40):
        Image.new("RGB", (16, 16), (index % 4, 0, 0)).save(tmp_path / "photos" / f"{index}.png")

    line = refuse(tmp_path, capsys, "--calibration", str(tmp_path / "photos"))
    assert "expected at least 32, got 4 of 40" in line


def test_a_calibration_array_with_nan_is_refused(tmp_path: Path, capsys: Said) -> None:
    array = np.zeros((40, 3, 128, 128), np.float32)
    array[3, 1, 5, 5] = np.nan
    np.save(tmp_path / "c.npy", array)

    assert "1 NaN" in refuse(tmp_path, capsys, "--calibration", str(tmp_path / "c.npy"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--precision", "int4"), "fp32,fp16,int8"),
        (("--target", "coreml"), "onnx,tflite"),
        (("--input-size", "100,100"), "multiple"),
        (("--input-size", "big"), "numbers"),
        (("--timeout", "0"), "above 0"),
        (("--via", "magic"), "magic"),
        (("--untrained", "--checkpoint", "w.pth"), "does not go with `--checkpoint`"),
    ],
)
def test_a_wrong_option_says_what_is_right(tmp_path: Path, capsys: Said, more: tuple[str, ...], said: str) -> None:
    assert said in refuse(tmp_path, capsys, *more)


def test_an_unknown_model_names_the_nearest(tmp_path: Path, capsys: Said) -> None:
    code = main(["export", "pose-student-2m", "--output", str(tmp_path / "out")])

    assert "pose-student-2mb" in error_line(capsys, code, 2)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "out").write_text("mine")

    assert "cannot be written" in refuse(tmp_path, capsys)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system of its own")
@pytest.mark.parametrize(("options", "code"), [("size=200k", 5), ("size=1m,ro", 2)])
def test_a_full_or_read_only_disk_is_told_and_left_clean(
    nets: Path, bundle: Path, tmp_path: Path, capsys: Said, options: str, code: int
) -> None:
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)], check=False)
    if mount.returncode:
        pytest.skip("this sandbox does not mount")
    try:
        if "ro" not in options:
            (tmp_path / "filler").write_bytes(bytes(150_000))
        capsys.readouterr()
        error_line(capsys, export(nets, tmp_path / "out"), code)
        assert not (tmp_path / "out").exists()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
