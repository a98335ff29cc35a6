"""The folder layout, the wheel and README keep their promises."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("models", "export", "runtime", "bench")
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = [path for room in ("edge/commands", *ROOMS) for path in (ROOT / room).rglob("*.py")]


def test_every_package_on_disk_is_listed_for_the_wheel() -> None:
    on_disk = {"edge", "edge.commands"}
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            on_disk.add(".".join(("edge", *init.parent.relative_to(ROOT).parts)))

    assert set(CONFIG["tool"]["setuptools"]["packages"]) == on_disk


@pytest.mark.parametrize("room", ROOMS)
def test_the_link_that_type_checkers_follow_is_intact(room: str) -> None:
    link = ROOT / "edge" / room

    if link.is_file():
        pytest.skip("checkout without symlinks (Windows): only type checks need them")
    assert str(link.readlink()) == f"../{room}"


def test_no_module_imports_a_room_by_its_checkout_name() -> None:
    bad = re.compile(rf"^\s*(from|import)\s+({'|'.join(ROOMS)})\b", re.MULTILINE)

    assert [str(path) for path in SOURCES if bad.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [("runtime", "models|export|bench"), ("models", "export|bench"), ("bench", "models|export"), ("export", "bench")],
)
def test_arrows_point_one_way(room: str, forbidden: str) -> None:
    bad = re.compile(rf"^\s*from\s+(\.\.|edge\.)({forbidden})\b", re.MULTILINE)

    offenders = [path.name for path in (ROOT / room).rglob("*.py") if bad.search(path.read_text(encoding="utf-8"))]

    assert offenders == []


def test_importing_the_runtime_pulls_in_no_framework_and_no_engine() -> None:
    code = (
        "import edge.runtime, sys; edge.runtime.Pipeline; "
        "print({'torch', 'onnx', 'tensorflow', 'onnxruntime', 'ai_edge_litert', 'cv2'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "set()"


def test_no_source_uses_what_runs_code_from_data() -> None:
    words = ["weights_only=False", "pickle.load", "allow_pickle=True", "yaml.load(", "shell=True", "os.system"]
    words += ["extractall", "tempfile.mktemp(", "AutoAddPolicy"]

    hits = [(path.name, word) for path in SOURCES for word in words if word in path.read_text(encoding="utf-8")]

    assert hits == []


def test_pins_name_no_address_and_cover_what_is_installed_with_them() -> None:
    text = (ROOT / "requirements" / "pins.txt").read_text(encoding="utf-8")
    pinned = {
        line.split("==")[0].lower().replace("_", "-"): line.split("==")[1] for line in text.splitlines() if "==" in line
    }

    assert "://" not in text
    extras = CONFIG["project"]["optional-dependencies"]
    for requirement in extras["export"] + extras["train"] + extras["eval"]:
        name, version = re.match(r"([\w-]+)(?:==)?([\d.]*)", requirement).groups()  # type: ignore[union-attr]
        assert name.lower() in pinned
        assert not version or pinned[name.lower()] == version


@pytest.mark.slow
def test_the_wheel_holds_every_room_and_no_top_level_models(tmp_path: Path) -> None:
    source = tmp_path / "source"
    # What is tracked, and what is new and not ignored: a package that is listed must be there before it is committed.
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        path = ROOT / name
        if path.is_symlink() or not path.exists():
            continue  # a wheel must not need the links
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(path.read_bytes())
    (source / "models" / "weights").mkdir(exist_ok=True)
    for name in ("made-up.safetensors", "made-up.json"):
        (source / "models" / "weights" / name).write_bytes(b"{}")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()

    assert {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")} == {"edge"}
    assert {"edge/models/weights/made-up.safetensors", "edge/models/weights/made-up.json"} <= set(names)
    for name in files:
        shipped = name.endswith(".py") or name.startswith(("models/weights/", "bench/web/"))
        if name.split("/")[0] in ROOMS and shipped:
            assert f"edge/{name}" in names or not (ROOT / name).exists()
