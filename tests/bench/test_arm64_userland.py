"""The aarch64 userland: what is believed, what is refused, and that nothing half-built stays."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.bench.arm64_userland import MANIFEST, PACKAGES, _pi_digest, build_userland, main, open_userland
from edge.runtime.engines import ENGINES, engine_version
from edge.runtime.errors import DeviceError, InputError, ResourceError

INSTALLED = {package: engine_version(engine) for engine, (_, package, _) in ENGINES.items()}
WHEELS = {name: version for name, version in INSTALLED.items() if version}


def described(root: Path, **changes: object) -> Path:
    """Write the manifest of a finished userland into a folder."""
    told = {
        "schema": 1,
        "packages": dict.fromkeys(PACKAGES, "1"),
        "wheels": {**WHEELS, "numpy": importlib.metadata.version("numpy")},
        "processor": _pi_digest(),
    }
    root.mkdir(exist_ok=True)
    (root / MANIFEST).write_text(json.dumps({**told, **changes}), encoding="utf-8")
    return root


@pytest.fixture
def no_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have apt know no source of packages, as on a machine that is not set up; skip where there is no apt or QEMU."""
    for name in ("apt-get", "dpkg", "qemu-aarch64"):
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}")
    config = tmp_path / "apt.conf"
    config.write_text('Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "/dev/null";', encoding="ascii")
    monkeypatch.setenv("APT_CONFIG", str(config))


def test_a_finished_userland_is_left_as_it_is(tmp_path: Path) -> None:
    root = described(tmp_path / "root")
    said: list[str] = []

    found = build_userland(root, log=said.append)

    assert found == open_userland(root)
    assert said == [f"the userland is there: {root}"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["root"]


def test_every_version_changes_the_digest(tmp_path: Path) -> None:
    one = open_userland(described(tmp_path / "one"))
    other = open_userland(described(tmp_path / "other", packages={**dict.fromkeys(PACKAGES, "1"), "libc6": "2"}))

    assert one.digest != other.digest


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 9}', '{"schema": 1, "packages": 3, "wheels": {}}', "\0"])
def test_a_damaged_userland_is_refused_with_the_command_that_mends_it(content: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(content, encoding="utf-8")

    with pytest.raises(DeviceError, match="the aarch64 userland is damaged") as caught:
        open_userland(tmp_path)

    assert caught.value.hint == "build it with `python -m edge.bench.arm64_userland`"


def test_a_userland_that_describes_another_processor_is_built_again(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="damaged, got it describes another processor"):
        open_userland(described(tmp_path / "root", processor="another"))


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years", encoding="utf-8")

    with pytest.raises(InputError, match="is there and is no userland"):
        build_userland(tmp_path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_machine_without_qemu_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("apt-get", "dpkg"):
        (tmp_path / name).touch(mode=0o700)

    done = CliRunner().invoke(main, ["--into", str(tmp_path / "root")])

    assert done.exit_code == 4
    assert done.stderr == "error: `qemu-aarch64` is not installed; hint: `apt-get install qemu-user` of Debian 12\n"


def test_apt_that_knows_no_packages_leaves_nothing_behind(no_sources: None, tmp_path: Path) -> None:
    place = tmp_path / "place"

    done = CliRunner().invoke(main, ["--into", str(place / "root")])

    assert done.exit_code == 4
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: apt cannot fetch the arm64 packages, got E: Unable to locate package")
    assert error.endswith("hint: apt must know Debian 12 (bookworm)")
    assert [entry.name for entry in place.iterdir()] == [".root.lock"]


def test_a_failed_rebuild_keeps_the_old_userland(no_sources: None, tmp_path: Path) -> None:
    root = described(tmp_path / "root", wheels={"onnxruntime": "0.1"})
    (tmp_path / ".root.building").mkdir()  # of a build that died

    with pytest.raises(DeviceError):
        build_userland(root)

    assert open_userland(root).wheels == {"onnxruntime": "0.1"}
    assert not (tmp_path / ".root.building").exists()


def test_two_builds_of_one_folder_do_not_mix(no_sources: None, tmp_path: Path) -> None:
    import fcntl  # where there is apt, there is this

    with open(tmp_path / ".root.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(ResourceError, match="another process builds"):
            build_userland(tmp_path / "root")

    assert not (tmp_path / "root").exists()
