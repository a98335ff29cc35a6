"""The face task: augmented items keep faces and targets together, eight samples are learnt, a teacher pulls."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.models import registry
from edge.models.cards import face_card
from edge.models.data.samples import FaceSample
from edge.models.data.synthetic_faces import SyntheticFaces
from edge.runtime.card import Budget, Card
from edge.runtime.decode import bind
from edge.runtime.errors import InputError
from edge.runtime.face import decode_boxes, decode_landmarks
from edge.runtime.preprocess import prepare
from edge.runtime.results import Face

torch = pytest.importorskip("torch")
face_task = pytest.importorskip("edge.models.training.face_task")
task_module = pytest.importorskip("edge.models.training.task")

pytestmark = pytest.mark.torch

Distillation = task_module.Distillation
CARD = registry.get("face-nanob").card((128, 128))
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)], np.uint8)


def _marked(box: tuple[int, int, int, int] = (60, 50, 140, 146)) -> FaceSample:
    """Return a grey picture with one box painted white in it, and discs of five colours as landmarks."""
    image = np.full((200, 200, 3), 90, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    share = np.array([(0.3, 0.3), (0.7, 0.3), (0.5, 0.55), (0.3, 0.8), (0.7, 0.8)], np.float32)
    points = np.array([x1, y1]) + share * np.array([x2 - x1, y2 - y1])
    grid = np.mgrid[:200, :200][::-1] + 0.5
    for colour, point in zip(COLOURS, points, strict=True):
        image[np.hypot(*(grid - point[:, None, None])) < 8] = colour
    return FaceSample(
        name="marked",
        image=image,
        boxes=np.array([box], np.float32),
        landmarks=points[None].astype(np.float32),
        has_landmarks=np.ones(1, np.bool_),
        ignore=np.zeros(1, np.bool_),
    )


def _decoded(task: Any, item: dict[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the boxes and landmarks of an item's positive priors, pixels of the input."""
    found = item["conf"] == 1
    side = np.array(task.input_hw[::-1], np.float32)
    boxes = decode_boxes(item["loc"], task.priors)[found] * np.tile(side, 2)
    return boxes, decode_landmarks(item["landm"], task.priors)[found] * side


def test_an_item_without_augmentation_is_what_the_runtime_sees() -> None:
    task, sample = face_task.FaceTask(CARD), _marked()
    item = task.item(sample, None)
    tensor, geometry = prepare(sample.image, CARD.input)

    assert (item["input"] == tensor[0]).all()
    boxes, points = _decoded(task, item)
    assert len(boxes) >= 1
    np.testing.assert_allclose(boxes, np.repeat(sample.boxes * geometry.scale_xy[0], len(boxes), 0), atol=1e-3)
    np.testing.assert_allclose(points[0], sample.landmarks[0] * geometry.scale_xy[0], atol=1e-3)


def test_augmented_boxes_and_landmarks_follow_the_picture() -> None:
    """The colours of the marks tell which is which: corners change places when the picture is mirrored."""
    task, sample = face_task.FaceTask(CARD), _marked()
    seen, mirrored = 0, 0
    for seed in range(60):
        item = task.item(sample, np.random.default_rng(seed))
        boxes, points = _decoded(task, item)
        pixels = (item["input"] + np.array(CARD.input.mean, np.float32)[:, None, None])[::-1]
        if not len(boxes) or not item["landm_mask"].any() or pixels.std(axis=0).max() < 20:
            continue  # cut away, or grey
        seen += 1
        landmarks = points[0]
        assert landmarks[0, 0] < landmarks[1, 0]
        assert landmarks[3, 0] < landmarks[4, 0]
        x, y = np.clip(landmarks, 0, 127).astype(int).T
        inside = ((landmarks > 3) & (landmarks < 124)).all(axis=1)
        colours = pixels[:, y, x].T  # (5, 3) RGB
        flipped = colours[0, 1] > colours[0, 0]  # the red mark is at the right
        mirrored += bool(flipped)
        order = face_task.MIRRORED if flipped else np.arange(5)
        for mark, colour in zip(order[inside], colours[inside], strict=True):
            bright = COLOURS[mark] > 0
            assert colour[bright].min() > colour[~bright].max()
        x1, y1, x2, y2 = boxes[0]
        if min(x1, y1) > 6 and max(x2, y2) < 122:
            luma = pixels.mean(axis=0)
            middle = int((y1 + y2) / 2)
            outside = [luma[middle, int(x1) - 4], luma[middle, int(x2) + 4]]
            within = [luma[middle, int(x1) + 4], luma[middle, int(x2) - 4]]
            assert min(within) > max(outside)
    assert seen > 25
    assert 5 < mirrored < seen - 5


