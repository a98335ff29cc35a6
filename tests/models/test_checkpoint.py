"""Checkpoints: what is read, what is refused, and what a refusal says. No file may ever run code."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edge.models import registry  # noqa: E402
from edge.models.checkpoint import (  # noqa: E402
    MismatchError,
    load_into,
    load_model,
    read_checkpoint,
    which_model,
)
from edge.models.seeded import seeded  # noqa: E402
from edge.runtime.errors import CheckpointError, one_line  # noqa: E402

pytestmark = pytest.mark.torch

POSE = registry.get("pose-student-2mb")
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return dict(seeded(POSE, (1, 3, 64, 64)).state_dict())


def _refused(path: Path, words: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=words) as caught:
        read_checkpoint(path)
    assert caught.value.exit_code == 2
    line = one_line(caught.value)
    assert len(line) <= 300
    assert "Traceback" not in line
    return caught.value


# --- what is read ------------------------------------------------------------


def _zip(values: Any, path: Path) -> None:
    torch.save(values, path)


def _legacy(values: Any, path: Path) -> None:
    torch.save(values, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [_zip, _legacy])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_prefixes_and_both_layouts_are_read(
    tmp_path: Path, state: State, save: Callable[[Any, Path], None], wrapper: str | None, prefix: str
) -> None:
    values: Any = OrderedDict((prefix + key, value) for key, value in state.items())
    save({wrapper: values, "batch": 7, "loss": 0.5} if wrapper else values, tmp_path / "w.pth")

    found = read_checkpoint(tmp_path / "w.pth")
    assert all(torch.equal(found[key], value) for key, value in state.items())
    assert len(found) == len(state)


def test_safetensors_are_read_by_content_not_by_name(tmp_path: Path, state: State) -> None:
    from safetensors.torch import save_file

    save_file(state, tmp_path / "weights.bin")

    module, report = load_model(POSE, tmp_path / "weights.bin")
    assert report.loaded == len(state)
    assert not module.training
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_half_precision_weights_become_float32(tmp_path: Path, state: State) -> None:
    _zip(
        {key: value.half() if value.is_floating_point() else value for key, value in state.items()}, tmp_path / "h.pth"
    )

    module, _ = load_model(POSE, tmp_path / "h.pth")
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_pruned_nano_b_is_rebuilt_at_its_own_widths(tmp_path: Path) -> None:
    from edge.models.face_nanob import NanoB

    widths = (4, 8, 20, 20, 40, 40, 64, 64, 64, 64, 64, 64, 128, 128)
    _zip(NanoB(widths, 32).state_dict(), tmp_path / "n.pth")

    module, _ = load_model(registry.get("face-nanob"), tmp_path / "n.pth")
    assert isinstance(module, NanoB)
    assert (module.widths, module.pyramid) == (widths, 32)


# --- what may be dropped or renamed ------------------------------------------------------------


def _ai8x(state: State) -> State:
    extra: State = {}
    for key in [key for key in state if key.endswith("op.weight")]:
        block = key.removesuffix("op.weight")
        for leaf in ("output_shift", "weight_bits", "bias_bits", "shift_quantile"):
            extra[block + leaf] = torch.zeros(1)
        for leaf in ("activation_threshold", "final_scale"):
            extra[block + leaf] = torch.tensor(0.0)
        for leaf in ("quantize_activation", "clamp_activation", "adjust_output_shift"):
            extra[block + leaf] = torch.tensor([False])
    return {**state, **extra}


def test_neutral_ai8x_bookkeeping_is_dropped_and_reported(state: State) -> None:
    report = load_into(POSE.build(), _ai8x(state), POSE)

    assert len(report.dropped) == 135
    assert "135" in report.notes[0]
    assert "ai8x" in report.notes[0]


@pytest.mark.parametrize(
    ("leaf", "value"),
    [("weight_bits", 8.0), ("output_shift", -1.0), ("activation_threshold", 1.0), ("final_scale", 2.0)],
)
def test_a_quantisation_aware_checkpoint_is_refused_not_truncated(state: State, leaf: str, value: float) -> None:
    raw = _ai8x(state)
    raw[f"conv3.{leaf}"] = torch.full_like(raw[f"conv3.{leaf}"].float(), value)

    with pytest.raises(CheckpointError, match=rf"conv3\.{leaf}.*not neutral"):
        load_into(POSE.build(), raw, POSE)


def test_ai8x_keys_are_foreign_to_other_families(state: State) -> None:
    proto = registry.get("emotion-proto-81k")
    module = proto.build()

    with pytest.raises(MismatchError, match="1 unexpected"):
        load_into(module, {**module.state_dict(), "head.weight_bits": torch.zeros(1)}, proto)


def test_counters_of_thop_are_dropped_everywhere() -> None:
    proto = registry.get("emotion-proto-81k")
    module = proto.build()
    raw = {**module.state_dict(), "total_ops": torch.zeros(1), "blocks.0.total_params": torch.zeros(1)}

    assert load_into(module, raw, proto).dropped == ("total_ops", "blocks.0.total_params")


def test_the_vit_pooler_is_dropped_and_newer_keys_are_renamed() -> None:
    entry = registry.get("emotion-teacher-vit-b16")
    with torch.device("meta"):
        module = entry.build()
        renamed = {
            key.replace("encoder.layer.", "layers.")
            .replace("attention.attention.query", "attention.q_proj")
            .replace("attention.attention.key", "attention.k_proj")
            .replace("attention.attention.value", "attention.v_proj")
            .replace("attention.output.dense", "attention.o_proj")
            .replace("intermediate.dense", "mlp.fc1")
            .replace(".output.dense", ".mlp.fc2"): value
            for key, value in module.state_dict().items()
        }
        renamed["vit.pooler.dense.weight"] = torch.zeros(768, 768)
        renamed["vit.pooler.dense.bias"] = torch.zeros(768)
        report = load_into(module, renamed, entry)

    assert report.dropped == ("vit.pooler.dense.weight", "vit.pooler.dense.bias")
    assert len(report.renamed) == 12 * 16
    assert any("pooler" in note for note in report.notes)


# --- another network ------------------------------------------------------------


def test_another_architecture_is_named(tmp_path: Path) -> None:
    _zip(registry.get("face-retina-mnet025").build().state_dict(), tmp_path / "w.pth")

    with pytest.raises(MismatchError, match=r"185 missing .*120 unexpected") as caught:
        load_model(registry.get("face-v1"), tmp_path / "w.pth")
    assert caught.value.hint == "it fits `face-retina-mnet025`"
    assert len(str(caught.value)) <= 250
    assert sum(line.startswith("missing: ") for line in caught.value.details) == 185


def test_a_wrong_shape_is_told_with_both_shapes(state: State) -> None:
    raw = {**state, "paf_out.op.weight": torch.zeros(36, 48, 1, 1)}

    with pytest.raises(MismatchError, match=r"1 of another shape \(paf_out\.op\.weight is 36x48x1x1"):
        load_into(POSE.build(), raw, POSE)


def test_a_failed_load_leaves_the_network_as_it_was(state: State) -> None:
    module = POSE.build()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    incomplete = dict(state)
    del incomplete["conv8.op.bias"]

    with pytest.raises(MismatchError, match=r"1 missing \(conv8\.op\.bias\)"):
        load_into(module, incomplete, POSE)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["pose-student-8mb", "emotion-student-12m", "face-v1-original", "face-nanob"])
def test_which_model_finds_the_entry_that_fits(name: str) -> None:
    with torch.device("meta"):
        weights = registry.get(name).build().state_dict()
    assert which_model(weights) == name


def test_which_model_knows_when_none_fits() -> None:
    assert which_model({"a": torch.zeros(1)}) is None


# --- damaged files ------------------------------------------------------------


def test_missing_file_folder_and_empty_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()

    _refused(tmp_path / "none.pth", "does not exist")
    _refused(tmp_path, "is a folder")
    _refused(tmp_path / "empty.pth", "is empty")


@pytest.mark.parametrize("save", [_zip, _legacy])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_damaged(
    tmp_path: Path, state: State, save: Callable[[Any, Path], None], share: float
) -> None:
    save(state, tmp_path / "w.pth")
    data = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(data[: int(len(data) * share)])

    _refused(tmp_path / "w.pth", "damaged|truncated|code or objects")


def test_text_and_foreign_files_are_not_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("version https://git-lfs.example/spec/v1\n")
    (tmp_path / "b.pth").write_bytes(b"\x08\x07\x12\x07pytorch")

    _refused(tmp_path / "a.pth", "neither safetensors nor")
    _refused(tmp_path / "b.pth", "neither safetensors nor")


@pytest.mark.parametrize("value", [None, 3, [1, 2], {}, {"epoch": 3}, {"state_dict": 5}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, value: Any) -> None:
    _zip(value, tmp_path / "w.pth")

    _refused(tmp_path / "w.pth", "holds no state dict")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_refused_with_tensor_and_count(tmp_path: Path, state: State, bad: float) -> None:
    weight = state["conv5.op.weight"].clone()
    weight[0, 0, 0, :2] = bad
    _zip({**state, "conv5.op.weight": weight}, tmp_path / "w.pth")

    _refused(tmp_path / "w.pth", r"conv5\.op\.weight. holds 2 of 27648")


@pytest.mark.parametrize("variance", [0.0, -1.0])
def test_a_batchnorm_variance_that_is_not_positive_is_refused(tmp_path: Path, state: State, variance: float) -> None:
    values = state["conv2.bn.running_var"].clone()
    values[3] = variance
    _zip({**state, "conv2.bn.running_var": values}, tmp_path / "w.pth")

    _refused(tmp_path / "w.pth", r"conv2\.bn\.running_var.*1 of 24")


def test_a_tensor_that_repeats_four_bytes_a_billion_times_is_refused(tmp_path: Path) -> None:
    _zip({"w": torch.zeros(1).expand(1 << 40)}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 4096

    _refused(tmp_path / "w.pth", "claims more numbers than the file holds")


@pytest.mark.parametrize("value", [torch.zeros(2, dtype=torch.complex64), torch.eye(2).to_sparse()])
def test_odd_kinds_of_tensor_are_refused(tmp_path: Path, value: Tensor) -> None:
    _zip({"w": value}, tmp_path / "w.pth")

    _refused(tmp_path / "w.pth", "kind that is not read")


def test_a_control_character_in_a_name_is_refused(tmp_path: Path) -> None:
    _zip({"w\x1b[2J": torch.zeros(1)}, tmp_path / "w.pth")

    _refused(tmp_path / "w.pth", "name")


def test_a_safetensors_header_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    one = '"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = ("{" + one + "," + one + "}").encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)

    _refused(tmp_path / "w.safetensors", "twice")


def test_a_safetensors_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")

    _refused(tmp_path / "w.safetensors", "header")


# --- crafted archives ------------------------------------------------------------


def _rewrite(source: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> None:
    with zipfile.ZipFile(source) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(source, "w", zipfile.ZIP_STORED) as archive:
        for info, data in members:
            change(archive, info, data)


def test_compressed_members_are_refused(tmp_path: Path, state: State) -> None:
    _zip(state, tmp_path / "w.pth")
    _rewrite(tmp_path / "w.pth", lambda a, info, data: a.writestr(info.filename, data, zipfile.ZIP_DEFLATED))

    _refused(tmp_path / "w.pth", "compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_named_twice_is_refused(tmp_path: Path, state: State) -> None:
    _zip(state, tmp_path / "w.pth")

    def twice(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
        archive.writestr(info.filename, data)
        if info.filename.endswith("data.pkl"):
            archive.writestr(info.filename, data)

    _rewrite(tmp_path / "w.pth", twice)
    _refused(tmp_path / "w.pth", "twice")


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "w/../../evil", "C:/evil"])
def test_members_outside_the_archive_are_refused(tmp_path: Path, state: State, name: str) -> None:
    _zip(state, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth", "a") as archive:
        archive.writestr(name, b"x")

    _refused(tmp_path / "w.pth", "outside its folder")


def test_an_oversized_pickle_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02" + b"(" * 10_000_000 + b".")
        archive.writestr("w/version", b"3\n")

    _refused(tmp_path / "w.pth", "oversized data.pkl")


def test_a_legacy_file_of_ten_million_opcodes_is_refused_before_it_is_run(tmp_path: Path, state: State) -> None:
    _legacy({}, tmp_path / "w.pth")
    data = (tmp_path / "w.pth").read_bytes()
    start = data.index(b"}q\x00.")  # the object: an empty dictionary
    (tmp_path / "w.pth").write_bytes(data[:start] + b"(" * 10_000_000 + data[start:])

    _refused(tmp_path / "w.pth", "oversized pickle")


# --- code in files ------------------------------------------------------------


class _Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _global(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls module.name(argument) without importing it here."""
    text = argument.encode()
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X" + struct.pack("<I", len(text)) + text + b"\x85R."


