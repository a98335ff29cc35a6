"""The overlays of `edge run`: drawn whole or not at all, and never over something else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.run_output import write_picture
from edge.run_plan import Kind, plan_overlays
from edge.runtime.card import Card
from edge.runtime.errors import InputError

from .run_help import refused, run

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("fresh_cache", "ctrl_c")
Write = Callable[..., Path]
Cards = Callable[..., Card]


def test_an_overlay_is_drawn_and_never_overwritten_without_force(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen.png"

    assert run(capsys, write_onnx(), pictures / "a.png", "--draw", seen)[0] == 0
    with Image.open(seen) as drawn:
        assert drawn.size == (30, 20)
    assert "--force" in refused(capsys, write_onnx(), pictures / "a.png", "--draw", seen)
    assert run(capsys, write_onnx(), pictures / "a.png", "--draw", seen, "--force")[0] == 0
    assert not list(tmp_path.glob(".edge-*"))


def test_overlays_of_many_go_to_a_folder(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, write_onnx(), pictures, "--draw", tmp_path / "new" / "seen")[0] == 0

    assert sorted(path.name for path in (tmp_path / "new" / "seen").iterdir()) == ["a.png", "b.jpg"]


def test_a_slash_names_a_folder_of_overlays_and_no_name_is_refused(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, write_onnx(), pictures / "a.png", "--draw", f"{tmp_path / 'seen'}/")

    assert (code, err) == (0, "")
    assert os.listdir(tmp_path / "seen") == ["a.png"]
    assert "`--draw` is empty" in refused(capsys, write_onnx(), pictures / "a.png", "--draw", "")


def test_an_overlay_never_replaces_its_own_input(
    write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (pictures / "a.png").read_bytes()

    assert "its own input" in refused(capsys, write_onnx(), pictures, "--draw", pictures, "--force")
    assert "its own input" in refused(
        capsys, write_onnx(), pictures / "a.png", "--draw", f"{pictures}/../pictures/a.png", "--force"
    )
    assert (pictures / "a.png").read_bytes() == before


def test_an_overlay_where_none_can_be_is_refused(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    picture = pictures / "a.png"

    assert ".png" in refused(capsys, write_onnx(), picture, "--draw", tmp_path / "seen.webp")
    assert "cannot write" in refused(capsys, write_onnx(), picture, "--draw", tmp_path / "none" / "seen.png")
    assert "file" in refused(capsys, write_onnx(), pictures, "--draw", tmp_path / "file")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_refused(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)

    assert "cannot write" in refused(
        capsys, write_onnx(), pictures / "a.png", "--draw", tmp_path / "locked" / "seen.png"
    )


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Mount a tiny tmpfs with the options of the test's parameter."""
    place = tmp_path / "mounted"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(place)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root on Linux")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("mounted", ["size=8k"], indirect=True)
def test_a_full_disk_is_a_resource_error_and_leaves_nothing(
    mounted: Path, write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = np.random.default_rng(3).integers(0, 256, (100, 100, 3), np.uint8)  # noise: 30 kB as PNG
    Image.fromarray(large).save(pictures / "large.png")

    err = refused(capsys, write_onnx(), pictures / "large.png", "--draw", mounted / "seen.png", code=5)

    assert "No space left" in err
    assert not list(mounted.iterdir())


@pytest.mark.parametrize("mounted", ["size=64k,ro"], indirect=True)
def test_a_read_only_disk_is_refused(
    mounted: Path, write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "write" in refused(capsys, write_onnx(), pictures / "a.png", "--draw", mounted / "seen.png")


def test_two_inputs_of_one_name_cannot_share_a_folder_of_overlays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would have one overlay"):
        plan_overlays(
            dict.fromkeys([tmp_path / "x" / "a.gif", tmp_path / "y" / "a.gif"], Kind.PICTURE),
            tmp_path / "out",
            into_folder=True,
        )


def test_a_picture_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "seen.png"
    target.write_bytes(b"precious")

    with pytest.raises(InputError, match="exists"):
        write_picture(np.zeros((4, 4, 3), np.uint8), target)
    assert target.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["seen.png"]
