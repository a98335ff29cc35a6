"""Sizes of an install and of wheels, offline."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.bench import footprint
from edge.bench.footprint import GOAL_MB, Installed, Size, held, installed_size, report, text
from edge.bench.wheels import PLATFORMS, WheelCheck, check_wheel, compiled_bytes, platform_tags, wheel_name
from edge.runtime.errors import InputError


def install(site: Path, name: str, version: str, files: dict[str, int]) -> None:
    """Put a distribution into a folder as pip leaves it."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    for file, size in files.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_bytes(b"x" * size)
    record = [*files, f"{info.name}/METADATA", "gone.py"]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in record), encoding="utf-8")


def some_install(engine: str = "litert", size_bytes: int = 200_000_000) -> Installed:
    size = Size(name="big", version="1", files=3, size_bytes=size_bytes, compiled_bytes=50_000_000, test_bytes=0)
    return Installed(
        engine=engine,
        sizes=(size,),
        installers=("pip 23",),
        largest=(("big/lib.so", 9),),
        used_compiled_bytes=4_000_000,
    )


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return folder / name


def test_every_file_of_an_install_counts_but_those_of_the_installer(tmp_path: Path) -> None:
    install(tmp_path, "numpy", "2.0", {"numpy/a.so": 700, "numpy/tests/t.py": 20, "numpy/__pycache__/a.pyc": 5,
                                       "numpy/tests/__pycache__/t.pyc": 7})  # fmt: skip
    install(tmp_path, "small", "1.0", {"small.py": 3})
    install(tmp_path, "pip", "23.2", {"pip/x.py": 10_000})

    found = installed_size(tmp_path, "litert")

    numpy, small = found.sizes
    metadata = (tmp_path / "numpy-2.0.dist-info" / "METADATA").stat().st_size
    assert (numpy.name, numpy.version, numpy.files) == ("numpy", "2.0", 5)
    assert numpy.size_bytes == 732 + metadata
    assert (numpy.compiled_bytes, numpy.test_bytes) == (12, 27)
    assert small.name == "small"
    assert found.installers == ("pip 23.2",)
    assert found.largest[0] == ("numpy/a.so", 700)


def test_an_install_has_a_size_with_without_and_with_the_needed_compiled_files() -> None:
    found = some_install()

    assert (found.total_mb, found.uncompiled_mb, found.used_mb) == (200.0, 150.0, 154.0)


def test_the_goal_is_for_litert_and_a_missing_wheel_holds_nothing() -> None:
    small = some_install(size_bytes=round(GOAL_MB * 1e6))
    there = WheelCheck(name="a", version="1", engine="litert", platform="aarch64", python="3.11", file="a.whl", tag="t")
    missing = WheelCheck(name="a", version="1", engine="litert", platform="aarch64", python="3.11", reason="none")

    assert held([small], [there])
    assert held([some_install("onnxruntime")], [])
    assert not held([some_install()], [])
    assert not held([small], [there, missing])


def test_text_and_json_name_sizes_wheels_and_what_is_missing() -> None:
    found = some_install()
    there = WheelCheck(
        name="big",
        version="1",
        engine="litert",
        platform="aarch64",
        python="3.13",
        file="big.whl",
        tag="cp313-cp313-manylinux_2_27_aarch64",
        zip_bytes=10,
        unpacked_bytes=30_000_000,
        compiled_bytes=5_000_000,
    )
    lost = WheelCheck(name="lost", version="1", engine="litert", platform="aarch64", python="3.13", reason="none")
    wheels = [there, lost]

    shown = text([found], wheels)
    plain = json.loads(json.dumps(report([found], wheels)))

    assert "200.0 MB (over the goal of 130 MB), 150.0 MB by `pip install --no-compile`, 154.0 MB" in shown
    assert "left out: pip 23" in shown
    assert "missing: lost 1; 35.0 MB, 30.0 MB by `pip install --no-compile`, 34.0 MB" in shown
    assert "computed from wheels, not installed" in shown
    assert (plain["schema"], plain["command"], plain["goal_mb"], plain["held"]) == (1, "footprint", GOAL_MB, False)
    assert plain["installs"][0]["used_mb"] == 154.0
    assert plain["wheels"][1]["file"] is None


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("click-8.5.1-py3-none-any.whl", "py3-none-any"),
        ("numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
         "cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64"),
        ("a_b-1.0-2-cp310-abi3-manylinux2014_aarch64.whl", "cp310-abi3-manylinux2014_aarch64"),
    ],
)  # fmt: skip
def test_a_wheels_name_gives_its_tag_with_or_without_a_build_number(name: str, tag: str) -> None:
    assert wheel_name(Path(name)).tag == tag


