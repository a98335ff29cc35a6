"""The foreign parts of the app's build, pinned by SHA-256 and fetched by Maven into a cache; and Debian's tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ARTIFACTS",
    "FRAMEWORK",
    "Artifact",
    "BuildError",
    "cache_folder",
    "fetch",
    "maven_repository",
    "need_tools",
    "path_of",
    "sha256",
]

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
# Resources of Android 10: Debian's aapt2 dies of newer ones, and the app names none that came later.
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")


class BuildError(Exception):
    """The build cannot go on: one line, and perhaps a way out."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file of Maven Central: group, name, version and packaging; and its content's hash."""

    group: str
    name: str
    version: str
    sha256: str
    kind: str = "jar"
    platform: str = ""  # of native code, as Maven's classifier names it

    @property
    def file_name(self) -> str:
        """The name under which Maven keeps it."""
        return f"{self.name}-{self.version}{self.platform and '-' + self.platform}.{self.kind}"

    @property
    def in_maven(self) -> Path:
        """Where Maven's local repository has it."""
        return maven_repository().joinpath(*self.group.split("."), self.name, self.version, self.file_name)


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
    # TFLite on this machine's JVM, for the stand-in of a phone.
    "tflite-jvm": Artifact(
        group=BYTEDECO,
        name="tensorflow-lite",
        version="2.19.0-1.5.12",
        sha256="5c4ff7db40a94c44e111ff4245681f0f2170886b0e11000b9e4228978f4090d2",
    ),
    "tflite-jvm-native": Artifact(
        group=BYTEDECO,
        name="tensorflow-lite",
        version="2.19.0-1.5.12",
        platform="linux-x86_64",
        sha256="5c02ff25114b4f69d0b79473135f3bb731f8ff4dd5cc5e1d0595e501c867071a",
    ),
    "javacpp": Artifact(
        group=BYTEDECO,
        name="javacpp",
        version="1.5.12",
        sha256="898f636c1fcb092c3810587ed847b033946799bb56eefec9d4c088a780bf36fe",
    ),
    "javacpp-native": Artifact(
        group=BYTEDECO,
        name="javacpp",
        version="1.5.12",
        platform="linux-x86_64",
        sha256="b20c8f1b5da22b0015faad73500130c53544757eab0c5945c8bcdc1fac050714",
    ),
}


def cache_folder() -> Path:
    """Return where fetched files and the debug key are kept."""
    root = os.environ.get("EDGE_ANDROID_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-android"


def maven_repository() -> Path:
    """Return Maven's local repository."""
    root = os.environ.get("EDGE_MAVEN_REPOSITORY")
    return Path(root) if root else Path.home() / ".m2" / "repository"


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


def fetch(keys: Iterable[str] = ARTIFACTS) -> None:
    """Fetch what is missing through Maven's local repository, and check every file.

    Args:
        keys: of the artifacts; default: all.

    Raises:
        BuildError: Maven is missing or fails, or a file is not the pinned one.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    for key in keys:
        artifact = ARTIFACTS[key]
        target = cache_folder() / artifact.file_name
        if not target.is_file():
            if not artifact.in_maven.is_file():
                _get(artifact)
            part = target.with_name(target.name + ".part")
            shutil.copyfile(artifact.in_maven, part)
            os.replace(part, target)
        path_of(key)


def need_tools() -> None:
    """Check that every tool of the build is here.

    Raises:
        BuildError: names all that are missing, and the one command that installs them.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    needed = {TOOLS[tool] for tool in missing}
    if not FRAMEWORK.is_file():
        missing.append(FRAMEWORK.name)
        needed.add("android-framework-res")
    if missing:
        packages = " ".join(sorted(needed))
        raise BuildError(f"the build needs {', '.join(missing)}", f"apt-get install {packages}")


def sha256(path: Path) -> str:
    """Return the hash of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _get(artifact: Artifact) -> None:
    if shutil.which("mvn") is None:
        raise BuildError("no mvn found, which fetches the pinned artifacts", "apt-get install maven")
    print(f"fetching {artifact.file_name}", file=sys.stderr)
    name = f"{artifact.group}:{artifact.name}:{artifact.version}:{artifact.kind}"
    name += artifact.platform and f":{artifact.platform}"
    command = ["mvn", "-B", "-q", "dependency:get", f"-Dartifact={name}", "-Dtransitive=false"]
    if "EDGE_MAVEN_REPOSITORY" in os.environ:
        command.append(f"-Dmaven.repo.local={maven_repository().resolve()}")
    done = subprocess.run(command, check=False, stdout=sys.stderr)
    if done.returncode or not artifact.in_maven.is_file():
        raise BuildError(f"maven cannot fetch `{artifact.file_name}`; it said why above")
