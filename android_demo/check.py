"""Check the app's plain Java against Python on this machine's JVM; needs a JDK, no Android and no network.

python android_demo/check.py                     golden vectors, and the JUnit tests where JUnit's jars are
python android_demo/check.py --mutants           plants faults in the Java: each must be noticed
python android_demo/check.py --speed MODEL...    times preprocessing and decoding of .tflite files
python android_demo/check.py --classes JAR       checks those compiled classes, e.g. from the shipped dex
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE / "java" / "edge" / "vision" / "core"
TESTS = HERE / "test" / "edge" / "vision" / "core"
JAVAC = ["javac", "-Xlint:all,-options", "-Werror", "--release", "8", "-encoding", "UTF-8"]
LIGHT = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]  # for runs of a few seconds
JUNIT = (("junit4.jar", "junit-4.13.2.jar"), ("hamcrest-core.jar", "hamcrest-core-1.3.jar"))

# File, what stands there, and the fault in its place: one for each rule that a port gets wrong easily.
MUTANTS = (
    ("Peaks.java", "theirs == own && side >= 2", "theirs == own && side >= 1"),
    ("Peaks.java", "Float.compare(b.height, a.height)", "Float.compare(a.height, b.height)"),
    ("Peaks.java", "value - lower > FLAT * value", "value - lower > 100 * FLAT * value"),
    ("Limbs.java", ": Float.compare(a.length, b.length)", ": Float.compare(b.length, a.length)"),
    ("Limbs.java", "along > threshold", "along >= threshold - 0.01f"),
    ("People.java", "entry.count++;", "entry.count += 2;"),
    ("People.java", "if (entry.joints[startPart] == ABSENT) {", "if (entry.joints[startPart] != ABSENT) {"),
    ("Nms.java", "<= limit; //", "< limit - 1e-3f; //"),
    ("Nms.java", "-> Float.compare(scores[b]", "-> scores[b] == scores[a] ? b - a : Float.compare(scores[b]"),
    ("FaceDecoder.java", "- size / 2;", "- size / 2.01f;"),
    ("FaceDecoder.java", "(column + 0.5)", "(column + 0.4)"),
    ("PoseDecoder.java", "(peak.x + 0.5) * scaleX", "peak.x * scaleX"),
    ("Resize.java", "+ 2) >> 2);", "+ 1) >> 2);"),
    ("Resize.java", "CUBIC_A = -0.75", "CUBIC_A = -0.5"),
    ("Preprocessor.java", "rest == below && low % 2 == 1", "rest == below"),
    ("Mel.java", "Math.PI * i / spec.fft)", "Math.PI * i / (spec.fft - 1))"),
    ("SoundPreprocessor.java", "RESAMPLE_MARGIN = 0.05", "RESAMPLE_MARGIN = 0.0"),
    ("Result.java", 'valence >= 0 ? "calm" : "sad"', 'valence > 0.1 ? "calm" : "sad"'),
    ("Table.java", "throw new Refusal(\"`\" + path + \"` has an unknown key `\" + key + \"`\");", "return;"),
)  # fmt: skip


def main() -> int:
    """Run what the command line asks for; 0 if all is well, 1 if a check fails, 2 without a JDK."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", action="store_true", help="plant faults, each of which must be noticed")
    parser.add_argument("--speed", type=Path, nargs="+", metavar="MODEL", help="time these .tflite files")
    parser.add_argument("--apk", type=Path, help="check the classes of this app, not the source")
    parser.add_argument("--golden", type=Path, help="vectors that golden.py wrote; default: written now")
    given = parser.parse_args()
    wanted = ["java", "javac", *(["enjarify"] if given.apk else [])]
    missing = [tool for tool in wanted if shutil.which(tool) is None]
    if missing:
        print(f"error: no {' and no '.join(missing)} found, expected a JDK of 11 or newer", file=sys.stderr)
        print("hint: apt-get install openjdk-17-jdk-headless enjarify", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="edge-java-") as name:
        folder = Path(name)
        golden = given.golden or write_vectors(folder / "golden", given.speed or [])
        if given.mutants:
            return check_mutants(folder, golden)
        classes = [compile_core(folder / "classes")]
        tests = [TESTS / "Golden.java", TESTS / "Speed.java"]
        classes.append(compile_java(folder / "tests", tests, classes))
        if given.speed:
            return run_java(classes, "edge.vision.core.Speed", golden, *given.speed)
        if given.apk:  # tests are compiled against the source, as a dex forgets which classes are nested
            return run_java([recovered(folder, given.apk), classes[1]], "edge.vision.core.Golden", golden)
        status = run_java(classes, "edge.vision.core.Golden", golden)
        jars = junit_jars()
        if not jars:
            print("JUnit's jars are not here: its tests are left out (hint: python android_demo/build.py --fetch)")
            return status
        return status or run_junit(folder, golden, classes, jars)


