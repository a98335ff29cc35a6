"""Our own emotion network: it hears where a band lies, knows no time, and exports as plain operators."""

import pytest

torch = pytest.importorskip("torch")

from edge.models import registry  # noqa: E402
from edge.models.emotion_small import STUDENT_WIDTHS, TEACHER_WIDTHS, EmotionSmall  # noqa: E402
from edge.models.inspect import inspect_entry  # noqa: E402
from edge.models.seeded import seeded  # noqa: E402

pytestmark = pytest.mark.torch

STUDENT = registry.get("emotion-student-234k")


def test_answers_are_two_numbers_within_one_for_any_batch() -> None:
    module = seeded(STUDENT, (1, 3, 224, 224))
    x = 3.0 * torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (answer,) = module(x)
        alone = torch.cat([module(row[None])[0] for row in x])

    assert answer.shape == (3, 2)
    assert float(answer.abs().max()) <= 1.0
    torch.testing.assert_close(answer, alone, atol=1e-5, rtol=1e-4)


def test_the_head_knows_the_band_but_hardly_the_moment() -> None:
    module = seeded(STUDENT, (1, 3, 224, 224))
    burst = torch.zeros(3, 3, 224, 224)
    burst[0, :, 60:76, 60:76] = burst[1, :, 60:76, 124:140] = burst[2, :, 124:140, 60:76] = 4.0
    with torch.inference_mode():
        here, later, higher = module(burst)[0]

    assert float((here - later).abs().max()) < 0.05 * float((here - higher).abs().max())


def test_the_student_is_small_enough_for_two_megabytes_and_a_pi() -> None:
    found = inspect_entry(STUDENT)
    assert found.parameters < 900_000
    assert found.macs < 120_000_000
    assert {row.type for row in found.layers} <= {
        "Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear", "Dropout", "Tanh",
    }  # fmt: skip


def test_widths_are_free_and_the_teacher_is_a_wider_student() -> None:
    assert all(wide > narrow for wide, narrow in zip(TEACHER_WIDTHS, STUDENT_WIDTHS, strict=True))
    small = EmotionSmall((4, 4, 8, 8, 8), depth=1, rows_width=1, bands_width=2).eval()
    with torch.inference_mode():
        assert small(torch.zeros(1, 3, 224, 224))[0].shape == (1, 2)


def test_every_weight_gets_a_gradient() -> None:
    torch.manual_seed(0)
    module = EmotionSmall((4, 8, 8, 8, 8), depth=2, rows_width=1, bands_width=4)
    module(torch.randn(2, 3, 224, 224))[0].sum().backward()
    assert all(weights.grad is not None and bool(weights.grad.isfinite().all()) for weights in module.parameters())
