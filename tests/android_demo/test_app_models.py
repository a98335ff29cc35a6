"""Models on the app's TFLite: a refusal names the op, and the shipped version is asked where it has been fetched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from app_models import Job, accept, run_by, runtime_python
from artifacts import BuildError

from edge.runtime.embedded import read_card

VERSION = "2.16.1"
fetched = pytest.mark.skipif(
    not runtime_python().is_file(), reason="no TFLite 2.16.1 here: python android_demo/build.py --fetch-runtime"
)


def test_outputs_come_back_in_the_cards_order(write_tflite: Callable[..., Path]) -> None:
    job = _job(write_tflite())

    found = run_by(Path(sys.executable), [job], library="ai_edge_litert")[job.path]

    name = job.card.outputs[0].name
    np.testing.assert_array_equal(found[0][name], job.inputs[0] + 1)  # the tiny file adds one


def test_an_op_version_from_the_future_fails_with_the_ops_name(write_tflite: Callable[..., Path]) -> None:
    job = _job(_changed(write_tflite(), lambda code: setattr(code, "version", 99)))

    with pytest.raises(BuildError, match=r"refuses `tiny.tflite`: op ADD version 99 is newer than it knows"):
        run_by(Path(sys.executable), [job], library="ai_edge_litert")


def test_an_op_that_is_in_no_tflite_fails_with_its_name(write_tflite: Callable[..., Path]) -> None:
    def foreign(code: object) -> None:
        setattr(code, "builtinCode", 32)  # noqa: B010  # CUSTOM; the class has no types
        setattr(code, "deprecatedBuiltinCode", 32)  # noqa: B010
        setattr(code, "customCode", b"Teleport")  # noqa: B010

    job = _job(_changed(write_tflite(), foreign))

    with pytest.raises(BuildError, match=r"refuses `tiny.tflite`: custom op Teleport is not in it"):
        run_by(Path(sys.executable), [job], library="ai_edge_litert")


@fetched
def test_the_shipped_version_takes_a_file_and_refuses_a_newer_op(write_tflite: Callable[..., Path]) -> None:
    good = write_tflite("good.tflite")

    assert accept([good], runtime_python(), VERSION)[0].startswith("good.tflite: accepted")
    with pytest.raises(BuildError, match=r"TFLite 2.16.1 refuses `new.tflite`: op ADD version 99"):
        accept(
            [good, _changed(write_tflite("new.tflite"), lambda code: setattr(code, "version", 99))],
            runtime_python(),
            VERSION,
        )


def _job(path: Path) -> Job:
    card = read_card(path)
    tensor = np.random.default_rng(0).normal(0, 1, card.input.shape).astype(np.float32)
    return Job(path=path, card=card, inputs=[tensor], geometries=[None])


def _changed(path: Path, change: Callable[[object], None]) -> Path:
    """Change the file's one op code, and return the path."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(model.operatorCodes[0])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
