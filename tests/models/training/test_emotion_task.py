"""The emotion task: concordance, mild augmentations, features of every network, and a teacher that helps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edge.models import registry
from edge.models.data.samples import SpectrogramSample
from edge.models.data.synthetic_music import Spectrograms, SyntheticMusic
from edge.models.emotion_prototype import EmotionPrototype
from edge.models.emotion_small import EmotionSmall
from edge.models.emotion_student import EmotionStudent
from edge.models.training.emotion_task import EmotionTask, concordance
from edge.models.training.task import Batch, Distillation, Outputs
from edge.runtime.errors import InputError

CARD = registry.get("emotion-proto-81k").card(None)
TASK = EmotionTask(CARD)


@pytest.fixture(scope="module")
def samples() -> list[SpectrogramSample]:
    source = Spectrograms(SyntheticMusic(8, 3, 8.0), CARD.input)
    return [source[index] for index in range(8)]


@pytest.fixture(scope="module")
def batch(samples: list[SpectrogramSample]) -> Batch:
    return TASK.collate([TASK.item(sample, None) for sample in samples])


def slow_concordance(answer: np.ndarray, target: np.ndarray) -> float:
    covariance = np.cov(answer, target, bias=True)
    return float(2 * covariance[0, 1] / (answer.var() + target.var() + (answer.mean() - target.mean()) ** 2))


def test_concordance_is_lin_s() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(40, 2))
    answer = 0.7 * target + 0.3 * rng.normal(size=(40, 2)) + [0.0, 0.5]
    found = concordance(torch.tensor(answer), torch.tensor(target)).tolist()

    assert found == pytest.approx([slow_concordance(answer[:, k], target[:, k]) for k in range(2)], abs=1e-4)
    assert concordance(torch.tensor(target), torch.tensor(target)).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    assert concordance(torch.zeros(4, 2), torch.tensor(target[:4])).abs().max() == 0.0


def test_a_batch_of_equal_answers_has_a_finite_gradient() -> None:
    answer = torch.zeros(4, 2, requires_grad=True)
    TASK.loss({"valence_arousal": answer}, {"target": torch.rand(4, 2)})["total"].backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert answer.grad is not None
    assert torch.isfinite(answer.grad).all()
    assert answer.grad.abs().max() > 0.0


def test_an_item_without_augmentation_is_the_runtime_s_input(samples: list[SpectrogramSample]) -> None:
    item = TASK.item(samples[0], None)
    mean, std = np.array(CARD.input.mean)[:, None, None], np.array(CARD.input.std)[:, None, None]

    assert item["input"].shape == (3, 224, 224)
    assert item["input"].dtype == np.float32
    np.testing.assert_allclose(item["input"] * std + mean, np.repeat(samples[0].tensor, 3, 0), atol=1e-5)
    assert item["target"] is samples[0].target


def test_augmentations_repeat_with_their_seed_and_change_little(samples: list[SpectrogramSample]) -> None:
    sample = samples[0]
    one, again, other = (TASK.item(sample, np.random.default_rng(seed))["input"] for seed in (1, 1, 2))

    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()
    assert one.dtype == np.float32
    assert one.shape == (3, 224, 224)
    plain = TASK.item(sample, None)["input"]
    for seed in range(20):
        changed = TASK.item(sample, np.random.default_rng(seed))["input"]
        # Rolled in time, so a band keeps its loudness; masks hide 12 of 224 bands at most.
        assert np.median(np.abs(plain[0].mean(1) - changed[0].mean(1))) < 2.0
    assert sample.tensor.tobytes() == samples[0].tensor.tobytes()


class Wrapped(nn.Module):
    """As Fabric and DDP wrap a network: two levels deep, counting calls."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = nn.ModuleDict({"inner": module})
        self.calls = 0

    def forward(self, x: torch.Tensor) -> object:
        self.calls += 1
        return self.module["inner"](x)


