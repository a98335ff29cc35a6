"""A saved state is whole, or it is not taken."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edge.models.training.state import NEEDED, load_state, save_state  # noqa: E402
from edge.models.training.training_card import read_training_card, write_checkpoint  # noqa: E402
from edge.runtime.errors import InputError  # noqa: E402

pytestmark = pytest.mark.torch


def save(folder: Path, step: int) -> Path:
    save_state(folder, step, {**dict.fromkeys(NEEDED), "step": step})
    return folder / f"state-{step:09d}.pt"


def test_a_folder_without_states_has_none(tmp_path: Path) -> None:
    assert load_state(tmp_path, pytest.fail) is None
    assert load_state(tmp_path / "absent", pytest.fail) is None


@pytest.mark.parametrize("foreign", [{"step": 2}, torch.zeros(3), [1, 2]])
def test_a_damaged_or_foreign_state_is_passed_over_and_named(tmp_path: Path, foreign: Any) -> None:
    save(tmp_path, 1)
    torch.save(foreign, save(tmp_path, 2))
    lines: list[str] = []

    state = load_state(tmp_path, lines.append)

    assert state is not None
    assert state["step"] == 1
    assert len(lines) == 1
    assert "state-000000002.pt` is damaged" in lines[0]


def test_a_run_of_which_no_state_is_whole_is_not_begun_again_in_silence(tmp_path: Path) -> None:
    for step in (1, 2):
        path = save(tmp_path, step)
        path.write_bytes(path.read_bytes()[:99])

    with pytest.raises(InputError, match="no saved state in") as caught:
        load_state(tmp_path, lambda line: None)

    assert caught.value.hint == "delete state-*.pt to start again"


def test_a_state_that_cannot_be_read_is_not_taken_for_damaged(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "state-000000002.pt").mkdir()

    with pytest.raises(IsADirectoryError):
        load_state(tmp_path, pytest.fail)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let the system refuse larger files, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_state_for_which_there_is_no_room_is_named_and_the_one_before_stays(tmp_path: Path) -> None:
    save(tmp_path, 1)
    values = {**dict.fromkeys(NEEDED), "step": 2, "network": torch.zeros(10_000)}

    with no_file_above(20_000), pytest.raises(OSError, match=r"state-000000002\.pt") as caught:
        save_state(tmp_path, 2, values)

    assert caught.value.errno == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["state-000000001.pt"]


def test_a_checkpoint_for_which_there_is_no_room_leaves_the_old_one_and_its_card(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "tiny", torch.nn.Linear(2, 2), {})
    card = read_training_card(path)

    with no_file_above(20_000), pytest.raises(OSError, match=r"tiny\.safetensors") as caught:
        write_checkpoint(tmp_path, "tiny", torch.nn.Linear(100, 100), {})

    assert caught.value.errno == errno.EFBIG
    assert card is not None
    assert read_training_card(path) == card
