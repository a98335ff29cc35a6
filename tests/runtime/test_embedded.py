"""What `read_card` makes of good, bad and hostile files."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.runtime.card import Card
from edge.runtime.embedded import file_target, load_card, read_card
from edge.runtime.errors import ArtifactError, CardError, EdgeError, InputError

Write = Callable[..., Path]
Cards = Callable[..., Card]


def test_the_card_in_an_onnx_file_comes_back_as_it_went_in(write_onnx: Write, tiny_card: Cards) -> None:
    path = write_onnx()

    assert read_card(path) == tiny_card()
    assert file_target(path) == "onnx"


def test_the_card_in_a_tflite_file_comes_back_as_it_went_in(write_tflite: Write, tiny_card: Cards) -> None:
    path = write_tflite()

    assert read_card(path) == tiny_card("tflite")
    assert file_target(path) == "tflite"


def test_content_decides_and_not_the_suffix(write_tflite: Write, tiny_card: Cards) -> None:
    assert read_card(write_tflite("tiny.onnx")) == tiny_card("tflite")


def test_a_file_without_a_card_says_how_to_get_one(write_onnx: Write, write_tflite: Write) -> None:
    for path in (write_onnx(card=None), write_tflite(card=None)):
        with pytest.raises(ArtifactError, match="holds no card") as caught:
            read_card(path)
        assert "--card" in str(caught.value.hint)


def test_a_card_that_is_no_card_is_a_card_error(write_onnx: Write, write_tflite: Write) -> None:
    for path in (write_onnx(card="not json"), write_tflite(card="[1]")):
        with pytest.raises(CardError):
            read_card(path)


def test_an_onnx_file_with_two_cards_is_refused(write_onnx: Write) -> None:
    path = write_onnx()
    entry = b"\x0a\x09edge.card\x12\x02{}"
    path.write_bytes(path.read_bytes() + bytes([0x72, len(entry)]) + entry)

    with pytest.raises(ArtifactError, match="two cards"):
        read_card(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "no model file"),
        (b"PK\x03\x04" + bytes(64), "no model file"),
        (b"<!DOCTYPE html>" + bytes(64), "no model file"),
        (bytes(64), "no model file"),
        (b"\x08\x08", "one graph"),
        (b"\x08\x08" * 120_000, "damaged"),
        (b"\x08" + b"\xff" * 64, "damaged"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "damaged"),
        (struct.pack("<I", 2**32 - 1) + b"TFL3" + bytes(64), "damaged"),
        (struct.pack("<I", 8) + b"TFL3" + struct.pack("<i", -(2**31)) + bytes(64), "damaged"),
    ],
)
def test_foreign_and_empty_files_are_artifact_errors(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(ArtifactError, match=says):
        read_card(path)


def test_what_is_no_file_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path, says in ((tmp_path, "folder"), (tmp_path / "none", "does not exist"), (tmp_path / "pipe", "special")):
        with pytest.raises(ArtifactError, match=says):
            read_card(path)
    with pytest.raises(ArtifactError, match="null"):
        read_card("a\0b")


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_each_truncation_is_an_edge_error(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(f"write_{kind}")()
    whole = path.read_bytes()

    last = len(whole) - (24 if kind == "tflite" else 0)  # a tensor's shape or name at the very end is not looked at
    for size in range(0, last, 3):
        path.write_bytes(whole[:size])
        with pytest.raises(EdgeError):
            read_card(path)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_byte_mutants_give_a_card_or_an_edge_error(kind: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(f"write_{kind}")()
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    generator = np.random.default_rng(20)

    for _ in range(400):
        mutant = whole.copy()
        places = generator.integers(0, len(whole), generator.integers(1, 9))
        mutant[places] = generator.integers(0, 256, len(places))
        path.write_bytes(mutant.tobytes())
        with contextlib.suppress(EdgeError):  # anything else fails the test
            assert isinstance(read_card(path), Card)


def test_weights_are_skipped_and_not_read(write_onnx: Write, tiny_card: Cards) -> None:
    path = write_onnx()
    small = path.read_bytes()
    training = b"\xa2\x01" + b"\x80\x80\x80\x80\x04"  # field 20, 2**30 bytes of it
    with path.open("wb") as stream:  # sparse: takes no disk
        stream.write(small + training)
        stream.truncate(len(small) + len(training) + 2**30)

    assert read_card(path) == tiny_card()


def test_a_card_file_may_be_json_or_toml(tmp_path: Path, tiny_card: Cards) -> None:
    (tmp_path / "card.json").write_text(tiny_card().to_json())
    (tmp_path / "card.toml").write_text(
        'model = "net"\noutputs = [{name = "y", shape = [1, 2]}]\n'
        '[input]\nshape = [1, 4]\nkind = "tensor"\nlayout = "any"\n'
    )

    assert load_card(tmp_path / "card.json") == tiny_card()
    assert load_card(tmp_path / "card.toml").outputs[0].shape == (1, 2)


def test_a_bad_card_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "card.toml").write_text("= 1")
    (tmp_path / "card.yaml").write_text("{}")
    (tmp_path / "latin.json").write_bytes(b"\xff")

    for name in ("card.toml", "card.yaml", "latin.json", "none.json"):
        with pytest.raises(InputError):
            load_card(tmp_path / name)