def test_the_same_generator_gives_the_same_item_and_another_one_another() -> None:
    task, sample = face_task.FaceTask(CARD), _marked()
    first, again, other = (task.item(sample, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["input"] != other["input"]).any()
    assert {name: array.shape for name, array in first.items()} == {name: array.shape for name, array in other.items()}


def test_faces_without_landmarks_and_ignored_faces_train_no_landmarks_and_nothing() -> None:
    task, sample = face_task.FaceTask(CARD), _marked()
    without = task.item(replace(sample, has_landmarks=np.zeros(1, np.bool_)), None)
    ignored = task.item(replace(sample, ignore=np.ones(1, np.bool_)), None)

    assert (without["conf"] == 1).any()
    assert not without["landm_mask"].any()
    assert not (ignored["conf"] == 1).any()
    assert (ignored["conf"] == -1).any()


def test_a_picture_of_any_shape_and_without_faces_gives_items_of_one_shape() -> None:
    task = face_task.FaceTask(CARD, (96, 160))
    for hw in ((40, 300), (300, 40), (1, 1), (160, 96)):
        sample = FaceSample(
            name="empty",
            image=np.zeros((*hw, 3), np.uint8),
            boxes=np.zeros((0, 4), np.float32),
            landmarks=np.zeros((0, 5, 2), np.float32),
            has_landmarks=np.zeros(0, np.bool_),
            ignore=np.zeros(0, np.bool_),
        )
        for rng in (None, np.random.default_rng(0), np.random.default_rng(1)):
            item = task.item(sample, rng)
            assert item["input"].shape == (3, 96, 160)
            assert item["input"].dtype == np.float32
            assert len(item["conf"]) == len(task.priors) == 2 * (12 * 20 + 6 * 10 + 3 * 5)
            assert not item["conf"].any()


def test_eval_mode_gives_logits_of_the_same_probabilities() -> None:
    torch.manual_seed(0)
    task, module = face_task.FaceTask(CARD), registry.get("face-nanob").build()
    inputs = torch.randn(1, 3, 128, 128) * 50
    with torch.no_grad():
        probabilities = module(inputs)[1]
        logits = task.forward(module, inputs)["conf"]
        training = task.forward(module.train(), inputs)["conf"]
    torch.testing.assert_close(logits.softmax(-1), probabilities)
    assert (logits < 0).all()
    assert not torch.allclose(training.exp().sum(-1), torch.ones(1))


def test_eight_samples_are_learnt_to_almost_no_loss_and_found_by_the_runtime() -> None:
    torch.manual_seed(0)
    task, module = face_task.FaceTask(CARD), registry.get("face-nanob").build().train()
    source = SyntheticFaces(40, 1, (128, 128))
    drawn = (source[index] for index in range(40))
    samples = [sample for sample, _ in zip((s for s in drawn if 1 <= (~s.ignore).sum() <= 8), range(8), strict=False)]
    batch = task.collate([task.item(sample, None) for sample in samples])
    optimiser = torch.optim.Adam(module.parameters(), lr=5e-3)
    steps = 90
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps, pct_start=0.15)
    losses = []
    for _ in range(steps):
        loss = task.loss(task.forward(module, batch["input"]), batch)["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    module.eval()

    with torch.no_grad():
        final = task.loss(task.forward(module, batch["input"]), batch)["total"].item()
        outputs = [output.numpy() for output in module(batch["input"])]
    assert len(samples) == 8
    assert losses[-1] < 0.05 * losses[0]
    assert final < 0.08 * losses[0]
    decode, right, total = bind(CARD), 0, 0
    for index, sample in enumerate(samples):
        named = {
            name: output[index : index + 1] for name, output in zip(("loc", "conf", "landm"), outputs, strict=True)
        }
        result = decode(named, None, 0.5)
        for box, ignore in zip(sample.boxes, sample.ignore, strict=True):
            if not ignore and min(box[2] - box[0], box[3] - box[1]) > 12:
                total += 1
                right += any(_iou(face, box) > 0.6 for face in result.faces)
    assert total >= 8
    assert right >= 0.8 * total


def _card(**changes: Any) -> Card:
    card = face_card("other", (128, 128), provenance={}, budget=Budget())
    return replace(card, input=replace(card.input, **changes))


def test_a_teacher_of_the_same_contract_gets_the_same_tensor_whatever_its_nominal_size() -> None:
    task, inputs = face_task.FaceTask(CARD), torch.randn(2, 3, 128, 128)
    assert task.teacher_inputs(inputs, registry.get("face-retina-mnet025").card(None)) is inputs


def test_a_teacher_of_other_colours_and_scale_gets_the_picture_in_them() -> None:
    task, sample = face_task.FaceTask(CARD), _marked()
    card = _card(colour="RGB", mean=(10.0, 20.0, 30.0), std=(2.0, 3.0, 4.0))
    expected, _ = prepare(
        sample.image, replace(card.input, resize=replace(card.input.resize, fill=CARD.input.mean[::-1]))
    )
    given = task.teacher_inputs(torch.from_numpy(task.item(sample, None)["input"][None]), card)
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-4)


def test_a_teacher_with_other_priors_or_without_colours_is_refused() -> None:
    task, inputs = face_task.FaceTask(CARD), torch.zeros(1, 3, 128, 128)
    decoder = replace(CARD.decoder, params={**CARD.decoder.params, "min_sizes": [[8, 32], [64, 128], [256, 512]]})
    with pytest.raises(InputError, match="priors"):
        task.teacher_inputs(inputs, replace(CARD, decoder=decoder))
    with pytest.raises(InputError, match="pictures"):
        task.teacher_inputs(inputs, _card(colour="GRAY", shape=(1, 1, 128, 128), mean=(0.0,), std=(1.0,)))


