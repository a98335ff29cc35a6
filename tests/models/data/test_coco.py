"""COCO keypoints: joints in our order, crowds in the mask, and every broken annotation named by its id."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.models.data.coco import CocoKeypoints
from edge.models.data.coco_json import COCO_NAMES
from edge.models.data.coco_mask import mask_of, slim
from edge.models.data.samples import SampleError
from edge.runtime.errors import InputError
from edge.runtime.skeleton import KEYPOINTS

from .tiny_sets import BOX_RUNS, coco_json, usable, write_coco, write_picture

Change = Callable[[dict[str, Any]], object]


def _names(source: CocoKeypoints) -> list[str]:
    return [source[index].name for index in range(len(source))]


def test_joints_come_in_our_order_with_a_neck_between_labelled_shoulders(tmp_path: Path) -> None:
    write_coco(tmp_path)

    source = CocoKeypoints(tmp_path, "val")
    sample = source[0]
    joints = dict(zip(KEYPOINTS, sample.keypoints[0].tolist(), strict=True))

    assert (source.family, len(source), source.faults) == ("pose", 3, ())
    assert sample.image.shape == (48, 64, 3)
    assert joints["nose"] == [30.5, 8.5, 2]  # the middle of the pixel that COCO names
    assert joints["left_shoulder"] == [34.5, 14.5, 2]
    assert joints["right_shoulder"] == [26.5, 16.5, 1]
    assert joints["neck"] == [30.5, 15.5, 1]
    assert joints["left_ankle"] == [33.5, 44.5, 2]
    assert joints["right_ankle"] == [0, 0, 0]
    assert sample.boxes.tolist() == [[22, 6, 39, 46.5], [5, 10, 7, 14]]
    assert sample.areas.tolist() == [600.5, 8]
    assert sample.crowd.tolist() == [False, True]


def test_a_neck_needs_both_shoulders(tmp_path: Path) -> None:
    data = coco_json()
    data["annotations"][0]["keypoints"][5 * 3 + 2] = 0
    write_coco(tmp_path, data)

    sample = CocoKeypoints(tmp_path, "val")[0]

    assert sample.keypoints[0, KEYPOINTS.index("neck")].tolist() == [0, 0, 0]
    assert sample.keypoints[0, KEYPOINTS.index("left_shoulder")].tolist() == [0, 0, 0]


def test_crowds_and_people_without_joints_are_in_the_mask_and_nobody_else(tmp_path: Path) -> None:
    write_coco(tmp_path)

    source = CocoKeypoints(tmp_path, "val")
    with_crowd, without_joints, empty = (source[index] for index in range(3))

    rows, columns = np.nonzero(with_crowd.ignore)
    assert (rows.min(), rows.max(), columns.min(), columns.max(), len(rows)) == (10, 13, 5, 6, 8)
    assert without_joints.crowd.tolist() == [False]  # one person, of whom no joint is known
    assert not without_joints.keypoints.any()
    assert without_joints.ignore[10:20, 10:20].all()
    assert without_joints.ignore.sum() <= 121
    assert not empty.ignore.any()
    assert empty.keypoints.shape == (0, 18, 3)


def test_a_crowd_without_segmentation_takes_its_box(tmp_path: Path) -> None:
    data = coco_json()
    data["annotations"][1]["segmentation"] = []
    write_coco(tmp_path, data)
    ignore = CocoKeypoints(tmp_path, "val")[0].ignore
    assert ignore[10:14, 5:7].all()
    assert ignore.sum() == 8


def test_training_has_only_pictures_with_people_and_test_is_validation(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, part="train2017")

    train, val, test = (CocoKeypoints(tmp_path, split) for split in ("train", "val", "test"))

    assert _names(train) == ["7.png", "8.png"]
    assert _names(val) == ["7.png", "8.png", "9.png"]
    assert test.digest == val.digest != train.digest


def test_one_file_for_all_splits_is_divided_by_name_for_good(tmp_path: Path) -> None:
    data = {"images": [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 8} for n in range(200)]}
    data["annotations"] = [{"id": n, "image_id": n, "bbox": [0, 0, 8, 8]} for n in range(200)]
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations.json").write_text(json.dumps(data))

    names = [CocoKeypoints(tmp_path, split)._names for split in ("train", "val", "test")]
    data["images"] = data["images"][::-1]
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    again = [CocoKeypoints(tmp_path, split)._names for split in ("train", "val", "test")]

    assert sorted(name for some in names for name in some) == sorted(f"{n}.png" for n in range(200))
    assert [sorted(some) for some in names] == [sorted(some) for some in again]
    assert [len(some) for some in names] == pytest.approx([160, 20, 20], abs=12)


def _entry(key: str, value: object, place: int = 0) -> Change:
    return lambda data: data["annotations"][place].__setitem__(key, value)


def _joint(place: int, value: float) -> Change:
    return lambda data: data["annotations"][0]["keypoints"].__setitem__(place, value)


BREAKS: list[tuple[Change, str]] = [
    (_entry("keypoints", [1.0] * 50), "`keypoints` must be 51 numbers, got 50"),
    (_entry("keypoints", "none"), "`keypoints` is not a list of 51 numbers"),
    (_entry("keypoints", [[1, 2], [3]]), "`keypoints` is not a list"),
    (_joint(0, 65), r"keypoint nose is outside the picture of 64x48 pixels, got \[65.0, 8.0\]"),
    (_joint(1, -0.5), "keypoint nose is outside"),
    (_joint(3, math.nan), "`keypoints` has a number that is not finite"),
    (_joint(2, 3), "visibility of a keypoint must be 0, 1 or 2"),
    (_joint(2, 10**400), "`keypoints` is not a list"),
    (_entry("bbox", [22, 6, -17, 40]), "the box has a negative side"),
    (_entry("bbox", [22, 6, 17]), "`bbox` must be 4 numbers, got 3"),
    (_entry("bbox", [222, 6, 17, 4]), "the box is outside the picture"),
    (lambda data: data["annotations"][0].pop("bbox"), "`bbox` is not|`bbox` must be 4 numbers, got nothing"),
    (_entry("area", math.nan), "`area` must be a number"),
    (_entry("area", -1), "`area` must be a number"),
    (_entry("iscrowd", 7), "`iscrowd` must be 0 or 1"),
    (lambda data: data["annotations"][0].pop("id"), "`id` is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BREAKS, ids=[message[:30] for _, message in BREAKS])
def test_a_broken_annotation_fails_its_picture_alone(tmp_path: Path, change: Change, message: str) -> None:
    data = coco_json()
    change(data)
    file = write_coco(tmp_path, data)

    source = CocoKeypoints(tmp_path, "val")

    with pytest.raises(SampleError, match=message) as caught:
        source[0]
    assert f"`{file}`, annotation 0 (id " in str(caught.value)
    assert "`7.png`" in str(caught.value)
    assert source[1].name == "8.png"
    assert source[2].name == "9.png"


SEGMENTATIONS: list[tuple[object, str]] = [
    ({"size": [48, 63], "counts": BOX_RUNS}, r"run lengths are of size \[48, 63\], the picture is \[48, 64\]"),
    ({"size": [48, 64], "counts": [1, 2]}, "do not add up to the 3072 pixels"),
    ({"size": [48, 64], "counts": [-1, 3073]}, "do not add up"),
    ({"size": [48, 64], "counts": [2**62, 2**62, 2**62, 2**62, 3072]}, "do not add up"),
    ({"size": [48, 64], "counts": "~~~"}, "cannot be read"),
    ({"size": [48, 64], "counts": "oooooooooooo"}, "cannot be read"),
    ({"size": [48, 64]}, "cannot be read|do not add up"),
    ([[1, 2, 3, 4]], "three or more pairs"),
    ([[1, 2, 3, 4, 5, 6, 7]], "three or more pairs"),
    ([[1, 2, 3, 4, 5, 1e30]], "a polygon leaves the picture"),
    ([[1, 2, 3, 4, 5, math.nan]], "a polygon leaves the picture"),
    ([["a"] * 6], "a polygon is not a list of numbers"),
    (5, "neither polygons nor run lengths"),
    ("text", "neither polygons nor run lengths"),
]


@pytest.mark.parametrize(("segmentation", "message"), SEGMENTATIONS, ids=[message for _, message in SEGMENTATIONS])
def test_a_broken_segmentation_of_a_crowd_is_named(tmp_path: Path, segmentation: object, message: str) -> None:
    data = coco_json()
    data["annotations"][1]["segmentation"] = segmentation
    file = write_coco(tmp_path, data)

    source = CocoKeypoints(tmp_path, "val")

    with pytest.raises(SampleError, match=message) as caught:
        source[0]
    assert f"`{file}`, annotation 1 (id 102) of `7.png`" in str(caught.value)


def test_an_id_that_is_used_twice_is_told_of_the_second(tmp_path: Path) -> None:
    data = coco_json()
    data["annotations"][2]["id"] = 101
    write_coco(tmp_path, data)
    source = CocoKeypoints(tmp_path, "val")

    assert source[0].name == "7.png"
    with pytest.raises(SampleError, match=r"annotation 2 \(id 101\) of `8.png`: the id was used before"):
        source[1]


def test_an_image_id_that_is_used_twice_fails_the_picture(tmp_path: Path) -> None:
    data = coco_json()
    data["images"][1]["id"] = 7
    write_coco(tmp_path, data)
    source = CocoKeypoints(tmp_path, "val")

    assert len(source) == 2
    with pytest.raises(SampleError, match=r"image 7: the id is used twice, again by `8.png`"):
        source[0]
    assert "no image with the `image_id` 8" in source.faults[0]


def test_what_belongs_to_no_picture_is_a_fault_and_nothing_more(tmp_path: Path) -> None:
    data = coco_json()
    data["annotations"] += [{"id": 200, "image_id": 999}, {"id": 201}, "text", {"image_id": [], "category_id": []}]
    data["annotations"][-4]["category_id"] = 1
    data["images"] += ["text", {"id": "x", "file_name": "y"}]
    file = write_coco(tmp_path, data)

    source = CocoKeypoints(tmp_path, "val")

    assert len(source) == 3
    assert _names(source) == ["7.png", "8.png", "9.png"]
    assert f"`{file}`, annotation 3 (id 200): there is no image with the `image_id` 999" in source.faults
    assert f"`{file}`, annotation 5: not an object" in source.faults
    assert f"`{file}`, image entry 3: not an object" in source.faults


@pytest.mark.parametrize(
    ("break_picture", "message"),
    [
        (lambda path: path.unlink(), "cannot read"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is damaged or cut short"),
        (lambda path: path.write_bytes(b"text"), "is not an image"),
        (lambda path: write_picture(path, (47, 64)), "another size than its annotations, expected 64x48, got 64x47"),
    ],
)
def test_a_broken_picture_is_named_with_its_image_id(
    tmp_path: Path, break_picture: Callable[[Path], object], message: str
) -> None:
    write_coco(tmp_path)
    picture = tmp_path / "val2017" / "8.png"
    break_picture(picture)
    source = CocoKeypoints(tmp_path, "val")

    with pytest.raises(SampleError, match=message) as caught:
        source[1]
    assert str(picture) in str(caught.value)
    assert "image 8" in str(caught.value)
    assert source[0].name == "7.png"


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../b.png", "", "a\x1b[2J.png", "\ud800"])
def test_a_file_name_cannot_leave_the_folder_of_pictures(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / "secret.png", (48, 64))
    data = coco_json()
    data["images"][2]["file_name"] = name
    write_coco(tmp_path, data)
    with pytest.raises(SampleError, match="leaves the folder of pictures"):
        CocoKeypoints(tmp_path, "val")[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has a size that is not read"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfd", "is not JSON"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"9" * 5000, "is not JSON"),
        (b"[]", "is not COCO's JSON"),
        (b'{"images": [], "annotations": {}}', "is not COCO's JSON"),
        (b'{"images":[],"annotations":[],"categories":[{"id":1,"name":"person","keypoints":["nose"]}]}', "not COCO's"),
    ],
)
def test_a_file_that_is_not_cocos_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = write_coco(tmp_path)
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        CocoKeypoints(tmp_path, "val")
    assert str(file) in str(caught.value)


def test_missing_pictures_or_layouts_are_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no COCO keypoints of `val`.*annotations.json with images/"):
        CocoKeypoints(tmp_path, "val")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2014.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no pictures beside it.*val2014"):
        CocoKeypoints(tmp_path, "val")


def test_run_lengths_agree_with_cocos_own_code() -> None:
    reference = pytest.importorskip("faster_coco_eval.core.mask")
    rng = np.random.default_rng(0)
    for _ in range(20):
        hw = tuple(rng.integers(1, 200, 2).tolist())
        mask = np.asfortranarray(rng.random(hw) < rng.choice([0.02, 0.5, 0.99]))
        mask[: hw[0] // 2] = rng.random() < 0.5  # long runs, whose numbers take several characters
        encoded = reference.encode(mask.astype(np.uint8))
        text = encoded["counts"]
        found = mask_of({"size": list(hw), "counts": text.decode() if isinstance(text, bytes) else text}, hw)
        np.testing.assert_array_equal(found, mask)


def test_the_names_of_cocos_joints_are_cocos() -> None:
    assert COCO_NAMES[:3] == ("nose", "left_eye", "right_eye")
    assert COCO_NAMES[-1] == "right_ankle"
    assert len(COCO_NAMES) == 17


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.lists(st.tuples(st.sampled_from(["images", "annotations"]), st.integers(0, 2)), min_size=1, max_size=3),
    field=st.integers(0, 8),
    value=json_values,
    inside=st.booleans(),
)
def test_mutated_json_never_raises_anything_else(
    tmp_path: Path, where: list[tuple[str, int]], field: int, value: object, inside: bool
) -> None:
    data = coco_json()
    for kind, place in where:
        entry = data[kind][place]
        key = sorted(entry)[field % len(entry)]
        if inside and isinstance(entry[key], list) and entry[key]:
            entry[key][field % len(entry[key])] = copy.deepcopy(value)
        else:
            entry[key] = copy.deepcopy(value)
    write_coco(tmp_path, data)
    try:
        source = CocoKeypoints(tmp_path, "val")
    except InputError:
        return
    for sample in usable(source, naming=str(tmp_path / "annotations")):
        assert np.isfinite(sample.keypoints).all()
        assert np.isfinite(sample.boxes).all()
        assert sample.ignore.shape == sample.image.shape[:2]


@given(json_values)
def test_any_json_as_a_segmentation_gives_a_mask_or_a_reason(value: Any) -> None:
    try:
        mask = mask_of(slim(value), (6, 5))
    except ValueError:
        return
    assert mask.shape == (6, 5)


def test_reading_all_three_kinds_imports_no_torch(tmp_path: Path) -> None:
    write_coco(tmp_path)
    program = (
        "import sys\n"
        "import edge.models.data.open as o, edge.models.data.check, edge.models.data.sheet\n"
        f"o.open_source('pose', {str(tmp_path)!r}, split='val')[0]\n"
        "assert 'PIL' in sys.modules\n"
        "print([name for name in ('torch', 'cv2', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
