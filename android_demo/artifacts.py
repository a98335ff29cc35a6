"""The foreign parts of the app's build: pinned by SHA-256, fetched by Maven, kept in the user's cache; and Debian's tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ARTIFACTS", "Artifact", "BuildError", "cache_folder", "fetch", "need_tools", "path_of", "sha256"]

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
# Command and the Debian package that has it.
TOOLS = {
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "keytool": "openjdk-17-jdk-headless",
    "aapt2": "aapt",
    "zipalign": "zipalign",
    "apksigner": "apksigner",
    "dexdump": "dexdump",
    "proguard": "proguard-cli",
}


class BuildError(Exception):
    """The build cannot go on: one line, and perhaps a way out."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file of Maven Central: group, name, version, packaging and perhaps a classifier; and its content's hash."""

    group: str
    name: str
    version: str
    sha256: str
    kind: str = "jar"
    classifier: str = ""

    @property
    def file_name(self) -> str:
        """The name under which Maven keeps it."""
        tail = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{tail}.{self.kind}"


TENSORFLOW, BYTEDECO = "org.tensorflow", "org.bytedeco"
ARTIFACTS = {
    # What goes into the app.
    "tflite": Artifact(
        group=TENSORFLOW,
        name="tensorflow-lite",
        version="2.16.1",
        kind="aar",
        sha256="34b065817e294e7dd3569504e8b9454938ceae453b6a459da54d5f6e45d3c94e",
    ),
    "tflite-api": Artifact(
        group=TENSORFLOW,
        name="tensorflow-lite-api",
        version="2.16.1",
        kind="aar",
        sha256="885b95bc9e47a4aa5cf8e71523aed9b05e397cfef1ea09773f13fea8b649fcee",
    ),
    # What builds it.
    "android": Artifact(
        group="org.robolectric",
        name="android-all",
        version="14-robolectric-10818077",
        sha256="6be2218c6a53fe3c57bc22ebdc723edcb7270a8a6f187545708aa5c0ed813977",
    ),
    "dx": Artifact(
        group="com.jakewharton.android.repackaged",
        name="dalvik-dx",
        version="16.0.1",
        sha256="1e4b645628e3bdb097b5331d669e177ef235a551582a8c646dbe36865e541907",
    ),
    # What tests it.
    "junit": Artifact(
        group="junit",
        name="junit",
        version="4.13.2",
        sha256="8e495b634469d64fb8acfa3495a065cbacc8a0fff55ce1e31007be4c16dc57d3",
    ),
    "hamcrest": Artifact(
        group="org.hamcrest",
        name="hamcrest-core",
        version="1.3",
        sha256="66fdef91e9739348df7a096aa384a5685f4e875584cce89386a7a47251c4d8e9",
    ),
}


def cache_folder() -> Path:
    """Return where fetched files and the debug key are kept."""
    root = os.environ.get("EDGE_ANDROID_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-android"


def path_of(key: str) -> Path:
    """Return the checked file of an artifact.

    Raises:
        BuildError: it is not here, or not what it should be.
    """
    artifact = ARTIFACTS[key]
    path = cache_folder() / artifact.file_name
    if not path.is_file():
        raise BuildError(f"`{artifact.file_name}` is not here", "python android_demo/build.py --fetch")
    found = sha256(path)
    if found != artifact.sha256:
        raise BuildError(
            f"`{path}` is not the pinned file, expected SHA-256 {artifact.sha256}, got {found}",
            "delete it, then: python android_demo/build.py --fetch",
        )
    return path


def fetch() -> None:
    """Fetch what is missing with one run of Maven, and check every file.

    Raises:
        BuildError: Maven is missing or fails, or a file is not the pinned one.
    """
    folder = cache_folder()
    missing = [artifact for artifact in ARTIFACTS.values() if not (folder / artifact.file_name).is_file()]
    if missing:
        if shutil.which("mvn") is None:
            raise BuildError("no mvn found, which fetches the pinned artifacts", "apt-get install maven")
        folder.mkdir(parents=True, exist_ok=True)
        pom = folder / "fetch.xml"
        pom.write_text(_pom(missing), encoding="utf-8")
        command = ["mvn", "-B", "-q", "-f", str(pom), f"{PLUGIN}:copy-dependencies"]
        options = [f"-DoutputDirectory={folder}", "-DexcludeTransitive=true", "-Dmdep.useBaseVersion=true"]
        print(f"fetching {len(missing)} artifacts into {folder}", file=sys.stderr)
        if subprocess.run([*command, *options], check=False, stdout=sys.stderr).returncode:
            raise BuildError("maven cannot fetch the pinned artifacts; it said why above")
    for key in ARTIFACTS:
        path_of(key)


def need_tools() -> None:
    """Check that every tool of the build is here.

    Raises:
        BuildError: names all that are missing, and the one command that installs them.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        raise BuildError(f"the build needs {', '.join(missing)}", f"apt-get install {packages}")


def sha256(path: Path) -> str:
    """Return the hash of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pom(artifacts: list[Artifact]) -> str:
    rows = []
    for item in artifacts:
        classifier = f"<classifier>{item.classifier}</classifier>" if item.classifier else ""
        rows.append(
            f"<dependency><groupId>{item.group}</groupId><artifactId>{item.name}</artifactId>"
            f"<version>{item.version}</version><type>{item.kind}</type>{classifier}</dependency>"
        )
    head = "<project><modelVersion>4.0.0</modelVersion><groupId>edge</groupId><artifactId>fetch</artifactId>"
    return f"{head}<version>1</version><dependencies>{''.join(rows)}</dependencies></project>\n"
