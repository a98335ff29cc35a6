"""The pose task: items as the runtime prepares pictures, exact mirrors, honest masks, and a network that learns."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge.models import registry
from edge.models.data.samples import PoseSample
from edge.models.data.synthetic_people import SyntheticPeople
from edge.models.training.pose_task import TWINS, PoseTask, _moved, _random_affine
from edge.models.training.task import Distillation
from edge.runtime.decode import bind
from edge.runtime.errors import InputError
from edge.runtime.metrics import oks
from edge.runtime.preprocess import prepare
from edge.runtime.skeleton import COCO_INDEX, KEYPOINTS

pytestmark = pytest.mark.torch

CARD = registry.get("pose-student-2mb").card(None)
TEACHER = registry.get("pose-teacher-mnv1").card(None)
TASK = PoseTask(CARD)


@pytest.fixture(scope="module")
def samples() -> list[PoseSample]:
    source = SyntheticPeople(8, 11, (144, 144))
    return [source[index] for index in range(8)]


@pytest.fixture(scope="module")
def batch(samples: list[PoseSample]) -> dict[str, Tensor]:
    return TASK.collate([TASK.item(sample, None) for sample in samples])


def test_without_augmentation_the_input_is_what_the_runtime_prepares() -> None:
    sample = SyntheticPeople(1, 3, (150, 97))[0]
    item = TASK.item(sample, None)
    tensor, geometry = prepare(sample.image, CARD.input)

    np.testing.assert_array_equal(item["input"], tensor[0])
    assert {name: value.shape for name, value in item.items()} == {
        "input": (3, 128, 128), "heatmaps": (19, 16, 16), "pafs": (38, 16, 16), "mask": (1, 16, 16),
    }  # fmt: skip
    assert {value.dtype for value in item.values()} == {np.dtype(np.float32)}
    labelled = sample.keypoints[sample.keypoints[:, 1, 2] > 0, 1]
    assert len(labelled)
    for x, y, _ in labelled:
        row, column = int(y * geometry.scale_xy[1] / 8), int(x * geometry.scale_xy[0] / 8)
        assert item["heatmaps"][1, row, column] > 0.7


def test_augmented_items_repeat_with_their_generator_and_differ_otherwise(samples: list[PoseSample]) -> None:
    first, again, other = (TASK.item(samples[0], np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert all((first[name] == again[name]).all() for name in first)
    assert (first["input"] != other["input"]).any()
    assert first["input"].shape == (3, 128, 128)
    assert first["input"].dtype == np.float32
    assert first["input"].min() >= -1.0
    assert first["input"].max() <= 127 / 128
    assert first["input"].flags.c_contiguous


def test_the_twin_of_every_joint_is_the_other_side_of_it() -> None:
    for name, twin in zip(KEYPOINTS, TWINS, strict=True):
        swapped = {"right": "left", "left": "right"}
        side, _, part = name.partition("_")
        assert KEYPOINTS[twin] == (f"{swapped[side]}_{part}" if side in swapped else name)


def test_augmented_joints_stay_on_what_they_were_painted_on() -> None:
    """A bright dot at each joint, a colour a side: after turning, scaling and mirroring it is still at its joint."""
    image = np.full((160, 160, 3), 128, np.uint8)
    keypoints = np.zeros((1, 18, 3), np.float32)
    for joint, (x, y), colour in (
        (4, (50, 60), (255, 0, 0)),
        (7, (110, 70), (0, 0, 255)),
        (10, (60, 120), (255, 0, 0)),
    ):
        image[y - 4 : y + 4, x - 4 : x + 4] = colour
        keypoints[0, joint] = x, y, 2.0
    sample = scene(image, keypoints)
    shown = {False: 0, True: 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        mirror = bool(np.linalg.det(_random_affine(np.random.default_rng(seed), (160, 160), (128, 128))[:, :2]) < 0)
        item = TASK.item(sample, rng)
        for joint in (4, 7, 10, 13):
            if item["heatmaps"][joint].max() < 0.95:  # outside, or between cells
                continue
            row, column = np.unravel_index(item["heatmaps"][joint].argmax(), (16, 16))
            blue, _, red = item["input"][:, row * 8 + 2 : row * 8 + 6, column * 8 + 2 : column * 8 + 6].mean(
                axis=(1, 2)
            )
            if abs(red - blue) < 0.05:  # made grey
                continue
            assert (red > blue) == ((joint in (4, 10)) != mirror), (seed, joint)
            shown[mirror] += 1
    assert min(shown.values()) >= 5


def test_augmentation_stays_within_its_limits() -> None:
    for seed in range(100):
        matrix = _random_affine(np.random.default_rng(seed), (256, 128), (128, 128))
        scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        assert 0.7 * 0.5 - 1e-9 <= scale <= 1.25 * 0.5 + 1e-9
        assert abs(matrix[1, 0]) <= scale * 0.5 + 1e-9  # sine of 30 degrees


def test_joints_outside_the_crop_are_gone() -> None:
    keypoints = np.zeros((1, 18, 3), np.float32)
    keypoints[0, :4] = [(10, 10, 2), (127.9, 10, 1), (128, 10, 2), (-0.1, 10, 2)]
    moved = _moved(keypoints, np.eye(3)[:2], (128, 128))

    assert moved[0, :4, 2].tolist() == [2, 1, 0, 0]


def test_a_crowd_gives_no_targets_and_no_loss() -> None:
    sample = SyntheticPeople(1, 0, (128, 128))[0]
    n = len(sample.crowd)
    ignore = np.zeros((128, 128), np.bool_)
    ignore[:64] = True
    item = TASK.item(replace(sample, crowd=np.ones(n, np.bool_), ignore=ignore), None)

    assert not item["heatmaps"][:18].any()
    assert not item["pafs"].any()
    assert not item["mask"][0, :8].any()
    assert item["mask"][0, 8:].all()
    masked = TASK.collate([item])
    outputs = {"heatmaps": masked["heatmaps"].clone(), "pafs": masked["pafs"].clone()}
    outputs["pafs"][:, :, :8] += 5.0
    assert float(TASK.loss(outputs, masked)["total"]) == 0.0
    outputs["pafs"][:, :, 8:] += 5.0
    assert float(TASK.loss(outputs, masked)["total"]) > 0.0


def test_the_loss_of_one_wrong_cell_is_worked_by_hand() -> None:
    maps = {"heatmaps": torch.zeros(2, 19, 4, 4), "pafs": torch.zeros(2, 38, 4, 4)}
    maps["heatmaps"][0, 3, 1, 1] = 1.0
    wrong = {name: value.clone() for name, value in maps.items()}
    wrong["heatmaps"][0, 3, 1, 1] -= 0.5  # foreground: counts 4 times
    wrong["pafs"][1, 0, 0, 0] += 2.0
    found = TASK.loss(wrong, {**maps, "mask": torch.ones(2, 1, 4, 4)})

    assert float(found["heatmaps"]) == pytest.approx(4 * 0.25 / 2 / 32)
    assert float(found["pafs"]) == pytest.approx(4.0 / 2 / 32)
    assert float(found["total"]) == pytest.approx(float(found["heatmaps"] + found["pafs"]))
    assert found["total"].dtype == torch.float32


def test_every_stage_of_a_network_with_stages_is_trained(batch: dict[str, Tensor]) -> None:
    module: Any = registry.get("pose-teacher-mnv1").build()
    outputs = TASK.forward(module, batch["input"][:1])

    assert list(outputs) == [spec.name for spec in TEACHER.outputs]
    TASK.loss(outputs, {name: value[:1] for name, value in batch.items()})["total"].backward()  # type: ignore[no-untyped-call]  # untyped in torch
    head = module.initial_stage.heatmaps[1][0].weight
    assert head.grad is not None
    assert head.grad.abs().sum() > 0
    early = {name: value.detach() for name, value in outputs.items()}
    worse = {**early, "stage_0_pafs": early["stage_0_pafs"] + 1.0}
    first = {name: value[:1] for name, value in batch.items()}
    assert TASK.loss(worse, first)["total"] > TASK.loss(early, first)["total"]


def test_a_teacher_of_the_same_contract_gets_the_same_tensor(batch: dict[str, Tensor]) -> None:
    assert TASK.teacher_inputs(batch["input"], registry.get("pose-student-8mb").card(None)) is batch["input"]


def test_lightweight_openpose_gets_half_the_values_at_its_own_size(batch: dict[str, Tensor]) -> None:
    """(x - 128) / 256 instead of (x - 128) / 128; the origin forgot to halve."""
    same_size = registry.get("pose-teacher-mnv1").card((128, 128))
    torch.testing.assert_close(TASK.teacher_inputs(batch["input"], same_size), batch["input"] / 2)

    large = TASK.teacher_inputs(batch["input"], TEACHER)
    assert large.shape == (8, 3, 368, 368)
    assert float(large.mean()) == pytest.approx(float(batch["input"].mean()) / 2, abs=1e-3)


def test_a_teacher_of_another_colour_order_gets_its_channels_turned() -> None:
    rgb = replace(CARD, input=replace(CARD.input, colour="RGB", mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0)))
    inputs = torch.zeros(1, 3, 128, 128)
    inputs[:, 0] = 0.5  # blue: 192
    pixels = TASK.teacher_inputs(inputs, rgb)[0, :, 0, 0].tolist()

    assert pixels == [(128 - 10) / 1, (128 - 20) / 2, (192 - 30) / 4]


def test_a_teacher_of_another_shape_is_refused(batch: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="of the student's shape"):
        TASK.teacher_inputs(batch["input"], registry.get("pose-teacher-mnv1").card((256, 456)))


def test_distillation_mixes_teacher_and_truth_by_alpha(batch: dict[str, Tensor]) -> None:
    student = {"heatmaps": batch["heatmaps"] + 0.1, "pafs": batch["pafs"].clone()}
    teacher = {"heatmaps": torch.rand(8, 19, 46, 46), "pafs": torch.rand(8, 38, 46, 46)}
    task = float(TASK.loss(student, batch)["total"])
    plain = TASK.distill(student, teacher, batch, Distillation(alpha=0.0))
    half = TASK.distill(student, teacher, batch, Distillation(alpha=0.5))

    assert float(plain["total"]) == pytest.approx(task)
    assert float(half["total"]) == pytest.approx(0.5 * task + 0.5 * float(half["teacher"]))
    assert float(half["task"]) == pytest.approx(task)
    alike = {name: batch[name].clone() for name in ("heatmaps", "pafs")}
    perfect = TASK.distill(alike, alike, batch, Distillation(alpha=0.5))
    assert float(perfect["total"]) == 0.0


def test_a_teacher_is_not_copied_where_no_loss_is_taken(batch: dict[str, Tensor]) -> None:
    nothing = {**batch, "mask": torch.zeros_like(batch["mask"])}
    teacher = {"heatmaps": torch.rand(8, 19, 16, 16), "pafs": torch.rand(8, 38, 16, 16)}

    assert (
        float(TASK.distill({name: batch[name] for name in teacher}, teacher, nothing, Distillation())["total"]) == 0.0
    )


def test_cards_and_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="multiples of 8"):
        PoseTask(CARD, (100, 128))
    grey = replace(CARD.input, shape=(1, 1, 128, 128), colour="GRAY", mean=(0.0,), std=(1.0,))
    with pytest.raises(InputError, match="trained on pictures"):
        PoseTask(replace(CARD, input=grey))


def test_a_student_learns_eight_pictures_by_heart_and_the_decoder_finds_the_people(
    samples: list[PoseSample], batch: dict[str, Tensor]
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: Any = registry.get("pose-student-2mb").build().train()
    module.to(memory_format=torch.channels_last)
    inputs = batch["input"].to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3)
    losses = []
    for step in range(OVERFIT_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, (step + 1) / 10, (OVERFIT_STEPS - step) / 30)
        loss = TASK.loss(TASK.forward(module, inputs), batch)["total"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]

    with torch.no_grad():
        outputs = TASK.forward(module, inputs)
    decode, best = bind(CARD), []
    for index, sample in enumerate(samples):
        geometry = prepare(sample.image, CARD.input)[1]
        found = decode({name: outputs[name][index : index + 1].numpy() for name in outputs}, geometry).people
        largest = int(sample.areas.argmax())
        truth = np.zeros((17, 3))
        for part, place in enumerate(COCO_INDEX):
            if place is not None:
                truth[place] = sample.keypoints[largest, part]
        there = truth[:, 2] > 0
        each = [np.array(one.coco17()) for one in found]
        best.append(max(oks(one[:, :2], one[:, 2] > 0, truth[:, :2], there, sample.areas[largest]) for one in each))
    assert np.median(best) > 0.7


OVERFIT_STEPS = 60


def scene(image: np.ndarray, keypoints: np.ndarray) -> PoseSample:
    n = len(keypoints)
    return PoseSample(
        name="scene",
        image=image,
        keypoints=keypoints,
        boxes=np.tile(np.array([[0, 0, 160, 160]], np.float32), (n, 1)),
        areas=np.full(n, 5000.0, np.float32),
        crowd=np.zeros(n, np.bool_),
        ignore=np.zeros(image.shape[:2], np.bool_),
    )
