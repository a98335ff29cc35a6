"""TFLite files as bytes: the card goes in without touching a number, and nothing depends on the run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge.export.tflite_file import ALIGNMENT, CARD_KEY, embed_card, normalise, read_model
from edge.runtime.errors import ArtifactError

pytest.importorskip("ai_edge_litert")
CARD = json.dumps({"model": "tiny", "note": "\u00e4"})


def _card_of(data: bytes) -> str:
    model = read_model(data)
    entries = [item for item in model.metadata if item.name == CARD_KEY.encode()]
    assert len(entries) == 1
    return bytes(model.buffers[entries[0].buffer].data).decode()


def test_embedding_the_card_keeps_every_output_bit(tiny_tflite: Any, run_tflite: Any) -> None:
    data = tiny_tflite.path.read_bytes()
    x = tiny_tflite.x.transpose(0, 2, 3, 1)

    before, after = run_tflite(data, x), run_tflite(embed_card(data, CARD), x)

    assert list(before) == list(after)
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_the_embedded_card_reads_back_and_replaces_an_earlier_one(tiny_tflite: Any) -> None:
    first = embed_card(tiny_tflite.path.read_bytes(), '{"old":1}')

    assert _card_of(first) == '{"old":1}'
    assert _card_of(embed_card(first, CARD)) == CARD


def test_equal_inputs_give_equal_bytes(tiny_tflite: Any) -> None:
    data = tiny_tflite.path.read_bytes()

    assert embed_card(data, CARD) == embed_card(data, CARD) == embed_card(embed_card(data, CARD), CARD)
    assert normalise(data) == normalise(normalise(data))


def test_every_constant_is_aligned(tiny_tflite: Any) -> None:
    data = embed_card(tiny_tflite.path.read_bytes(), CARD)
    start = np.frombuffer(data, np.uint8).ctypes.data

    held = [buffer.data for buffer in read_model(data).buffers if buffer.data is not None and len(buffer.data)]

    assert len(held) > 5
    assert all((item.ctypes.data - start) % ALIGNMENT == 0 for item in held)


def test_no_path_of_this_machine_is_left_in_the_file(tiny_tflite: Any) -> None:
    data = tiny_tflite.path.read_bytes()

    assert b"site-packages" not in data
    assert b"/tmp" not in data


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x1c\0\0\0ONNX" + bytes(40), b"\xff\xff\xff\x7fTFL3" + bytes(40)])
def test_foreign_and_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        read_model(data)


def test_constants_behind_the_end_of_the_file_are_refused(tiny_tflite: Any) -> None:
    model = read_model(tiny_tflite.path.read_bytes())
    buffer = model.buffers[1]
    buffer.data, buffer.offset, buffer.size = None, 2**20, 64
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")

    with pytest.raises(ArtifactError, match="cut short"):
        read_model(bytes(builder.Output()))
