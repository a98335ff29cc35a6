"""The measurements run on small things, and say what they found; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edge.bench import micro, micro_face, micro_stream, oracles
from edge.bench.micro_decoders import decoder_stages
from edge.bench.micro_face import face_card, measure_face, measure_nms
from edge.bench.micro_pose import agreement, measure_pose, pose_card
from edge.bench.micro_stream import Watch, curve, measure_stream, number_of, numbered_frames, rss_mb
from edge.bench.micro_students import frame, measure_students, sound
from edge.bench.oracles import load_oracle
from edge.bench.pose_scene import pose_maps
from edge.bench.timing import THREAD_VARIABLES
from edge.runtime.decode import bind
from edge.runtime.errors import MissingExtraError
from edge.runtime.nms import nms
from edge.runtime.results import Keypoint, Person
from edge.runtime.skeleton import COCO_INDEX

STREAM_HW = (48, 640)  # as small as twenty blocks allow


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what the command tells the libraries."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")


@pytest.fixture
def bundles(tmp_path: Path, write_onnx: Callable[..., Path]) -> Path:
    """Return a folder with one bundle: the tiny network under the name of a pose student."""
    folder = tmp_path / "bundles" / "pose-tiny"
    folder.mkdir(parents=True)
    write_onnx().rename(folder / "pose-tiny-int8.onnx")
    return folder.parent


def golden(folder: Path, people: int = 1) -> Path:
    """Write maps in the form of the golden files and return their root."""
    heatmaps, pafs, joints = pose_maps(people, (24, 12))
    truth = np.full((people, 56), np.nan, np.float32)
    # The files hold whole pixels of the maps enlarged by 8, which are input pixels less a half.
    truth[:, :54] = np.concatenate([joints - 0.5, np.ones((people, 18, 1))], axis=2).reshape(people, 54)
    (folder / "pose" / "real").mkdir(parents=True)
    np.savez(
        folder / "pose" / "real" / "made.npz", heatmaps=heatmaps.astype(np.float16), pafs=pafs.astype(np.float16),
        people=truth, stride=8, upsample=8, image_hw=(50, 30),
    )  # fmt: skip
    return folder


def person(joints: Any) -> Person:
    return Person(keypoints=tuple(Keypoint(float(x), float(y), 1.0) for x, y in joints), score=1.0)


def test_importing_the_command_leaves_numpy_alone_so_that_threads_can_still_be_set() -> None:
    code = "import edge.bench.micro, sys; print('numpy' in sys.modules)"

    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_people_are_matched_missed_and_invented() -> None:
    _, _, joints = pose_maps(2, (24, 24))
    nobody = person(joints[0] + 1000)

    both = agreement([person(joints[1]), person(joints[0])], joints)
    one = agreement([person(joints[0]), nobody], joints)

    assert (both.expected, both.found, both.invented, both.worst_oks) == (2, 2, 0, 1.0)
    assert (one.expected, one.found, one.invented, one.worst_oks) == (2, 2, 1, 0.0)
    assert agreement([nobody], joints[:0]).invented == 1
    assert agreement([], joints[:0]).worst_oks is None


def test_a_joint_that_the_truth_lacks_counts_neither_way() -> None:
    _, _, joints = pose_maps(1, (24, 24))
    holes = joints.copy()
    holes[0, 4] = np.nan
    assert COCO_INDEX[4] is not None

    assert agreement([person(joints[0])], holes).worst_oks == 1.0


def test_pose_is_measured_against_the_reference_and_the_truth_of_the_files(tmp_path: Path) -> None:
    lines: list[str] = []

    section = measure_pose(golden(tmp_path), budget_s=0.0, log=lines.append)

    (table,) = section.tables
    rows = table.to_dict()["rows"]
    assert [row["maps"] for row in rows] == ["made", "synthetic, 30 people", "synthetic, 2 people"]
    assert (rows[0]["cells"], rows[0]["people"], rows[0]["found"], rows[0]["invented"]) == ("24 x 12", 1, 1, 0)
    assert rows[0]["worst OKS"] > 0.9
    assert all(row["decode"] > 0 and row["reference 8x"] > 0 and row["ratio 8x"] > 0 for row in rows)
    assert [row["reference"] is not None for row in rows] == [True, False, False]
    limits = {verdict.what: verdict.limit for verdict in section.verdicts}
    assert limits["pose decode, made"] == 3.0
    assert limits["pose decode, synthetic, 30 people"] == 5.0
    assert limits["people invented on real maps"] == 0
    assert section.skipped == ()
    assert lines[0] == "pose: made"


def test_pose_without_golden_files_or_reference_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracles, "FOLDER", tmp_path)

    section = measure_pose(tmp_path, budget_s=0.0)

    assert len(section.skipped) == 2
    assert "--golden" in section.skipped[0]
    assert "checkout" in section.skipped[1]
    assert len(section.tables[0].rows) == 2
    assert all(verdict.ratio is None for verdict in section.verdicts)


def test_faces_are_decoded_with_all_fifty_found() -> None:
    section = measure_face(budget_s=0.0)

    (row,) = section.tables[0].to_dict()["rows"]
    assert (row["priors"], row["faces"]) == (16_800, 50)
    assert {(verdict.limit, verdict.goal) for verdict in section.verdicts} == {(0.3, 0.15)}


def test_suppression_is_compared_box_by_box_with_the_oracle() -> None:
    section = measure_nms(count=60, budget_s=0.0)

    rows = section.tables[0].to_dict()["rows"]
    assert [row["kind"] for row in rows] == ["clustered", "scattered"]
    assert all(row["identical"] and 0 < row["kept"] <= 60 for row in rows)
    assert [verdict.value for verdict in section.verdicts if verdict.what.startswith("NMS unlike")] == [0, 0]


def test_an_answer_unlike_the_oracles_is_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_face, "nms", lambda *args, **options: (nms(*args, **options)[0][1:], False))

    section = measure_nms(count=20, budget_s=0.0)

    assert not any(row["identical"] for row in section.tables[0].to_dict()["rows"])
    assert [verdict.held for verdict in section.verdicts if verdict.what.startswith("NMS unlike")] == [False, False]


def test_students_are_timed_stage_by_stage_with_the_best_engine_named(bundles: Path) -> None:
    pytest.importorskip("onnxruntime")

    section = measure_students(bundles, budget_s=0.0)

    stages, rest = (table.to_dict()["rows"] for table in section.tables)
    assert [(row["model"], row["engine"], row["best"]) for row in stages] == [("pose-tiny", "onnxruntime", True)]
    assert stages[0]["pre %"] + stages[0]["infer %"] + stages[0]["decode %"] == pytest.approx(100, abs=0.01)
    assert {(row["stage"], row["part"]) for row in rest} >= {
        ("pre", "whole"), ("pre", "resize"), ("infer", "bare engine"), ("decode", "whole"), ("decode", "(rest)"),
    }  # fmt: skip
    assert all(row["ms"] >= 0 for row in rest)


@pytest.mark.parametrize("measure", [measure_students, measure_stream])
def test_a_folder_without_artifacts_is_skipped_with_the_option_named(tmp_path: Path, measure: Any) -> None:
    section = measure(tmp_path)

    assert section.tables == ()
    assert "--bundles" in section.skipped[0]


@pytest.mark.parametrize(("name", "steps"), [("openpose-paf", 5), ("face-priors", 3), ("none", 0)])
def test_every_step_of_a_decoder_can_be_called_by_itself(name: str, steps: int, tiny_card: Callable[..., Any]) -> None:
    card = {"openpose-paf": pose_card((16, 16)), "face-priors": face_card((64, 64))}.get(name) or tiny_card()
    outputs = {spec.name: np.full(spec.shape, 0.5, np.float32) for spec in card.outputs}

    stages = decoder_stages(card, outputs, None)

    assert len(stages) == steps
    for call in stages.values():
        call()


def test_the_card_of_imagined_maps_decodes_a_scene() -> None:
    heatmaps, pafs, joints = pose_maps(2, (20, 30))

    result = bind(pose_card((20, 30)))({"heatmaps": heatmaps[None], "pafs": pafs[None]})

    assert len(result.people) == len(joints)


def test_synthetic_input_is_the_same_every_time_and_not_flat() -> None:
    assert np.array_equal(frame((20, 30)), frame((20, 30)))
    assert frame((20, 30)).shape == (20, 30, 3)
    assert frame((20, 30)).std() > 10
    chord = sound(0.5, 22050)
    assert chord.shape == (11025,)
    assert chord.dtype == np.float32
    assert 0.3 < float(np.abs(chord).max()) <= 1.0


@pytest.mark.parametrize("number", [0, 1, 2, 1023, 14_999, 2**20 - 1])
def test_a_frame_carries_its_number(number: int) -> None:
    frames = list(numbered_frames(3, STREAM_HW))
    assert [number_of(picture) for picture in frames] == [0, 1, 2]
    picture = frames[0]
    for bit in range(micro_stream.BITS):
        picture[:32, bit * 32 : (bit + 1) * 32] = 235 if number >> bit & 1 else 20  # as a codec leaves it

    assert number_of(picture) == number


def test_a_stream_is_watched_from_arrays_and_from_a_video(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2")
    monkeypatch.setattr(micro_stream, "COMPARED", 4)
    monkeypatch.setattr(micro_stream, "WARM_UP", 10)
    monkeypatch.setattr(micro_stream, "EVERY", 10)

    section = measure_stream(bundles, minutes=0.02, hw=STREAM_HW)

    streams, speed = (table.to_dict()["rows"] for table in section.tables)
    assert [(row["frames"], row["dropped"], row["misplaced"], row["errors"]) for row in streams] == [(30, 0, 0, 0)] * 2
    assert speed[0]["ratio"] > 0
    whats = [verdict.what for verdict in section.verdicts]
    assert "stream of mp4: frames dropped, misplaced or failed" in whats
    if rss_mb() is not None:
        assert "stream of arrays: memory after warm-up" in whats


def test_without_opencv_the_video_is_skipped_and_the_arrays_are_not(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")

    def missing(*_: object) -> None:
        raise MissingExtraError("video needs opencv")

    monkeypatch.setattr(micro_stream, "COMPARED", 2)
    monkeypatch.setattr(micro_stream, "_write_video", missing)

    section = measure_stream(bundles, minutes=0.005, hw=STREAM_HW)

    assert [row[0] for row in section.tables[0].rows] == ["arrays, 0.005 min"]
    assert section.skipped == (
        "memory: too few frames, or no /proc/self/statm", "video file: video needs opencv"
    )  # fmt: skip


def test_a_damaged_artifact_is_one_line(bundles: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = next(bundles.rglob("*.onnx"))
    path.write_bytes(path.read_bytes()[:100])

    done = CliRunner().invoke(micro.main, ["--section", "students", "--bundles", str(bundles)])

    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")


def test_a_stream_that_drops_or_reorders_is_found_out() -> None:
    @dataclass
    class Item:
        index: int
        picture: Any
        error: Any = None

    class Bad:
        def stream(self, source: Any) -> Bad:
            pictures = list(source)
            self.items = iter([Item(0, pictures[0]), Item(1, pictures[2]), Item(2, pictures[1]), Item(3, None, "no")])
            return self

        def __enter__(self) -> Any:
            return self.items

        def __exit__(self, *_: object) -> None:
            pass

    watch = micro_stream._watched(Bad(), numbered_frames(5, STREAM_HW), 5, lambda _: None)  # type: ignore[arg-type]  # a stand-in

    assert (watch.frames, watch.dropped, watch.misplaced, watch.errors) == (4, 1, 3, 1)


def test_memory_is_judged_by_the_most_of_each_stretch() -> None:
    length = micro_stream.EVERY // micro_stream.SAMPLE
    quiet = [100.0] * (length - 1) + [110.0]

    assert curve(quiet * 3 + [500.0]) == (110.0, 110.0, 110.0)  # what is left over is no stretch
    assert Watch(frames=1, expected=1, misplaced=0, errors=0, seconds=1, rss_mb=(110, 112, 105)).drift_mb == 5
    assert Watch(frames=1, expected=1, misplaced=0, errors=0, seconds=1, rss_mb=(110,)).drift_mb is None


def test_oracles_come_with_a_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(getattr(load_oracle("oracle_nms"), "nms", None))
    assert load_oracle("oracle_of_delphi") is None
    monkeypatch.setattr(oracles, "FOLDER", tmp_path)
    assert load_oracle("oracle_nms") is None


def test_json_has_a_schema_the_machine_and_every_verdict() -> None:
    done = CliRunner().invoke(micro.main, ["--section", "face", "--seconds", "0", "--json"])

    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["schema"], found["command"]) == (micro.SCHEMA, "micro")
    assert set(found["machine"]) >= {"cpu", "cores", "python", "numpy", "engines", "threads"}
    (section,) = found["sections"]
    assert set(section) == {"name", "tables", "verdicts", "skipped"}
    assert set(section["verdicts"][0]) >= {"what", "value", "unit", "sense", "limit", "held", "busy", "ratio"}
    assert "face: 50 faces" in done.stderr


def test_a_limit_that_nobody_can_hold_ends_in_3_only_when_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_face, "FACE_LIMIT_MS", 0.0)
    runner = CliRunner()

    shown = runner.invoke(micro.main, ["--section", "face", "--seconds", "0"])
    checked = runner.invoke(micro.main, ["--section", "face", "--seconds", "0", "--check"])

    assert shown.exit_code == 0
    assert "OVER" in shown.stdout
    assert checked.exit_code == 3


def test_limits_that_are_held_end_in_0_when_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_face, "FACE_LIMIT_MS", 1e9)

    assert CliRunner().invoke(micro.main, ["--section", "face", "--seconds", "0", "--check"]).exit_code == 0


def test_ctrl_c_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(micro, "measure", interrupted)

    done = CliRunner().invoke(micro.main, ["--section", "face"])

    assert done.exit_code == 1
    assert "Aborted!" in done.stderr
    assert "Traceback" not in done.output
