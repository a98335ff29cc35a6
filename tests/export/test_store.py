"""The store gives back what was made, whole or not at all."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.export.store import Store, content_key, write_durably


def build(folder: Path) -> dict[str, int]:
    (folder / "a.bin").write_bytes(b"abc")
    return {"made": 1}


def never(folder: Path) -> dict[str, int]:
    raise AssertionError("built again")


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    store, key = Store(tmp_path), content_key("stage", {"x": 1})
    store.make(key, build)

    folder, facts = store.make(key, never)

    assert (folder / "a.bin").read_bytes() == b"abc"
    assert facts == {"made": 1}


def test_keys_differ_by_stage_and_by_input() -> None:
    keys = {content_key("a", {"x": 1}), content_key("b", {"x": 1}), content_key("a", {"x": 2})}

    assert len(keys) == 3


@pytest.mark.parametrize("damage", [b"abd", b"ab", b""])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: bytes) -> None:
    store, key = Store(tmp_path), content_key("stage", {})
    folder, _ = store.make(key, build)
    (folder / "a.bin").write_bytes(damage)

    assert store.find(key) is None
    folder, _ = store.make(key, build)
    assert (folder / "a.bin").read_bytes() == b"abc"


def test_an_entry_with_broken_facts_counts_as_absent(tmp_path: Path) -> None:
    store, key = Store(tmp_path), content_key("stage", {})
    folder, _ = store.make(key, build)
    (folder / "meta.json").write_text("[1")

    assert store.find(key) is None


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, int]:
        (folder / "half.bin").write_bytes(b"x")
        raise ValueError

    store, key = Store(tmp_path), content_key("stage", {})
    with pytest.raises(ValueError):  # noqa: PT011  # our own, above
        store.make(key, fail)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_killed_build_leaves_no_entry(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from edge.export.store import Store\n"
        "def build(folder):\n"
        "    (folder / 'a.bin').write_bytes(b'abc'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store(Path(sys.argv[1])).make('ab' * 32, build)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)

    assert done.returncode == -signal.SIGKILL
    assert Store(tmp_path).find("ab" * 32) is None
    assert Store(tmp_path).make("ab" * 32, build)[1] == {"made": 1}


def test_a_durable_write_follows_no_link_and_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("elsewhere")

    with pytest.raises(OSError, match="exists"):
        write_durably(tmp_path / "link", b"theirs")

    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