@pytest.mark.parametrize(
    ("network", "width"),
    [
        (EmotionPrototype(), 256),
        (EmotionStudent(width=24, depth=1, heads=2, hidden=24), 24),
        (EmotionSmall((8, 8, 8, 8, 8), 1, 1, 4), 140),
    ],
)
def test_every_network_gives_its_features_and_keeps_no_hook(network: nn.Module, width: int) -> None:
    wrapped = Wrapped(network.eval())
    outputs = TASK.forward(wrapped, torch.zeros(2, 3, 224, 224))

    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "valence_arousal": (2, 2),
        "features": (2, width),
    }
    assert wrapped.calls == 1
    assert not any(part._forward_pre_hooks for part in wrapped.modules())


def test_a_network_without_a_head_is_refused() -> None:
    with pytest.raises(InputError, match="`head`"):
        TASK.forward(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 224, 224))


def test_the_adapter_brings_features_to_the_teacher_s_width_and_the_total_is_weighted(batch: Batch) -> None:
    torch.manual_seed(0)
    student, teacher = EmotionSmall((8, 8, 8, 8, 8), 1, 1, 4).eval(), EmotionPrototype().eval()
    adapter = TASK.adapter(student, teacher)
    outputs: Outputs = adapter(TASK.forward(student, batch["input"]))
    with torch.no_grad():
        wanted = TASK.forward(teacher, batch["input"])
    parts = TASK.distill(outputs, wanted, batch, Distillation(alpha=0.7))

    assert outputs["features"].shape == wanted["features"].shape
    taught = 0.7 * parts["answer"] + 0.3 * parts["features"]
    torch.testing.assert_close(parts["total"], 0.7 * taught + 0.3 * parts["task"])
    parts["total"].backward()  # type: ignore[no-untyped-call]  # untyped in torch
    assert all(weights.grad is not None for weights in (*student.parameters(), *adapter.parameters()))


def test_a_student_that_is_its_teacher_has_nothing_to_learn(batch: Batch) -> None:
    outputs = {"valence_arousal": torch.linspace(-0.9, 0.9, 16).reshape(8, 2), "features": torch.ones(8, 5)}
    parts = TASK.distill(outputs, outputs, batch, Distillation(alpha=1.0))
    assert float(parts["total"]) == pytest.approx(0.0, abs=1e-4)
    assert float(parts["task"]) > 0.1


def test_without_alpha_only_the_task_counts(batch: Batch) -> None:
    with torch.no_grad():
        outputs = TASK.forward(EmotionPrototype().eval(), batch["input"])
    parts = TASK.distill(outputs, {name: value * 0.5 for name, value in outputs.items()}, batch, Distillation(alpha=0))
    assert float(parts["total"]) == float(TASK.loss(outputs, batch)["total"])


def test_a_teacher_with_another_scale_sees_the_same_sound(batch: Batch) -> None:
    other = replace(CARD, input=replace(CARD.input, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    there = TASK.teacher_inputs(batch["input"], other)
    torch.testing.assert_close(there[:, 0], there[:, 2])
    torch.testing.assert_close(EmotionTask(other).teacher_inputs(there, CARD), batch["input"], atol=1e-4, rtol=1e-4)
    assert TASK.teacher_inputs(batch["input"], CARD) is batch["input"]

    assert CARD.input.audio is not None
    deaf = replace(CARD, input=replace(CARD.input, audio=replace(CARD.input.audio, fmax=4000.0)))
    with pytest.raises(InputError, match="spectrograms differ"):
        TASK.teacher_inputs(batch["input"], deaf)


@pytest.mark.parametrize("network", [EmotionSmall, EmotionPrototype])
def test_a_network_learns_eight_clips_by_heart(network: type[nn.Module], batch: Batch) -> None:
    torch.manual_seed(0)
    module = network()
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    apart = 1.0
    for _ in range(60):
        parts = TASK.loss(TASK.forward(module.train(), batch["input"]), batch)
        optimiser.zero_grad()
        parts["total"].backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimiser.step()
        apart = float((parts["valence"] + parts["arousal"]).detach() / 2)
        if apart < 0.05:
            break
    assert apart < 0.05


def test_a_card_of_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="takes no spectrograms"):
        EmotionTask(registry.get("face-v1").card(None))
    with pytest.raises(InputError, match="one input size only"):
        EmotionTask(CARD, (128, 128))
