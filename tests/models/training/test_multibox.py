"""Matching by hand, encoding as the inverse of the runtime's decoder, and the loss against a slow one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime.errors import ShapeError
from edge.runtime.face import decode_boxes, decode_landmarks, priors

torch = pytest.importorskip("torch")
multibox = pytest.importorskip("edge.models.training.multibox")

pytestmark = pytest.mark.torch

SIZES, STRIDES = ((16, 32), (64, 128), (256, 512)), (8, 16, 32)
PRIORS = priors((160, 160), SIZES, STRIDES)


def _match(boxes: Sequence[tuple[float, ...]], *, ignore: tuple[bool, ...] = (), has: tuple[bool, ...] = ()) -> Any:
    """Match boxes in pixels of a 160 x 160 input; landmarks lie on their diagonal."""
    array = np.array(boxes, np.float32).reshape(-1, 4) / 160
    count = len(array)
    share = np.linspace(0.2, 0.8, 5, dtype=np.float32)[None, :, None]
    points = array[:, None, :2] + share * (array[:, None, 2:] - array[:, None, :2])
    return multibox.match(
        array,
        points.astype(np.float32),
        np.array(has or (True,) * count, np.bool_),
        np.array(ignore or (False,) * count, np.bool_),
        PRIORS,
    )


def test_a_picture_without_faces_is_all_background() -> None:
    matched = _match([])
    assert not matched.conf.any()
    assert not matched.landm_mask.any()


def test_offsets_decode_to_the_very_face_and_landmarks() -> None:
    boxes = [(10.0, 12.0, 30.0, 36.0), (60.0, 40.0, 150.0, 155.0)]
    matched = _match(boxes)
    found = matched.conf == multibox.FACE

    decoded = decode_boxes(matched.loc, PRIORS)[found] * 160
    errors = np.abs(decoded[:, None] - np.array(boxes)[None]).max(axis=2)
    assert errors.min(axis=1).max() < 1e-3
    assert (errors.min(axis=0) < 1e-3).all()  # both faces have priors
    points = decode_landmarks(matched.landm, PRIORS)[found] * 160
    share = np.linspace(0.2, 0.8, 5)[:, None]
    for box, own in zip(np.array(boxes)[errors.argmin(axis=1)], points, strict=True):
        np.testing.assert_allclose(own, box[:2] + share * (box[2:] - box[:2]), atol=1e-3)


def test_every_prior_follows_the_rule_that_a_slow_loop_states() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 110, (12, 2))
    boxes = [tuple(row) for row in np.concatenate([corner, corner + rng.uniform(8, 50, (12, 1))], axis=1)]
    matched = _match(boxes)

    table = np.array([[_iou(box, prior) for prior in PRIORS * 160] for box in boxes])
    positive = table.max(axis=0) >= 0.35
    for row in table:
        positive[row.argmax()] |= row.max() >= 0.2
    assert (matched.conf == multibox.FACE).tolist() == positive.tolist()


def test_a_face_between_priors_gets_its_best_one_though_it_overlaps_little() -> None:
    box = (41.0, 41.0, 50.0, 50.0)  # no prior reaches 0.35: 81 of 256 square pixels at most
    table = np.array([_iou(box, prior) for prior in PRIORS * 160])
    assert 0.2 < table.max() < 0.35

    matched = _match([box])
    assert (matched.conf == multibox.FACE).sum() >= 1


def test_a_face_too_small_for_any_prior_is_ignored_and_not_background() -> None:
    matched = _match([(41.0, 41.0, 46.0, 46.0)])
    assert not (matched.conf == multibox.FACE).any()
    assert (matched.conf == multibox.IGNORED).sum() == 2  # the two priors of the cell in it


def test_an_ignored_face_gives_neither_faces_nor_background_but_leaves_its_neighbour() -> None:
    near = (20.0, 20.0, 52.0, 52.0)
    alone, both = _match([near]), _match([near, (90.0, 90.0, 122.0, 122.0)], ignore=(False, True))

    assert np.flatnonzero(both.conf == multibox.FACE).tolist() == np.flatnonzero(alone.conf == multibox.FACE).tolist()
    centres = PRIORS[:, :2] * 160
    inside = ((centres > 90) & (centres < 122)).all(axis=1)
    assert (both.conf[inside] == multibox.IGNORED).all()


def test_landmarks_count_only_for_faces_that_have_them() -> None:
    matched = _match([(20.0, 20.0, 52.0, 52.0), (90.0, 90.0, 122.0, 122.0)], has=(True, False))
    face = matched.conf == multibox.FACE
    right = PRIORS[:, 0] * 160 > 70

    assert (matched.landm_mask == (face & ~right)).all()
    assert (face & right).any()
    assert not matched.landm[right].any()


def test_of_two_faces_with_one_best_prior_the_better_one_keeps_it() -> None:
    exact = tuple(np.concatenate([PRIORS[0, :2] - PRIORS[0, 2:] / 2, PRIORS[0, :2] + PRIORS[0, 2:] / 2]) * 160)
    other = (exact[0], exact[1], exact[2], exact[3] - 1.0)
    for boxes in ([exact, other], [other, exact]):
        matched = _match(boxes)
        assert matched.conf[0] == multibox.FACE
        np.testing.assert_allclose(matched.loc[0], 0.0, atol=1e-4)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="do not fit"):
        multibox.match(
            np.zeros((2, 4), np.float32), np.zeros((1, 5, 2), np.float32), np.ones(2, bool), np.ones(2, bool), PRIORS
        )


def test_the_loss_equals_a_slow_one_that_sorts_each_picture() -> None:
    generator = torch.Generator().manual_seed(3)
    batch, count = 3, 60
    loc, landm = torch.randn(batch, count, 4, generator=generator), torch.randn(batch, count, 10, generator=generator)
    logits = torch.randn(batch, count, 2, generator=generator)
    conf = torch.where(torch.rand(batch, count, generator=generator) < 0.06, 1, 0)
    conf[:, :7] = -1
    conf[2] = torch.where(conf[2] == 1, 0, conf[2])  # a picture without faces
    marked = (conf == 1) & (torch.rand(batch, count, generator=generator) < 0.6)
    loc_t, landm_t = torch.randn_like(loc), torch.randn_like(landm)
    found = multibox.multibox_loss(loc, logits, landm, (loc_t, conf, landm_t, marked))

    def smooth(error: Any) -> float:
        error = error.abs()
        return float(torch.where(error < 1, 0.5 * error**2, error - 0.5).sum())

    positives = int((conf == 1).sum())
    entropy = -logits.log_softmax(-1)
    expected = 0.0
    for row in range(batch):
        faces = conf[row] == 1
        hard = sorted(entropy[row, conf[row] == 0, 0].tolist(), reverse=True)[: 7 * max(1, int(faces.sum()))]
        expected += float(entropy[row, faces, 1].sum()) + sum(hard)
    assert positives > 3
    assert float(found["cls"]) == pytest.approx(expected / positives, rel=1e-5)
    assert float(found["loc"]) == pytest.approx(smooth((loc - loc_t)[conf == 1]) / positives, rel=1e-5)
    assert float(found["landm"]) == pytest.approx(smooth((landm - landm_t)[marked]) / positives, rel=1e-5)
    total = 2 * found["loc"] + found["cls"] + found["landm"]
    assert float(found["total"]) == pytest.approx(float(total), rel=1e-6)


def test_ignored_priors_take_part_in_nothing() -> None:
    outputs = [torch.zeros(1, 20, width, requires_grad=True) for width in (4, 2, 10)]
    conf = torch.tensor([[1] + [-1] * 10 + [0] * 9])
    targets = (torch.ones(1, 20, 4), conf, torch.ones(1, 20, 10), conf == 1)
    multibox.multibox_loss(*outputs, targets)["total"].backward()
    for output in outputs:
        assert output.grad is not None
        assert not output.grad[0, 1:11].any()
        assert output.grad[0, 0].any()


def test_a_batch_without_any_face_has_a_finite_loss_with_gradients() -> None:
    outputs = [torch.zeros(2, 20, width, requires_grad=True) for width in (4, 2, 10)]
    empty = torch.zeros(2, 20, dtype=torch.int64)
    targets = (torch.zeros(2, 20, 4), empty, torch.zeros(2, 20, 10), empty == 1)
    parts = multibox.multibox_loss(*outputs, targets)
    parts["total"].backward()
    assert float(parts["total"].detach()) == pytest.approx(2 * 7 * np.log(2), rel=1e-5)
    assert outputs[1].grad is not None
    assert outputs[1].grad.abs().sum() > 0


def _iou(box: tuple[float, ...], prior: NDArray[np.float32]) -> float:
    low, high = prior[:2] - prior[2:] / 2, prior[:2] + prior[2:] / 2
    width = max(0.0, min(box[2], high[0]) - max(box[0], low[0]))
    height = max(0.0, min(box[3], high[1]) - max(box[1], low[1]))
    union = (box[2] - box[0]) * (box[3] - box[1]) + float(prior[2] * prior[3]) - width * height
    return float(width * height / union)