def test_a_size_that_does_not_fit_the_network_is_refused() -> None:
    with pytest.raises(InputError, match="multiples of 32"):
        face_task.FaceTask(CARD, (100, 128))


def _outputs(seed: int, scale: float = 2.0) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return random outputs of student and teacher, and the batch of a marked picture."""
    task = face_task.FaceTask(CARD)
    batch = task.collate([task.item(_marked(), None)])
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        {
            name: scale * torch.randn(1, len(task.priors), width, generator=generator)
            for name, width in (("loc", 4), ("conf", 2), ("landm", 10))
        }
        for _ in range(2)
    )
    return student, teacher, batch


def test_distillation_mixes_task_and_teacher_by_alpha() -> None:
    task = face_task.FaceTask(CARD)
    student, teacher, batch = _outputs(0)
    plain = task.loss(student, batch)["total"]
    none, half, full = (task.distill(student, teacher, batch, Distillation(alpha=alpha)) for alpha in (0.0, 0.5, 1.0))

    torch.testing.assert_close(none["total"], plain)
    torch.testing.assert_close(full["total"], full["teacher"])
    torch.testing.assert_close(half["total"], 0.5 * plain + 0.5 * full["teacher"])
    torch.testing.assert_close(half["task"], plain)


def test_the_teacher_part_is_the_sum_that_the_specification_gives() -> None:
    task = face_task.FaceTask(CARD)
    student, teacher, batch = _outputs(1)
    parts = task.distill(student, teacher, batch, Distillation(temperature=4.0))

    face = batch["conf"][0] == 1
    taught = (face | (teacher["conf"][0].softmax(-1)[:, 1] > 0.3)) & (batch["conf"][0] >= 0)
    ours, theirs = (torch.softmax(side["conf"][0].double() / 4, -1) for side in (student, teacher))
    apart = (theirs * (theirs / ours).log()).sum(-1)
    rest = ~taught & (batch["conf"][0] >= 0)
    count = int(taught.sum())
    classes = 16 * float(apart[taught].mean() + 7 * apart[rest].mean())
    assert parts["classes"].item() == pytest.approx(classes, rel=1e-4)
    for name, output, width in (("boxes", "loc", 4), ("points", "landm", 10)):
        error = (student[output] - teacher[output])[0][taught].square().sum() / count
        assert parts[name].item() == pytest.approx(float(error), rel=1e-4)
        assert width == student[output].shape[-1]
    expected = parts["classes"] + parts["boxes"] + 0.8 * parts["points"]
    torch.testing.assert_close(parts["teacher"], expected)


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn_from_it_and_no_other_falls_below() -> None:
    """The weights are constants, so that the part is 0 at best: learned weights would fall to minus infinity."""
    task = face_task.FaceTask(CARD)
    student, teacher, batch = _outputs(2)
    assert task.distill(teacher, teacher, batch, Distillation())["teacher"].item() == pytest.approx(0.0, abs=1e-5)
    for seed in range(5):
        other = _outputs(10 + seed, scale=10.0**seed)[0]
        assert task.distill(other, teacher, batch, Distillation(alpha=1.0))["total"].item() >= -1e-5  # float32
    assert task.adapter(torch.nn.Identity(), torch.nn.Identity()) is None  # nothing else is trained
    trained = {name: tensor.clone().requires_grad_() for name, tensor in student.items()}
    optimiser = torch.optim.Adam(trained.values(), lr=0.1)
    for _ in range(300):
        loss = task.distill(trained, teacher, batch, Distillation(alpha=1.0))["total"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(0.0, abs=0.05)


def test_both_parts_of_the_loss_pull_on_every_output() -> None:
    """Neither part drowns the other: gradients of task and teacher are within a factor of 10 on each output."""
    task = face_task.FaceTask(CARD)
    student, teacher, batch = _outputs(3, scale=1.0)
    teacher["conf"] = torch.stack([4.0 - 8.0 * (batch["conf"] == 1), -4.0 + 8.0 * (batch["conf"] == 1)], dim=-1)
    norms = []
    for alpha in (0.0, 1.0):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in student.items()}
        task.distill(leaves, teacher, batch, Distillation(alpha=alpha))["total"].backward()
        norms.append({name: float(leaf.grad.norm()) for name, leaf in leaves.items()})
    for name, by_task in norms[0].items():
        assert 1 / 10 < norms[1][name] / by_task < 10


def _iou(face: Face, box: NDArray[np.float32]) -> float:
    x1, y1, x2, y2 = face.box_xyxy
    width, height = min(x2, box[2]) - max(x1, box[0]), min(y2, box[3]) - max(y1, box[1])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    return shared / ((x2 - x1) * (y2 - y1) + float((box[2] - box[0]) * (box[3] - box[1])) - shared)