@pytest.mark.parametrize("name", ["numpy-2.4.6.tar.gz", "numpy.whl", "a-b-c-d-e-f-g.whl"])
def test_what_is_no_wheel_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not a wheel"):
        wheel_name(Path(name))


def test_a_machine_takes_wheels_of_its_glibc_and_older_ones() -> None:
    tags = platform_tags("aarch64", (2, 36))

    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux_2_28_aarch64" in tags
    assert "manylinux_2_37_aarch64" not in tags
    assert "manylinux2014_aarch64" in tags
    assert all(tag.endswith("_aarch64") for tag in tags)


def test_a_wheel_at_hand_is_measured_and_not_downloaded(tmp_path: Path) -> None:
    name = "thing-1.0-cp313-cp313-manylinux_2_28_aarch64.whl"
    made = wheel(tmp_path, name, {"thing/__init__.py": "x = 1\n", "thing/lib.so": "y" * 5000})

    check = check_wheel("thing", "1.0", engine="litert", platform="aarch64", python="3.13", into=tmp_path)

    assert check.file == name
    assert check.tag == "cp313-cp313-manylinux_2_28_aarch64"
    assert check.unpacked_bytes == 5006
    assert check.zip_bytes == made.stat().st_size < 5006
    assert check.compiled_bytes > 16
    assert check.reason == ""


def test_a_python_whose_machine_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3\.99"):
        check_wheel("thing", "1.0", engine="litert", platform="aarch64", python="3.99", into=tmp_path)
    assert set(PLATFORMS["aarch64"]) == {"3.11", "3.13"}


def test_compiled_files_are_as_large_as_those_that_python_writes(tmp_path: Path) -> None:
    import py_compile

    source = "def f(a, b=2):\n    '''Text.'''\n    return [a, b, 'word', 3.5]\n"
    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    made = py_compile.compile(str(tmp_path / "module.py"), cfile=str(tmp_path / "module.pyc"), dfile="m/module.py")
    assert made is not None
    packed = wheel(tmp_path, "m-1-py3-none-any.whl", {"m/module.py": source, "m/bad.py": "def (", "m/data.txt": "1"})

    assert compiled_bytes(packed) == Path(made).stat().st_size


def test_the_command_measures_prints_json_and_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(footprint, "_measured", lambda engine, folder, log: (some_install(engine), tmp_path / "a.whl"))
    runner = CliRunner()

    plain = runner.invoke(footprint.main, ["--json"])
    checked = runner.invoke(footprint.main, ["--check"])
    other = runner.invoke(footprint.main, ["--engine", "onnxruntime", "--check"])

    assert plain.exit_code == 0
    assert json.loads(plain.stdout)["installs"][0]["engine"] == "litert"
    assert checked.exit_code == 3
    assert other.exit_code == 0


def test_a_wheel_is_built_without_caches_and_without_the_links_of_type_checkers(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text("", encoding="utf-8")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real.py")

    left_out = footprint._links_and_caches(str(tmp_path), ["real.py", "__pycache__", "link"])

    assert left_out == {"__pycache__", "link"}