def _archive_of(pickled: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", pickled)
        archive.writestr("w/byteorder", b"little")
        archive.writestr("w/version", b"3\n")


def _malicious(kind: str, path: Path, canary: Path) -> None:
    touch = f"touch {canary}"
    python = f"open({str(canary)!r}, 'w').close()"
    if kind in ("os.system", "prefixed zip", "bad CRC", "truncated zip"):
        _archive_of(_global("os", "system", touch), path)
        if kind == "prefixed zip":
            path.write_bytes(b"\0" * 64 + path.read_bytes())
        if kind == "bad CRC":
            path.write_bytes(path.read_bytes().replace(b"3\n", b"4\n", 1))
        if kind == "truncated zip":
            path.write_bytes(path.read_bytes()[:-30])
    elif kind == "builtins.eval":
        _archive_of(_global("builtins", "eval", python), path)
    elif kind == "resolve_name":
        _archive_of(_global("pkgutil", "resolve_name", "os:system"), path)
    elif kind == "import_module":
        _archive_of(_global("importlib", "import_module", "antigravity"), path)
    elif kind == "torch.hub.load":
        _archive_of(_global("torch.hub", "load", str(canary)), path)
    elif kind == "runpy":
        _archive_of(_global("runpy", "run_path", str(canary)), path)
    elif kind == "raw pickle renamed":
        path.write_bytes(pickle.dumps(_Calls(os.system, touch), 2))
    elif kind == "raw pickle protocol 0":
        path.write_bytes(pickle.dumps(_Calls(os.system, touch), 0))
    elif kind == "legacy file":
        torch.save({"w": _Calls(os.system, touch)}, path, _use_new_zipfile_serialization=False)
    elif kind == "legacy tar":
        with tarfile.open(path, "w") as archive:
            data = pickle.dumps(_Calls(os.system, touch), 2)
            info = tarfile.TarInfo("pickle")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    elif kind == "TorchScript":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", _global("os", "system", touch))
            archive.writestr("w/constants.pkl", b"\x80\x02).")
            archive.writestr("w/code/__torch__.py", python)
            archive.writestr("w/version", b"3\n")
    elif kind == "nested pickle":
        inner = pickle.dumps(_Calls(os.system, touch), 2)
        _zip({"state_dict": {"w": _Calls(pickle.loads, inner)}}, path)
    elif kind == "whole module":
        _zip(torch.nn.Linear(2, 2), path)
    else:
        raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "builtins.eval",
        "resolve_name",
        "import_module",
        "torch.hub.load",
        "runpy",
        "bad CRC",
        "prefixed zip",
        "truncated zip",
        "raw pickle renamed",
        "raw pickle protocol 0",
        "legacy file",
        "TorchScript",
        "legacy tar",
        "nested pickle",
        "whole module",
    ],
)
def test_a_malicious_file_is_refused_and_runs_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    canary = tmp_path / "canary"
    _malicious(kind, tmp_path / "w.pth", canary)

    _refused(tmp_path / "w.pth", "w.pth")
    assert not canary.exists()
    assert capfd.readouterr() == ("", "")


def test_a_forbidden_global_is_named(tmp_path: Path) -> None:
    _archive_of(_global("os", "system", "true"), tmp_path / "w.pth")

    assert "system" in str(_refused(tmp_path / "w.pth", "contains code"))


def test_the_package_has_no_way_around_weights_only() -> None:
    sources = Path(registry.__file__).parent.glob("*.py")
    text = "\n".join(path.read_text() for path in sources)

    for forbidden in ("weights_only=False", "pickle.load", "allow_pickle=True", "eval(compile", "os.system"):
        assert forbidden not in text
    assert text.count("torch.load(") == text.count("weights_only=True)")
