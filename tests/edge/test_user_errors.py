"""What users and attackers did to `edge export` and `edge run`, and what must come of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.cli import main
from edge.export.bundle import locked
from edge.export.child import run_module
from edge.export.request import MAX_CHECKPOINT_BYTES
from edge.export.store import Store
from edge.models.checkpoint_file import MAX_BYTES
from edge.runtime.errors import ConversionError, ResourceError

pytestmark = pytest.mark.torch

Said = pytest.CaptureFixture[str]

NETS = """
import os
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class InPlace(Net):
    def forward(self, x):
        x.sub_(0.5).div_(3.0)
        return super().forward(x)


class Loud(Net):
    def forward(self, x):
        print("noise from Python")
        os.write(1, b"noise from C")
        return super().forward(x)


class Integers(Net):
    def forward(self, x):
        return super().forward(x).argmax(1)


class Nothing(Net):
    def forward(self, x):
        return ()


class Two(Net):
    def forward(self, x, y):
        return super().forward(x + y)


class Decomposes(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.neck = Decomposes()

    def forward(self, x):
        return self.neck(x)


def reads_a_file():
    net = Net()
    nn.init.constant_(net.conv.weight, float((HERE / "weight.txt").read_text()))
    return net
"""


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "odd_nets.py").write_text(NETS)
    return folder


def words(nets: Path, output: Path, factory: str, *more: object, shape: str = "1,3,16,16") -> list[str]:
    own = ["export", "own", "--model", f"odd_nets:{factory}", "--plugin-path", str(nets), "--input", shape]
    return [*own, "--target", "onnx", "--precision", "fp32", "--output", str(output), *map(str, more)]


def refusal(said: Said, code: int, expected: int) -> str:
    """Check the exit code and that there is one error line and no data; return the line."""
    out, err = said.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith(("[", "note:"))]

    assert code == expected, err
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def manifest(output: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((output / "own" / "manifest.json").read_text())
    return loaded


def test_an_own_model_is_exported_from_any_working_folder(
    nets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # torch.classes claims a relative `_classes.py`, which is no file here

    assert main(words(nets, tmp_path / "out", "Net")) == 0


def test_weights_that_a_factory_draws_are_the_same_in_each_run(nets: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert main(words(nets, tmp_path / folder, "Net", "--no-cache")) == 0

    one, two = (tmp_path / folder / "own" / "own-fp32.onnx" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_weights_that_a_factory_reads_from_a_file_are_part_of_the_key(nets: Path, tmp_path: Path) -> None:
    keys = []
    for weight in ("0.25", "0.5"):
        (nets / "weight.txt").write_text(weight)
        assert main(words(nets, tmp_path, "reads_a_file", "--force")) == 0
        keys.append(manifest(tmp_path)["key"])

    assert keys[0] != keys[1]


def test_a_network_that_changes_its_input_in_place_holds_parity(nets: Path, tmp_path: Path) -> None:
    assert main(words(nets, tmp_path, "InPlace")) == 0


def test_stdout_is_json_and_nothing_else_whatever_a_model_prints(nets: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge", *words(nets, tmp_path, "Loud", "--json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == 1


@pytest.mark.parametrize(
    ("factory", "shape", "code", "says"),
    [
        ("Integers", "1,3,16,16", 1, "float32 tensor with at least one element, got torch.int64"),
        ("Nothing", "1,3,16,16", 1, "gives no output"),
        ("Two", "1,3,16,16", 1, "must take one tensor"),
        ("Net", "1,3,99999,99999", 2, "2**28 elements"),
        ("Net", "0,3,16,16", 2, "static shape"),
        ("Nested", "1,3,16,16", 1, "in module `neck`"),
    ],
)
def test_what_cannot_be_exported_is_said(
    nets: Path, tmp_path: Path, capsys: Said, factory: str, shape: str, code: int, says: str
) -> None:
    found = main(words(nets, tmp_path / "out", factory, shape=shape))

    assert says in refusal(capsys, found, code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("outputs = [3]", "not a list of tables"),
        ("[decoder]\nname = 'nope'", "`nope` is not known"),
        ("[decoder]\nname = 'face-priors'", "face decoder"),
        ("[decoder]\nname = 'valence-arousal'\nparams = {x = 1}", "unknown key `x`"),
    ],
)
def test_a_card_that_its_decoder_cannot_use_is_refused_at_export(
    nets: Path, tmp_path: Path, capsys: Said, text: str, says: str
) -> None:
    (tmp_path / "card.toml").write_text(text)

    code = main(words(nets, tmp_path / "out", "Net", "--card", tmp_path / "card.toml"))

    assert says in refusal(capsys, code, 2)


@pytest.mark.parametrize("option", ["--card", "--calibration"])
def test_a_device_or_a_pipe_in_place_of_a_file_is_refused_unread(
    nets: Path, tmp_path: Path, capsys: Said, option: str
) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it would block for ever
    for odd in (tmp_path / "pipe", Path("/dev/null")):
        code = main(words(nets, tmp_path / "out", "Net", option, odd))

        assert "is no file" in refusal(capsys, code, 2)


def test_run_refuses_a_pipe_for_a_card_unread(write_onnx: Callable[..., Path], tmp_path: Path, capsys: Said) -> None:
    os.mkfifo(tmp_path / "card.json")

    code = main(["run", str(write_onnx()), "photo.jpg", "--card", str(tmp_path / "card.json")])

    assert "is no card file" in refusal(capsys, code, 2)


def test_a_huge_checkpoint_is_refused_before_it_is_read(tmp_path: Path, capsys: Said) -> None:
    assert MAX_CHECKPOINT_BYTES == MAX_BYTES
    with (tmp_path / "huge.pth").open("wb") as stream:
        stream.truncate(MAX_CHECKPOINT_BYTES * 1000)  # sparse; to hash it would take an hour

    code = main(["export", "emotion-proto-81k", "--checkpoint", str(tmp_path / "huge.pth"), "--output", str(tmp_path)])

    assert "too large" in refusal(capsys, code, 2)


def test_numbers_beyond_float32_are_refused_without_a_warning(nets: Path, tmp_path: Path, capsys: Said) -> None:
    np.save(tmp_path / "big.npy", np.full((40, 3, 16, 16), 1e300))

    code = main(words(nets, tmp_path / "out", "Net", "--calibration", tmp_path / "big.npy"))

    assert "NaN or infinite" in refusal(capsys, code, 2)


@pytest.mark.parametrize(
    "more", [("--seed", "-1"), ("--seed", "99999999999999999999"), ("--min-samples", "0"), ("--min-samples", "-5")]
)
def test_a_number_out_of_range_is_refused(nets: Path, tmp_path: Path, capsys: Said, more: tuple[str, str]) -> None:
    assert more[0] in refusal(capsys, main(words(nets, tmp_path / "out", "Net", *more)), 2)


def test_a_refused_export_leaves_no_folder_of_a_deep_output(nets: Path, tmp_path: Path, capsys: Said) -> None:
    code = main(words(nets, tmp_path / "a" / "b" / "c", "Nothing"))

    refusal(capsys, code, 1)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_there_before_stay(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a" / "b"):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert list((tmp_path / "a").iterdir()) == []


def test_what_a_killed_process_left_in_the_store_goes_and_what_a_living_one_makes_stays(tmp_path: Path) -> None:
    (tmp_path / "ab" / ".part-dead").mkdir(parents=True)
    inside: list[bool] = []

    def build(folder: Path) -> dict[str, object]:
        (folder / "artifact").write_bytes(b"x")
        Store(tmp_path).make("cd" * 32, lambda other: {})  # a second process sweeps meanwhile
        inside.append((folder / "artifact").exists())
        return {}

    Store(tmp_path).make("ab" * 32, build)

    assert inside == [True]
    assert not list(tmp_path.glob("*/.part-*"))
    assert Store(tmp_path).find("ab" * 32) is not None


def test_no_space_in_the_store_names_the_store(tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, object]:
        with open("/dev/full", "wb", buffering=0) as stream:
            stream.write(b"x")
        return {}

    with pytest.raises(OSError, match="No space left") as caught:
        Store(tmp_path).make("ab" * 32, build)

    assert caught.value.filename == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux")
def test_a_converter_does_not_outlive_an_export_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, sys, time\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "import sys; from pathlib import Path; from edge.export.child import run_module\n"
        "run_module('sleeper', [sys.argv[1]], log=Path(sys.argv[2]), timeout_s=60)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "pid"), str(tmp_path / "log")]
    parent = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    child = _pid_in(tmp_path / "pid")
    parent.kill()
    parent.wait()

    assert _ends(child)


def test_a_converter_keeps_its_name_in_errors_and_its_litter_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "litters.py").write_text("import sys, tempfile\ntempfile.mkdtemp()\nsys.exit('no such op')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    work = tmp_path / "work"

    with pytest.raises(ConversionError, match="`litters` failed, got no such op"):
        run_module("litters", [], log=work / "log", timeout_s=60)

    assert [path.name for path in work.iterdir()] == ["log"]


def test_an_interrupt_need_not_wait_for_converters_of_other_threads(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from edge.export.child import run_child, stop_children

    code = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    argv = [sys.executable, "-c", code, str(tmp_path / "pid")]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run_child, argv, log=tmp_path / "log", timeout_s=60)
        child = _pid_in(tmp_path / "pid")
        stop_children()

        assert isinstance(waiting.exception(timeout=30), ResourceError)
    assert _ends(child)


@pytest.mark.parametrize(("closed", "word", "code"), [(">&-", "--help", 0), ("2>&-", "nosuchverb", 2)])
def test_a_closed_stream_changes_no_exit_code(closed: str, word: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m edge {word} {closed}', sys.executable], capture_output=True, text=True, check=False
    )

    assert done.returncode == code
    assert "Traceback" not in done.stderr


def _pid_in(path: Path) -> int:
    for _ in range(600):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the child never started")


def _ends(pid: int) -> bool:
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
