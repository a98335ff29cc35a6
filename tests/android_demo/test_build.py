"""The app's two builds agree, its manifest asks for no network, and what is foreign is pinned."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

DEMO = Path(__file__).parents[2] / "android_demo"
ANDROID = "{http://schemas.android.com/apk/res/android}"
FACTS = dict(
    line.split("=", 1)
    for line in (DEMO / "app.properties").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)


def test_gradle_reads_every_fact_and_repeats_none() -> None:
    text = (DEMO / "build.gradle.kts").read_text(encoding="utf-8")
    code = "\n".join(line.split("//")[0] for line in text.splitlines())

    assert {key for key in FACTS if f'fact("{key}")' not in code} == set()
    literals = set(re.findall(r"[\w.\-]+", re.sub(r'fact\("\w+"\)', "", code)))
    assert literals & {value for text in FACTS.values() for value in text.split(",") if len(value) > 1} == set()


def test_the_build_script_repeats_no_fact_either() -> None:
    text = (DEMO / "build.py").read_text(encoding="utf-8")

    assert [value for key, value in FACTS.items() if len(value) > 2 and f'"{value}"' in text] == []


def test_the_packed_tflite_is_the_version_that_is_named() -> None:
    text = (DEMO / "artifacts.py").read_text(encoding="utf-8")
    versions = re.findall(r'name="tensorflow-lite[\w-]*",\s+version="([\d.]+)"', text)

    assert len(versions) == 2
    assert set(versions) == {FACTS["tflite_version"]}


def test_every_artifact_is_pinned_by_its_hash() -> None:
    text = (DEMO / "artifacts.py").read_text(encoding="utf-8")

    assert text.count("Artifact(\n") == len(re.findall(r'sha256="[0-9a-f]{64}"', text)) > 5


def test_the_manifest_asks_for_camera_and_microphone_only() -> None:
    root = ET.parse(DEMO / "AndroidManifest.xml").getroot()

    asked = {item.attrib[f"{ANDROID}name"] for item in root.iter("uses-permission")}
    assert asked == {"android.permission.CAMERA", "android.permission.RECORD_AUDIO"}
    features = [item.attrib[f"{ANDROID}required"] for item in root.iter("uses-feature")]
    assert features == ["false", "false"]  # a device without either can have the app


def test_every_string_that_the_screens_name_exists() -> None:
    names = {item.attrib["name"] for item in ET.parse(DEMO / "res" / "values" / "strings.xml").getroot()}
    used = set()
    for path in DEMO.glob("java/edge/vision/app/*.java"):
        used |= set(re.findall(r"\bR\.string\.(\w+)", path.read_text(encoding="utf-8")))

    assert used - names == set()


def test_decoders_know_no_android() -> None:
    sources = list((DEMO / "java" / "edge" / "vision" / "core").glob("*.java"))

    assert len(sources) > 20
    assert [path.name for path in sources if "import android" in path.read_text(encoding="utf-8")] == []


def test_a_build_without_its_tools_says_in_one_line_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO / "build.py")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": str(tmp_path), "PYTHONPATH": str(DEMO.parent)}
    )

    assert done.returncode == 1
    error, hint = done.stderr.strip().splitlines()
    assert error.startswith("error: the build needs java, javac,")
    assert hint.startswith("hint: apt-get install aapt ")
    assert hint.endswith("openjdk-17-jdk-headless proguard-cli zipalign")
