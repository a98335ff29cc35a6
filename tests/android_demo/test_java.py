"""The app's plain Java against Python: every golden vector on this machine's JVM, and a check that it can fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from artifacts import BuildError, path_of
from check import CORE, LIGHT, TESTS, compile_java, first_failure
from mutants import JAVA, PYTHON, Fault, copied_library, planted, write_vectors

DEMO = Path(__file__).parents[2] / "android_demo"
pytestmark = pytest.mark.skipif(
    shutil.which("javac") is None, reason="no JDK here: apt-get install openjdk-17-jdk-headless"
)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of freshly written vectors."""
    folder = tmp_path_factory.mktemp("golden")
    _run("golden.py", folder)
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the app's plain Java, compiled, with the checker of vectors."""
    folder = tmp_path_factory.mktemp("java") / "classes"
    return compile_java(folder, [*sorted(CORE.glob("*.java")), TESTS / "Golden.java"])


def test_java_finds_what_python_finds_in_every_vector(golden: Path) -> None:
    done = _run("check.py", "--golden", golden, check=False)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    count = len(json.loads((golden / "cases.json").read_text(encoding="utf-8"))["cases"])
    # JUnit, where its jars are, has a test for each vector and others; else there is one line on them.
    found = re.search(r"OK \((\d+) tests\)|^(\d+) passed, 0 failed$", done.stdout, re.MULTILINE)
    assert found
    assert int(found[1] or 0) > count or int(found[2] or 0) == count


@pytest.mark.parametrize("kind", ["people", "faces", "emotion", "picture", "sound"])
def test_each_decoder_and_preprocessor_has_fifty_vectors(golden: Path, kind: str) -> None:
    cases = json.loads((golden / "cases.json").read_text(encoding="utf-8"))["cases"]

    assert sum(case["kind"] == kind for case in cases) >= 50


def test_java_that_differs_from_python_is_noticed(golden: Path, classes: Path, tmp_path: Path) -> None:
    """Python's side moved by what no tolerance covers: a joint, a score, a box, a decision about a card."""
    cases = json.loads((golden / "cases.json").read_text(encoding="utf-8"))["cases"]
    people = next(case for case in cases if case["kind"] == "people" and case["people"])
    joint = next(point for point in people["people"][0]["keypoints"] if point)
    joint[0] += 1.5 * people["near"]
    face = next(case for case in cases if case["kind"] == "faces" and case["faces"])
    face["faces"][0][4] += 1e-4
    faces = next(case for case in cases if case["kind"] == "faces" and len(case["faces"]) > 2 and case is not face)
    faces["faces"].pop()
    card = next(case for case in cases if case["kind"] == "card" and case["right"])
    card["right"] = False
    changed = [people, face, faces, card]
    (tmp_path / "cases.json").write_text(json.dumps({"schema": 1, "cases": changed}), encoding="utf-8")
    shutil.copy(golden / "cases.bin", tmp_path)

    command = ["java", *LIGHT, "-cp", str(classes), "edge.vision.core.Golden", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stdout.count("FAILED") == len(changed)
    assert "0 passed, 4 failed" in done.stdout


@pytest.mark.parametrize("fault", [*JAVA, *PYTHON], ids=lambda fault: f"{fault.file}: {fault.right}")
def test_each_fault_that_is_planted_at_leisure_still_has_its_place(fault: Fault) -> None:
    assert fault.wrong in planted(fault, CORE if fault in JAVA else DEMO.parent / "runtime")


def test_the_shipped_tflite_counts_its_steps_under_the_name_that_the_app_asks_for(
    classes: Path, tmp_path: Path
) -> None:
    """The method is hidden in a class above the one that the app has, and no compiler looks at its name."""
    engine = (DEMO / "java/edge/vision/app/Engine.java").read_text(encoding="utf-8")
    (name,) = re.findall(r'STEPS = "(\w+)"', engine)
    path = [classes]
    for key in ("tflite", "tflite-api"):
        try:
            aar = path_of(key)
        except BuildError as exc:
            pytest.skip(f"{exc}: {exc.hint}")
        path.append(tmp_path / f"{key}.jar")
        with zipfile.ZipFile(aar) as parts:
            path[-1].write_bytes(parts.read("classes.jar"))
    (tmp_path / "Ask.java").write_text(
        """class Ask {
            public static void main(String[] names) throws Exception {
                Class<?> type = Class.forName("org.tensorflow.lite.Interpreter", false, Ask.class.getClassLoader());
                System.out.print(edge.vision.core.Declared.method(type, names[0]).getReturnType());
            }
        }"""
    )

    command = ["java", *LIGHT, "-cp", os.pathsep.join(map(str, path)), str(tmp_path / "Ask.java"), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == "int", done.stderr[-500:]


def test_a_fault_in_python_is_noticed_by_java(classes: Path, tmp_path: Path) -> None:
    fault = next(fault for fault in PYTHON if fault.file == "emotion.py")
    library = copied_library(tmp_path / "library")
    place = library / "runtime" / fault.file
    place.write_text(planted(fault, place.parent), encoding="utf-8")
    options = ("--parts", fault.part)

    assert first_failure([classes], write_vectors(tmp_path / "right", options=options)) == ""
    assert first_failure([classes], write_vectors(tmp_path / "wrong", library, options)).startswith("FAILED emotion")


def _run(script: str, *arguments: Path | str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check)
