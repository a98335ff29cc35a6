"""Public, trained face checkpoints through the whole pipeline: the exported files find the faces of the goldens."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.cli import main
from edge.runtime import Pipeline

SHARED = Path(__file__).parents[2] / ".." / "shared"
GOLDEN = SHARED / "golden" / "face"
PICTURES = {"astronaut.png": 1, "grace_hopper.jpg": 1, "pd_collage.png": 8}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the public checkpoints and goldens of ../shared"),
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Export RetinaFace to both formats, and V1-base, which has deformable convolutions, to ONNX."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        output = tmp_path_factory.mktemp("out")
        for name, weights, targets in (
            ("face-retina-mnet025", "retinaface_mnet025_426608.pth", "onnx,tflite"),
            ("face-v1-base", "face_v1base_489015.pth", "onnx"),
        ):
            weights_path = str(SHARED / "data" / weights)
            assert (
                main(["export", name, "--checkpoint", weights_path, "--target", targets, "--output", str(output)]) == 0
            )
        yield output


RETINA, V1_BASE = ("face-retina-mnet025", "retinaface_mnet025_426608"), ("face-v1-base", "face_v1base_489015")
PRECISIONS = ("fp32", "fp16", "int8")
FILES = [(*RETINA, f"{precision}.{target}") for precision in PRECISIONS for target in ("onnx", "tflite")]
FILES += [(*V1_BASE, f"{precision}.onnx") for precision in PRECISIONS]


@pytest.mark.parametrize(("model", "golden", "suffix"), FILES)
def test_every_file_finds_the_faces_of_the_goldens(bundles: Path, model: str, golden: str, suffix: str) -> None:
    least_iou, most_px = (0.75, None) if suffix.startswith("int8") else (0.9, 2.0)
    pipeline = Pipeline.load(bundles / model / f"{model}-{suffix}")

    for picture, count in PICTURES.items():
        wanted = np.load(GOLDEN / golden / f"{Path(picture).stem}.lb640.npz")["dets"]
        wanted = wanted[wanted[:, 4] >= 0.5]
        found = [face for face in pipeline(GOLDEN / "images" / picture).faces if face.score >= 0.5]
        assert len(found) == len(wanted) == count

        for row in wanted:
            overlaps = [_iou(np.array(face.box_xyxy), row[:4]) for face in found]
            best = int(np.argmax(overlaps))
            assert overlaps[best] >= least_iou
            if most_px is not None:
                assert np.abs(np.array(found[best].landmarks) - row[5:].reshape(5, 2)).max() <= most_px


def _iou(a: NDArray[np.float64], b: NDArray[np.float32]) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    both = float(sides.prod())
    return both / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - both)
