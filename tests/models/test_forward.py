"""What comes out of the networks: shapes, ranges, the published answers, and graphs that exporters can take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from edge.models import registry  # noqa: E402
from edge.models.checkpoint import load_model  # noqa: E402
from edge.models.seeded import seeded, structured_noise  # noqa: E402

pytestmark = pytest.mark.torch

SHARED = Path(__file__).parents[3] / "shared"
GOLDEN = {
    "face-retina-mnet025": ("retinaface_mnet025_426608.pth", "retinaface_mnet025_426608"),
    "face-v1-base": ("face_v1base_489015.pth", "face_v1base_489015"),
}
SMALL = {"pose": (64, 64), "face": (96, 64), "emotion": None}
LIGHT = [name for name in registry.names() if name != "emotion-teacher-vit-b16"]  # 345 MB; its parts are tested


def _seeded_pair(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    entry = registry.get(name)
    shape = entry.card(SMALL[entry.family]).input.shape
    return seeded(entry, shape), shape


@pytest.mark.parametrize("name", LIGHT)
def test_seeded_outputs_have_the_cards_shapes_and_healthy_ranges(name: str) -> None:
    module, shape = _seeded_pair(name)
    entry = registry.get(name)
    with torch.inference_mode():
        answers = module(structured_noise(shape, 5))

    card = entry.card(SMALL[entry.family])
    assert [tuple(answer.shape) for answer in answers] == [output.shape for output in card.outputs]
    for answer in answers:
        assert bool(answer.isfinite().all())
        assert 0.01 < float(answer.std()) < 20
    if entry.family == "face":
        conf = answers[1]
        torch.testing.assert_close(conf.sum(-1), torch.ones(conf.shape[:2]))
        assert float(conf[..., 1].min()) < 0.2 < 0.5 < float(conf[..., 1].max())
    if entry.family == "pose":
        assert float(answers[-2].max()) > 0.1  # peaks that a decoder would see


@pytest.mark.parametrize("name", ["pose-student-2mb", "face-nanob", "emotion-proto-81k"])
def test_seeding_is_deterministic_and_depends_on_the_seed(name: str) -> None:
    entry = registry.get(name)
    shape = entry.card(SMALL[entry.family]).input.shape
    first, again, other = (seeded(entry, shape, seed).state_dict() for seed in (1, 1, 2))

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_bare_module_needs_a_shape() -> None:
    with pytest.raises(ValueError, match="shape"):
        seeded(torch.nn.Conv2d(3, 4, 1))


def test_face_confidence_is_logits_in_training_and_probabilities_otherwise() -> None:
    module, shape = _seeded_pair("face-nanob")
    x = structured_noise((2, *shape[1:]))

    with torch.no_grad():
        logits = module.train()(x)[1]
        assert float(logits.sum(-1).std()) > 0.01
        assert float(module.eval()(x)[1].sum(-1).std()) < 1e-6


@pytest.mark.parametrize("name", LIGHT)
def test_torch_export_takes_the_network_and_gives_the_same_answers(name: str) -> None:
    module, shape = _seeded_pair(name)
    x = structured_noise(shape, 9)
    program = torch.export.export(module, (x,))

    with torch.inference_mode():
        for mine, theirs in zip(module(x), program.module()(x), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    # What exporters are known to mishandle: fused attention, adaptive pooling, padding before pooling.
    assert not [t for t in targets if "attention" in t or "adaptive" in t or ".pad" in t]


def _letterbox_640(path: Path) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    image = cv2.imread(str(path)).astype(np.float32)
    scale = min(640 / image.shape[0], 640 / image.shape[1])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    # The goldens were resized after conversion to float, so nothing was rounded to whole pixel values.
    resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) - np.array([104, 117, 123], np.float32)
    canvas = np.zeros((640, 640, 3), np.float32)
    canvas[: size[1], : size[0]] = resized
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])


def _native(path: Path) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    image = cv2.imread(str(path)).astype(np.float32) - np.array([104, 117, 123], np.float32)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize(
    ("picture", "mode"),
    [
        ("pd_collage.png", "lb640"),
        ("astronaut.png", "lb640"),
        ("astronaut.png", "native"),
        ("grace_hopper.jpg", "native"),
    ],
)
def test_published_weights_give_the_published_answers(name: str, picture: str, mode: str) -> None:
    weights, folder = GOLDEN[name]
    golden = SHARED / "golden" / "face" / folder / f"{Path(picture).stem}.{mode}.npz"
    if not golden.exists() or not (SHARED / "data" / weights).exists():
        pytest.skip("the published weights are not beside this checkout")
    module, report = load_model(registry.get(name), SHARED / "data" / weights)
    path = SHARED / "golden" / "face" / "images" / picture
    x = _letterbox_640(path) if mode == "lb640" else _native(path)  # 600 is no multiple of 32: odd maps

    with torch.inference_mode():
        answers = module(torch.from_numpy(x))
    with np.load(golden) as wanted:
        for answer, key in zip(answers, ("loc", "conf", "landm"), strict=True):
            np.testing.assert_allclose(answer.numpy().reshape(wanted[key].shape), wanted[key], atol=1e-4, rtol=0)
    assert report.dropped == ()
