"""A journal that a power cut or a full disk left unfinished is mended; what is no journal is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna")
pytest.importorskip("torch")

from edge.models.pruning.storage import open_storage  # noqa: E402
from edge.runtime.errors import InputError  # noqa: E402

pytestmark = pytest.mark.torch


def trials(path: Path, more: int) -> int:
    """Add complete trials to a study; return how many there are."""
    with open_storage(str(path)) as storage:
        study = optuna.create_study(storage=storage, study_name="one", load_if_exists=True)
        for _ in range(more):
            study.add_trial(optuna.create_trial(value=1.0))
        return len(study.trials)


@pytest.mark.parametrize("torn", [b'{"op_code":4,"worker', b"\0" * 40])
def test_a_torn_last_line_is_cut_off_and_the_search_goes_on(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "search.journal"
    assert trials(path, 3) == 3
    whole = path.read_bytes()
    path.write_bytes(whole + torn)

    assert trials(path, 0) == 3
    assert path.read_bytes().startswith(whole)
    assert trials(path, 2) == 5
    assert sorted(place.name for place in tmp_path.iterdir()) == ["search.journal"]  # no lock is left


def test_a_journal_torn_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "search.journal"
    path.write_bytes(b'{"op_c')

    assert trials(path, 1) == 1


def test_a_file_that_is_no_journal_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("first line\nsecond line\nthird")

    with pytest.raises(InputError, match="is not a journal"):
        trials(path, 0)

    assert path.read_text() == "first line\nsecond line\nthird"
