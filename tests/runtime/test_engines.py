"""Engines run real files, and refuse what differs from the card."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.runtime import engines
from edge.runtime.card import Card, InputSpec, OutputSpec
from edge.runtime.embedded import read_card
from edge.runtime.engines import ENGINES, Engine, LiteRtEngine, engine_version, engines_for, open_engine, pick_engine
from edge.runtime.errors import ArtifactError, InputError, MissingExtraError, ShapeError

Write = Callable[..., Path]
Cards = Callable[..., Card]
MODULES = {"onnx": "onnxruntime", "tflite": "ai_edge_litert"}


@pytest.fixture(params=["onnx", "tflite"])
def artifact(request: pytest.FixtureRequest) -> Path:
    pytest.importorskip(MODULES[request.param])
    path: Path = request.getfixturevalue(f"write_{request.param}")()
    return path


def test_both_engines_add_one_and_name_the_outputs_of_the_card(artifact: Path) -> None:
    card = read_card(artifact)
    engine: Engine = open_engine(artifact, card, threads=2)
    tensor = np.random.default_rng(0).normal(size=card.input.shape).astype(np.float32)

    first, second = engine.run(tensor), engine.run(tensor + 1)

    assert list(first) == ["raw"]
    np.testing.assert_array_equal(first["raw"], tensor + np.float32(1))
    np.testing.assert_array_equal(second["raw"], tensor + np.float32(1) + np.float32(1))
    assert engine.threads == 2
    assert engine.version == engine_version(engine.name)


def test_an_engine_may_be_closed_twice_and_then_runs_no_more(artifact: Path) -> None:
    card = read_card(artifact)
    engine = open_engine(artifact, card)
    engine.close()
    engine.close()

    with pytest.raises(InputError, match="closed"):
        engine.run(np.zeros(card.input.shape, np.float32))


def test_a_tensor_of_another_shape_or_type_is_refused(artifact: Path) -> None:
    card = read_card(artifact)
    engine = open_engine(artifact, card)

    with pytest.raises(ShapeError, match="expected float32"):
        engine.run(np.zeros((1, 3, 4, 4), np.float32))
    with pytest.raises(ShapeError, match="float64"):
        engine.run(np.zeros(card.input.shape))  # type: ignore[arg-type]  # on purpose


def test_a_card_of_another_input_or_output_is_refused(artifact: Path) -> None:
    card = read_card(artifact)
    values = card.to_dict()
    other_input = Card.from_dict({**values, "input": {**values["input"], "shape": [1, 3, 9, 3]}})
    other_output = Card.from_dict({**values, "outputs": [{"name": "raw", "shape": [1, 2]}]})
    more_outputs = Card.from_dict({**values, "outputs": [*values["outputs"], {"name": "boxes", "shape": [1, 2]}]})

    for wrong, says in ((other_input, "input"), (other_output, "`raw`"), (more_outputs, "`boxes`")):
        with pytest.raises(ArtifactError, match=says):
            open_engine(artifact, wrong)


def test_onnx_outputs_come_in_the_order_of_the_card(write_onnx: Write, tiny_card: Cards) -> None:
    pytest.importorskip("onnxruntime")
    shape = tiny_card().input.shape
    card = tiny_card(outputs=(OutputSpec(name="b", shape=shape), OutputSpec(name="a", shape=shape)))

    engine = open_engine(write_onnx(card=card, outputs=("a", "b")), card)

    assert list(engine.run(np.zeros(shape, np.float32))) == ["b", "a"]


def test_a_renamed_tflite_output_is_found_by_its_place(write_tflite: Write, tiny_card: Cards) -> None:
    pytest.importorskip("ai_edge_litert")
    card = tiny_card("tflite")

    engine = open_engine(write_tflite(output="StatefulPartitionedCall:0"), card)

    assert list(engine.run(np.zeros(card.input.shape, np.float32))) == ["raw"]


def test_the_wrong_engine_and_bad_thread_counts_are_refused(artifact: Path) -> None:
    card = read_card(artifact)
    wrong = "litert" if artifact.suffix == ".onnx" else "onnxruntime"

    with pytest.raises(InputError, match="does not run"):
        open_engine(artifact, card, engine=wrong)
    with pytest.raises(InputError, match="unknown engine"):
        open_engine(artifact, card, engine="tensorrt")
    for threads in (0, 10_000):
        with pytest.raises(InputError, match="threads"):
            open_engine(artifact, card, threads=threads)


def test_a_missing_engine_names_the_pip_line(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = MODULES[artifact.suffix[1:]]
    for module in [name, *(known for known in sys.modules if known.startswith(name + "."))]:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError) as caught:
        open_engine(artifact, read_card(artifact))
    assert "pip install 'edge-vision[" in str(caught.value.hint)


def test_what_an_engine_raises_becomes_one_artifact_error(artifact: Path) -> None:
    card = read_card(artifact)
    content = artifact.read_bytes()
    # An operator that does not exist; the card and the container stay whole.
    artifact.write_bytes(
        content.replace(b"\x22\x03Add", b"\x22\x03Zdd") if artifact.suffix == ".onnx" else content[:200]
    )

    with pytest.raises(ArtifactError):
        open_engine(artifact, card)


def test_weights_outside_an_onnx_file_are_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_card: Cards
) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    (tmp_path / "secret.bin").write_bytes(np.float32(7).tobytes())
    weight = onnx.TensorProto(name="one", data_type=kinds.FLOAT, dims=[1], data_location=kinds.EXTERNAL)
    weight.external_data.add(key="location", value="secret.bin")
    ends = [helper.make_tensor_value_info(name, kinds.FLOAT, [1, 3, 8, 8]) for name in ("input", "raw")]
    graph = helper.make_graph([helper.make_node("Add", ["input", "one"], ["raw"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "thief.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ArtifactError):
        open_engine(path, tiny_card())


def test_litert_is_silent_on_stderr_unless_asked(write_tflite: Write, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    path = write_tflite()
    card = read_card(path)

    open_engine(path, card).run(np.zeros(card.input.shape, np.float32))

    assert capfd.readouterr().err == ""


def test_a_graph_with_a_free_batch_size_fits_a_card_of_one(tmp_path: Path, tiny_card: Cards) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    ends = [helper.make_tensor_value_info(name, kinds.FLOAT, ["n", 4]) for name in ("input", "raw")]
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["raw"])], "g", ends[:1], ends[1:])
    path = tmp_path / "free.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    card = tiny_card(
        input=InputSpec(shape=(1, 4), layout="any", kind="tensor"), outputs=(OutputSpec(name="raw", shape=(1, 4)),)
    )

    assert open_engine(path, card).run(np.ones((1, 4), np.float32))["raw"].tolist() == [[1, 1, 1, 1]]


def test_one_engine_answers_many_threads_each_with_its_own(artifact: Path) -> None:
    card = read_card(artifact)
    engine = open_engine(artifact, card)
    wrong: list[object] = []

    def ask(value: int) -> None:
        for _ in range(100):
            found = engine.run(np.full(card.input.shape, value, np.float32))["raw"]
            if not (found == value + 1).all():
                wrong.append((value, found))

    workers = [threading.Thread(target=ask, args=(value,)) for value in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert wrong == []


def test_litert_is_never_entered_by_two_threads(write_tflite: Write) -> None:
    pytest.importorskip("ai_edge_litert")
    path = write_tflite()
    card = read_card(path)
    engine = open_engine(path, card)
    inside, most = [0], [0]

    class Watched:
        def set_tensor(self, index: int, value: object) -> None:
            inside[0] += 1
            most[0] = max(most[0], inside[0])

        def invoke(self) -> None:
            pause.wait(0.002)

        def get_tensor(self, index: int) -> object:
            inside[0] -= 1
            return np.zeros(card.outputs[0].shape, np.float32)

    pause = threading.Event()
    assert isinstance(engine, LiteRtEngine)
    engine._interpreter = Watched()  # the real one would crash, not tell
    workers = [
        threading.Thread(target=lambda: [engine.run(np.zeros(card.input.shape, np.float32)) for _ in range(5)])
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert (inside, most) == ([0], [1])


def test_an_engine_that_is_closed_in_another_thread_refuses_or_answers(artifact: Path) -> None:
    card = read_card(artifact)
    for _ in range(10):
        engine = open_engine(artifact, card)
        closer = threading.Thread(target=engine.close)
        closer.start()
        with contextlib.suppress(InputError):  # "the engine is closed"; anything else fails the test
            for _ in range(50):
                assert (engine.run(np.zeros(card.input.shape, np.float32))["raw"] == 1).all()
        closer.join()


def test_pipelines_that_load_at_a_time_leave_stderr_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2)
    silent = [False, False]

    def device() -> int:
        return os.fstat(2).st_rdev

    first, second = engines.quiet_stderr(), engines.quiet_stderr()
    first.__enter__()
    silent[0] = device() == os.stat(os.devnull).st_rdev
    second.__enter__()
    first.__exit__(None, None, None)
    silent[1] = device() == os.stat(os.devnull).st_rdev
    second.__exit__(None, None, None)

    assert silent == [True, True]
    assert os.path.samestat(os.fstat(2), before)
    os.write(2, b"heard again\n")
    assert capfd.readouterr().err == "heard again\n"


def test_a_closed_stderr_does_not_stop_an_engine(artifact: Path, capfd: pytest.CaptureFixture[str]) -> None:
    card = read_card(artifact)
    with capfd.disabled():
        saved = os.dup(2)
        try:
            os.close(2)
            result = open_engine(artifact, card).run(np.zeros(card.input.shape, np.float32))
        finally:
            os.dup2(saved, 2)
            os.close(saved)

    assert (result["raw"] == 1).all()


def test_an_installed_engine_is_picked_before_one_that_is_not(
    write_onnx: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx()
    others = {"missing": (ENGINES["onnxruntime"][0], "edge-no-such-distribution", "missing"), **ENGINES}
    monkeypatch.setattr(engines, "ENGINES", others)

    assert engines_for(path) == ("missing", "onnxruntime")
    assert engines_for(path, "onnxruntime") == ("onnxruntime",)
    assert pick_engine(path) == ("onnxruntime" if engine_version("onnxruntime") else "missing")
    assert engine_version("missing") is None
