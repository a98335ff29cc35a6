"""`verify_bundle` finds every planted corruption, and says what it did not look at."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.export.bundle import MANIFEST, commit, locked, open_run
from edge.export.formats import FORMATS
from edge.export.sbom import sbom
from edge.export.seal import manifest_digest, manifest_text
from edge.export.store import sha256_file
from edge.export.verify import verify_bundle
from edge.runtime.card import Card, Target
from edge.runtime.errors import InputError

FILES = ("tiny-fp32.onnx", "tiny-fp32.tflite")


@pytest.fixture
def bundle(
    tmp_path: Path, tiny_card: Callable[..., Card], write_onnx: Callable[..., Path], write_tflite: Callable[..., Path]
) -> Path:
    """A sound bundle of two files, committed as `edge export` does it."""
    variants: dict[str, Any] = {}
    with locked(tmp_path / "out"), open_run(tmp_path / "out") as run:
        for name, write in zip(FILES, (write_onnx, write_tflite), strict=True):
            target = name.rsplit(".", 1)[1]
            facts = {"target": target, "precision": "fp32", "recipe": "float"}
            card = replace(tiny_card(target), artifact={**facts, "route": "by hand"})
            made = Path(shutil.move(write(name, card), run / name))
            data = made.read_bytes()
            contents = json.loads(json.dumps(FORMATS[Target(target)].inspect(data).to_dict()))
            variants[name] = {**facts, "contents": contents, "bytes": len(data), "sha256": sha256_file(made)}
        manifest = {
            "schema": 1, "edge": "0.1.0", "key": "k" * 64, "model": "tiny", "family": "custom", "parameters": 1,
            "card": tiny_card().to_dict(), "checkpoint_sha256": None, "weights": "seeded", "variants": variants,
            "tools": {"onnx": "1.23.2", "python": "3.11.7"}, "samples": {"sha256": "ef" * 32, "source": "noise"},
        }  # fmt: skip
        commit(run, tmp_path / "out" / "tiny", manifest)
    return tmp_path / "out" / "tiny"


def reseal(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as somebody would who knows how it is written."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    for name, facts in manifest["files"].items():
        if (bundle / name).is_file():
            facts |= {"bytes": (bundle / name).stat().st_size, "sha256": sha256_file(bundle / name)}
            if name in manifest["variants"]:
                manifest["variants"][name] |= facts
    manifest["digest"] = manifest_digest(manifest)
    (bundle / MANIFEST).write_text(manifest_text(manifest))


def messages(bundle: Path, **options: Any) -> list[tuple[str, str, str]]:
    return [(one.file, one.check, one.message) for one in verify_bundle(bundle, **options).findings]


def test_a_sound_bundle_has_no_finding_and_every_check_was_done(bundle: Path) -> None:
    found = verify_bundle(bundle)

    assert (found.findings, found.not_checked) == ([], [])
    assert found.checked == {"manifest": 1, "names": 1, "hash": 2, "card": 2, "precision": 2, "checkpoint": 1}
    assert set(found.hashes) == {*FILES, MANIFEST}


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_any_bit_that_changed_is_found(bundle: Path, name: str) -> None:
    sound, rng = (bundle / name).read_bytes(), random.Random(name)
    for _ in range(300):
        data = bytearray(sound)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (bundle / name).write_bytes(data)

        assert messages(bundle, precision=False), data

    (bundle / name).write_bytes(sound)
    assert messages(bundle, precision=False) == []


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_file_that_was_cut_or_grew_is_found(bundle: Path, name: str) -> None:
    sound = (bundle / name).read_bytes()
    for data in (b"", sound[:-1], sound[: len(sound) // 2], sound + b"\n", sound + b"\0"):
        (bundle / name).write_bytes(data)

        assert messages(bundle, precision=False)


def test_mutants_of_a_manifest_are_answered_by_findings_alone(bundle: Path) -> None:
    sound, rng = (bundle / MANIFEST).read_text(), random.Random(3)
    parts = ["null", "[]", "{}", "-1", '"../../etc/passwd"', "1e400", "[" * 5000, '"\\ud800"', "true"]
    for _ in range(150):
        at, upto = sorted(rng.randrange(len(sound)) for _ in range(2))
        (bundle / MANIFEST).write_text(sound[:at] + rng.choice(parts) + sound[min(upto, at + 40) :])

        assert messages(bundle, precision=False)
    # And with a digest that fits, so that what is behind it is looked at, too.
    values = json.loads(sound)
    places = [(values, name) for name in values] + [
        (facts, name) for part in ("files", "variants") for facts in values[part].values() for name in facts
    ]
    for table, name in places:
        kept = table[name]
        odds: tuple[Any, ...] = (None, [], -1, "../x", {"a": {}})
        for odd in odds:
            table[name] = odd
            values["digest"] = manifest_digest(values)
            (bundle / MANIFEST).write_text(manifest_text(values))
            verify_bundle(bundle, precision=False)
        table[name] = kept


def test_what_is_missing_and_what_should_not_be_there_is_found(bundle: Path) -> None:
    (bundle / FILES[0]).rename(bundle / ".hidden")
    (bundle / "more").mkdir()

    found = messages(bundle, precision=False)

    assert (FILES[0], "hash", "is missing") in found
    assert (".hidden", "names", "is not in the manifest") in found
    assert ("more", "names", "is not in the manifest") in found
    (bundle / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"expected manifest\.json"):
        verify_bundle(bundle)


def test_links_and_names_that_lead_elsewhere_are_found_and_not_followed(bundle: Path, tmp_path: Path) -> None:
    shutil.move(bundle / FILES[0], tmp_path / "real.onnx")
    os.symlink(tmp_path / "real.onnx", bundle / FILES[0])
    assert (FILES[0], "hash", "is no regular file") in messages(bundle, precision=False)

    def lead_away(manifest: dict[str, Any]) -> None:
        manifest["files"]["../real.onnx"] = manifest["files"][FILES[0]]

    reseal(bundle, lead_away)
    assert ("../real.onnx", "names", "is no name of an artifact") in messages(bundle, precision=False)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("variants", FILES[0], "precision"), "int8", "precision is fp32, the manifest has int8"),
        (("variants", FILES[1], "target"), "onnx", "format is tflite, the manifest has onnx"),
        (("variants", FILES[0], "recipe"), "static-all", "recipe is float"),
        (("model",), "other", "model of the manifest is tiny"),
        (("card", "decoder", "name"), "face-priors", "decoder is"),
        (("card", "input", "mean"), [1.0, 2.0, 3.0], "input.mean is"),
        (("card", "input", "shape"), [1, 3, 9, 9], "input.shape is"),
        (("card", "budget", "size_bytes"), 1, "budget is"),
        (("card", "schema"), 7, "card schema not known"),
    ],
)
def test_a_card_that_says_something_else_than_the_manifest_is_found(
    bundle: Path, place: tuple[str, ...], value: object, words: str
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for name in place[:-1]:
            manifest = manifest[name]
        manifest[place[-1]] = value

    reseal(bundle, change)

    found = [message for _, check, message in messages(bundle, precision=False) if check == "card"]
    assert any(words in message for message in found), found


def test_a_precision_that_is_only_a_name_is_found(
    bundle: Path, tiny_card: Callable[..., Card], write_onnx: Callable[..., Path]
) -> None:
    onnx = pytest.importorskip("onnx")
    name = "tiny-int8.onnx"
    facts = {"target": "onnx", "precision": "int8", "recipe": "float"}
    card = replace(tiny_card(), artifact=facts)
    model = onnx.load(write_onnx(name, card))
    model.graph.node[0].op_type = "MatMul"  # float work, of which the name says that it is INT8
    model.graph.node[0].input[1] = "input"
    (bundle / name).write_bytes(model.SerializeToString())

    def claim(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = {}
        manifest["variants"][name] = {**facts, "contents": {}}

    reseal(bundle, claim)

    found = messages(bundle)
    assert [(file, check) for file, check, _ in found] == [(name, "precision")]
    assert "not an int8 file" in found[0][2]


def test_contents_that_are_not_as_the_manifest_has_them_are_found(bundle: Path) -> None:
    reseal(bundle, lambda manifest: manifest["variants"][FILES[1]]["contents"].update(parameters=5))

    assert messages(bundle) == [
        (FILES[1], "precision", "parameters inside is not as the manifest has it"),
    ]


def test_a_file_that_kills_its_reader_is_a_finding_and_the_others_are_checked(
    bundle: Path, tiny_card: Callable[..., Card]
) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    node = helper.make_node("Slice", ["input", "start", "end", "axes"], ["raw"])
    numbers = {"start": 0, "end": 2, "axes": 1}
    graph = helper.make_graph(
        [node],
        "abort",  # onnx's shape inference aborts on the negative side (onnx issue 8481)
        [helper.make_tensor_value_info("input", kinds.FLOAT, [1, -5, 8, 8])],
        [helper.make_tensor_value_info("raw", kinds.FLOAT, None)],
        [helper.make_tensor(name, kinds.INT64, [1], [value]) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = {"target": "onnx", "precision": "fp32", "recipe": "float"}
    helper.set_model_props(model, {"edge.card": replace(tiny_card(), artifact=facts).to_json()})
    (bundle / FILES[0]).write_bytes(model.SerializeToString())
    reseal(bundle, lambda manifest: None)

    found = verify_bundle(bundle)

    assert [(one.file, one.check) for one in found.findings] == [(FILES[0], "precision")]
    assert "SIGABRT" in found.findings[0].message
    assert found.checked["precision"] == 1


def test_a_manifest_without_a_digest_is_told_to_be_old(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    del manifest["digest"]
    (bundle / MANIFEST).write_text(manifest_text(manifest))

    assert [check for _, check, _ in messages(bundle)] == ["manifest"]
    assert "older edge" in messages(bundle, precision=False)[0][2]


def test_the_checkpoint_is_held_against_the_manifest(bundle: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    reseal(bundle, lambda manifest: manifest.update(checkpoint_sha256=sha256_file(weights)))

    away = verify_bundle(bundle, precision=False)
    assert [(one.check, one.message) for one in away.not_checked if one.check == "checkpoint"] == [
        ("checkpoint", "not at hand; name it with --checkpoint")
    ]
    assert messages(bundle, precision=False, checkpoint=weights) == []
    weights.write_bytes(b"Weights")
    assert [check for _, check, _ in messages(bundle, precision=False, checkpoint=weights)] == ["checkpoint"]


def test_the_bill_of_materials_keeps_to_the_schema_and_has_every_hash(bundle: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    reseal(bundle, lambda manifest: manifest.update(checkpoint_sha256="ab" * 32))
    found = verify_bundle(bundle, precision=False)
    assert found.manifest is not None
    text = json.dumps(sbom(found.manifest, found.hashes))

    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    for name in FILES:
        assert sha256_file(bundle / name) in text
    for word in ("ab" * 32, "ef" * 32, found.hashes[MANIFEST], "pkg:pypi/onnx@1.23.2"):
        assert word in text
    assert json.dumps(sbom(found.manifest, found.hashes)) == text
