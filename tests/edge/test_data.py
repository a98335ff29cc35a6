"""`edge data`: exit codes, what is listed, JSON, and a sheet that is a picture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cli import main
from edge.runtime.image import read_image

from ..models.data.tiny_sets import DEAM, RETINA, coco_json, write_coco, write_deam, write_wider

Out = pytest.CaptureFixture[str]


def test_a_good_set_is_counted_and_exits_with_0(tmp_path: Path, capsys: Out) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, part="train2017")

    code = main(["data", "check", str(tmp_path)])

    out = capsys.readouterr().out
    assert code == 0
    assert "train: COCO keypoints train2017 (2 pictures): 2 of 2 samples are fine" in out
    assert "val: COCO keypoints val2017 (3 pictures): 3 of 3 samples are fine" in out
    assert "labelled joints          17" in out


def test_broken_samples_are_listed_by_file_and_line_and_exit_with_1(tmp_path: Path, capsys: Out) -> None:
    file = write_wider(tmp_path, RETINA.replace("10 12 20 24", "10 12 20"))

    code = main(["data", "check", str(tmp_path), "--family", "face", "--split", "train"])

    out = capsys.readouterr().out
    assert code == 1
    assert "broken, which training passes over: 1" in out
    assert f"`{file}:2`: wrong number of numbers" in out


def test_faults_alone_exit_with_1(tmp_path: Path, capsys: Out) -> None:
    write_deam(tmp_path, DEAM + ",5,0,5,0\n")
    assert main(["data", "check", str(tmp_path), "--split", "train", "--workers", "1"]) == 1
    assert "annotations that belong to no sample: 1" in capsys.readouterr().out


def test_a_set_too_small_for_all_splits_is_checked_in_those_it_has(tmp_path: Path, capsys: Out) -> None:
    write_deam(tmp_path, "".join(DEAM.splitlines(keepends=True)[:3]))
    assert main(["data", "check", str(tmp_path), "--workers", "1"]) == 0
    assert capsys.readouterr().out.count("samples are fine") < 3
    assert main(["data", "check", str(tmp_path), "--split", "nowhere"]) == 2


def test_json_has_everything(tmp_path: Path, capsys: Out) -> None:
    data = coco_json()
    data["annotations"][0]["area"] = "much"
    write_coco(tmp_path, data)

    code = main(["data", "check", str(tmp_path), "--json"])

    found = json.loads(capsys.readouterr().out)
    assert code == 1
    assert (found["schema"], found["family"], found["broken"], found["faults"]) == (1, "pose", 1, 0)
    assert "annotation 0 (id 101)" in found["splits"]["val"]["broken"][0]
    assert found["splits"]["val"]["statistics"]["pictures"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "{folder}"], "holds no data that is known"),
        (["check", "{folder}/none"], "there is no folder"),
        (["check", "synthetic"], "a synthetic set needs `--family`"),
        (["check", "{folder}", "--count", "3"], "`--count` is for synthetic sets"),
        (["show", "{folder}", "--out", "{folder}/x.gif"], "has a suffix that is not written"),
        (["show", "{folder}", "--out", "{folder}/none/x.png"], "there is no folder `{folder}/none`"),
        (["show", "{folder}", "--out", "{folder}/x.png/"], "`{folder}/x.png/` is a folder"),
        (["show", "{folder}", "--out", "{folder}/x.png"], "holds no data that is known"),
        ([], "missing command"),
        (["chek"], "no such command"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exits_with_2(
    tmp_path: Path, capsys: Out, words: list[str], message: str
) -> None:
    assert main(["data", *(word.format(folder=tmp_path) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message.format(folder=tmp_path) in error
    assert error.count("\n") == 1


def test_a_folder_in_which_all_is_broken_exits_with_2(tmp_path: Path, capsys: Out) -> None:
    write_wider(tmp_path)
    for picture in (tmp_path / "train" / "images" / "a").iterdir():
        picture.unlink()
    assert main(["data", "check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "every sample is broken" in captured.err
    assert "cannot read" in captured.out


def test_names_in_a_data_set_cannot_drive_the_terminal(tmp_path: Path, capsys: Out) -> None:
    write_wider(tmp_path, RETINA.replace("a/two.png", "a/\x1b[2Jtwo.png"))
    assert main(["data", "check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2Jtwo.png" in out


def test_synthetic_faces_are_checked(capsys: Out) -> None:
    assert main(["data", "check", "synthetic", "--family", "face", "--count", "2", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "synthetic" in out
    assert "2 of 2 samples are fine" in out


def test_show_writes_a_picture_with_the_labels_and_never_over_another(tmp_path: Path, capsys: Out) -> None:
    write_wider(tmp_path)
    sheet = tmp_path / "sheet.png"
    words = ["data", "show", str(tmp_path), "--out", str(sheet), "--count", "3"]

    assert main(words) == 0
    assert main(words) == 2
    assert main([*words, "--force", "--json"]) == 0

    captured = capsys.readouterr()
    assert "`--force` to replace" in captured.err or "--force" in captured.err
    found = json.loads(captured.out.splitlines()[-1])
    assert found["samples"] == ["a/one.png", "a/two.png", "a/three.png"]
    image = read_image(sheet)
    assert image.shape == (738, 738, 3)
    assert (image == (86, 180, 233)).all(axis=2).sum() > 100


def test_show_leaves_out_what_is_broken_and_says_so(tmp_path: Path, capsys: Out) -> None:
    write_coco(tmp_path)
    (tmp_path / "val2017" / "8.png").unlink()
    words = ["data", "show", str(tmp_path), "--split", "val", "--out", str(tmp_path / "sheet.jpg")]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "note: left out: " in captured.err
    assert "8.png" in captured.err


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_all_processes_with_one_line(tmp_path: Path) -> None:
    file = write_wider(tmp_path, "".join(f"# a/{number}.png\n" for number in range(400)))
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "big.png", compress_level=1)
    for number in range(400):
        os.link(tmp_path / "big.png", file.parent / "images" / "a" / f"{number}.png")
    words = [sys.executable, "-m", "edge", "data", "check", str(tmp_path), "--workers", "2"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for _ in range(600):
            if len(children.read_text().split()) > 2:  # the readers, and what multiprocessing starts beside them
                break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, error = process.communicate(timeout=60)
    # `communicate` ends when nobody holds stderr any more: the readers are gone.
    assert (process.returncode, out, error) == (130, "", "error: interrupted\n")