def write_vectors(folder: Path, models: list[Path]) -> Path:
    """Write the golden vectors, the cards of some model files among them, and return their folder."""
    command = [sys.executable, str(HERE / "golden.py"), str(folder)]
    for model in models:
        command += ["--model", str(model)]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
    return folder


def compile_core(out: Path) -> Path:
    """Compile the app's plain Java and return the folder."""
    return compile_java(out, sorted(CORE.glob("*.java")))


def recovered(folder: Path, apk: Path) -> Path:
    """Return a JAR of the classes in an app's dex."""
    with zipfile.ZipFile(apk) as parts:
        (folder / "classes.dex").write_bytes(parts.read("classes.dex"))
    jar = folder / "recovered.jar"
    # Debian's script calls `python3` and needs Debian's own.
    own = {**os.environ, "PATH": os.pathsep.join(("/usr/bin", os.environ["PATH"]))}
    subprocess.run(["enjarify", str(folder / "classes.dex"), "-o", str(jar)], check=True, stdout=sys.stderr, env=own)
    return jar


def compile_java(out: Path, sources: list[Path], classpath: list[Path] | None = None) -> Path:
    """Compile Java 8 sources into a folder, every warning an error, and return it."""
    out.mkdir(parents=True)
    path = ["-cp", os.pathsep.join(map(str, classpath))] if classpath else []
    subprocess.run([*JAVAC, *path, "-d", str(out), *map(str, sources)], check=True)
    return out


def run_java(classpath: list[Path], program: str, *arguments: Path | str, properties: tuple[str, ...] = ()) -> int:
    """Run a class with a `main` and return its exit status."""
    path = os.pathsep.join(map(str, classpath))
    command = ["java", "-Xmx1g", "-XX:+UseSerialGC", *properties, "-cp", path, program, *map(str, arguments)]
    return subprocess.run(command, check=False).returncode


def junit_jars() -> list[Path]:
    """Return JUnit and what it needs, from Debian's package or where `build.py --fetch` put them; empty if not here."""
    from artifacts import cache_folder

    found = []
    for debian, central in JUNIT:
        places = (Path("/usr/share/java") / debian, cache_folder() / central)
        found += [next((place for place in places if place.is_file()), None)]
    return [jar for jar in found if jar is not None] if None not in found else []


def run_junit(folder: Path, golden: Path, classes: list[Path], jars: list[Path]) -> int:
    """Run every `*Test` under JUnit."""
    sources = sorted((HERE / "test").rglob("*Test.java"))
    tests = compile_java(folder / "junit", sources, [*classes, *jars])
    names = [".".join(path.relative_to(HERE / "test").with_suffix("").parts) for path in sources]
    path = [*classes, tests, *jars]
    return run_java(path, "org.junit.runner.JUnitCore", *names, properties=(f"-Dedge.golden={golden}",))


def check_mutants(folder: Path, golden: Path) -> int:
    """Plant each fault by itself and return 1 if the vectors do not notice one."""
    sound = compile_java(folder / "classes", [*sorted(CORE.glob("*.java")), TESTS / "Golden.java"])
    unnoticed = 0
    for number, (name, right, wrong) in enumerate(MUTANTS):
        text = (CORE / name).read_text(encoding="utf-8")
        if text.count(right) != 1:
            raise SystemExit(f"error: {name} has {text.count(right)} times `{right}`, expected one to plant a fault in")
        source = folder / f"mutant-{number}" / name
        source.parent.mkdir()
        source.write_text(text.replace(right, wrong), encoding="utf-8")
        mutant = compile_java(source.parent / "classes", [source], [sound])
        path = os.pathsep.join(map(str, (mutant, sound)))
        command = ["java", *LIGHT, "-Dedge.first=true", "-cp", path, "edge.vision.core.Golden", str(golden)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        first = (done.stdout.strip().splitlines() or [done.stderr[:80]])[0]
        unnoticed += done.returncode == 0
        verdict = "MISSED " if done.returncode == 0 else "noticed"
        print(f"{verdict} {name}: `{right}` -> `{wrong}` ({first[:120]})", flush=True)
    print(f"{len(MUTANTS) - unnoticed} of {len(MUTANTS)} planted faults noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    raise SystemExit(main())
