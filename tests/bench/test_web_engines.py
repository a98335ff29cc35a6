"""Engines of a browser: what npm brings is taken if it is what was pinned, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.bench import web_engines
from edge.bench.web_engines import PACKAGES, WEB_ENGINES, Package, engine_files, fetch
from edge.runtime.errors import DeviceError, MissingExtraError, one_line

CONTENT = b"export const answer = 42;\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


def _archive(path: Path, name: str = "package/dist/a.js", content: bytes = CONTENT) -> Package:
    """Write an archive as npm packs one, and return the package that pins it."""
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return Package(
        name="@some/thing",
        version="1.2.3",
        integrity=base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode(),
        files={"package/dist/a.js": hashlib.sha256(CONTENT).hexdigest()},
    )


def _npm(folder: Path, line: str) -> str:
    """Write a program that stands where npm would, and return its path."""
    path = folder / "npm"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o700)
    return str(path)


def test_a_pinned_package_is_fetched_once_and_only_its_named_files_are_kept(tmp_path: Path) -> None:
    package = _archive(tmp_path / "a.tgz")
    npm = _npm(tmp_path, f'echo "$@" > {tmp_path}/asked; cp {tmp_path}/a.tgz some-thing-1.2.3.tgz')

    place = fetch(package, npm)

    assert [path.name for path in place.iterdir()] == ["a.js"]
    assert (place / "a.js").read_bytes() == CONTENT
    assert (tmp_path / "asked").read_text().split() == ["pack", "@some/thing@1.2.3", "--ignore-scripts", "--silent"]
    assert fetch(package, _npm(tmp_path, "exit 9")) == place
    assert [path.name for path in place.parent.iterdir()] == [place.name]  # no scratch is left


def test_another_archive_than_the_pinned_one_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    package = _archive(tmp_path / "a.tgz")
    _archive(tmp_path / "b.tgz", content=b"stolen()")

    with pytest.raises(DeviceError, match="brought another @some/thing"):
        fetch(package, _npm(tmp_path, f"cp {tmp_path}/b.tgz x.tgz"))

    assert list((tmp_path / "cache" / "web-engines").iterdir()) == []


@pytest.mark.parametrize(("name", "content"), [("package/other.js", CONTENT), ("package/dist/a.js", b"other")])
def test_an_archive_without_the_pinned_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    package = _archive(tmp_path / "a.tgz", name, content)

    with pytest.raises(DeviceError, match=r"lacks `package/dist/a.js`|is not what was pinned"):
        fetch(package, _npm(tmp_path, f"cp {tmp_path}/a.tgz x.tgz"))


@pytest.mark.parametrize("line", ["echo E404 not there >&2; exit 1", "exit 0"])
def test_an_npm_that_fails_is_quoted_in_one_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(DeviceError, match=r"npm did not fetch @some/thing 1\.2\.3, got (E404|no reason)") as failure:
        fetch(_archive(tmp_path / "a.tgz"), _npm(tmp_path, line))

    assert failure.value.exit_code == 4
    assert "\n" not in one_line(failure.value)


def test_a_benchmark_fetches_nothing_and_names_the_command() -> None:
    with pytest.raises(MissingExtraError) as failure:
        engine_files("onnxruntime")

    assert one_line(failure.value).endswith("hint: python -m edge.bench.web_engines")


def test_a_damaged_file_never_reaches_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = _archive(tmp_path / "a.tgz")
    place = fetch(package, _npm(tmp_path, f"cp {tmp_path}/a.tgz x.tgz"))
    engines = {"onnxruntime": ("x", "1", {"engine/a.js": (package, "package/dist/a.js")})}
    monkeypatch.setattr(web_engines, "WEB_ENGINES", engines)
    assert engine_files("onnxruntime") == {"engine/a.js": CONTENT}

    (place / "a.js").write_bytes(CONTENT + b" ")

    with pytest.raises(DeviceError, match="damaged"):
        engine_files("onnxruntime")


def test_the_command_that_only_looks_says_what_is_missing() -> None:
    answer = CliRunner().invoke(web_engines.main, ["--check"])

    assert answer.exit_code == 2
    assert answer.stderr.startswith("error: the browser's engine onnxruntime-web")


def test_every_pin_is_a_hash_and_every_file_of_an_engine_is_pinned() -> None:
    for package in PACKAGES:
        assert len(base64.b64decode(package.integrity, validate=True)) == 64
        assert all(len(bytes.fromhex(digest)) == 32 for digest in package.files.values())
    assert all(path in package.files for _, _, files in WEB_ENGINES.values() for package, path in files.values())
