"""Check the app's plain Java against Python on this machine's JVM; needs a JDK, no Android and no network.

python android_demo/check.py                     golden vectors, and the JUnit tests where JUnit's jars are
python android_demo/check.py --apk APK           the same on the classes of that app, recovered from its dex
python android_demo/check.py --mutants           plants faults in Java and in Python: each must be noticed
python android_demo/check.py --speed MODEL...    times preprocessing and decoding of .tflite files
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

from artifacts import cache_folder
from mutants import JAVA, PYTHON, copied_library, planted, write_vectors

HERE = Path(__file__).resolve().parent
CORE = HERE / "java" / "edge" / "vision" / "core"
TESTS = HERE / "test" / "edge" / "vision" / "core"
JAVAC = ["javac", "-Xlint:all,-options", "-Werror", "--release", "8", "-encoding", "UTF-8"]
LIGHT = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]  # for runs of a few seconds
JUNIT = (("junit4.jar", "junit-4.13.2.jar"), ("hamcrest-core.jar", "hamcrest-core-1.3.jar"))


def main() -> int:
    """Run what the command line asks for; 0: all is well, 1: a check fails, 2: no JDK, or no such file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", action="store_true", help="plant faults, each of which must be noticed")
    parser.add_argument("--speed", type=Path, nargs="+", metavar="MODEL", help="time these .tflite files")
    parser.add_argument("--readme", type=Path, help="write the times into this file's section `speed`, too")
    parser.add_argument("--apk", type=Path, help="check the classes of this app, not the source")
    parser.add_argument("--golden", type=Path, help="vectors that golden.py wrote; default: written now")
    given = parser.parse_args()
    wanted = ["java", "javac", *(["enjarify"] if given.apk else [])]
    missing = [tool for tool in wanted if shutil.which(tool) is None]
    if missing:
        print(f"error: no {' and no '.join(missing)} found, expected a JDK of 11 or newer", file=sys.stderr)
        print("hint: apt-get install openjdk-17-jdk-headless enjarify", file=sys.stderr)
        return 2
    for path in [*(given.speed or []), *([given.apk] if given.apk else [])]:
        if not path.is_file():
            print(f"error: no file `{path}`", file=sys.stderr)
            return 2
    if given.golden and not given.golden.is_dir():
        print(f"error: no folder `{given.golden}` (hint: python android_demo/golden.py FOLDER)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="edge-java-") as name:
        folder = Path(name)
        if given.mutants:
            return check_mutants(folder)
        models = [word for model in given.speed or [] for word in ("--model", str(model))]
        golden = given.golden or write_vectors(folder / "golden", options=tuple(models))
        core = compile_core(folder / "classes")
        helpers = [path for path in sorted(TESTS.glob("*.java")) if not path.stem.endswith("Test")]
        tests = compile_java(folder / "tests", helpers, [core])
        if given.speed:
            return measure([core, tests], golden, given.speed, given.readme)
        # Tests are compiled against the source, as a dex forgets which classes are nested.
        checked = [recovered(folder, given.apk) if given.apk else core, tests]
        jars = junit_jars()
        if not jars:
            print("JUnit's jars are not here: its tests are left out (hint: python android_demo/build.py --fetch)")
            return run_java(checked, "edge.vision.core.Golden", golden)
        return run_junit(folder, golden, checked, [core, tests, *jars])


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


def measure(classpath: list[Path], golden: Path, models: list[Path], readme: Path | None) -> int:
    """Time preprocessing and decoding of some models, print it, and put the table into a file if asked."""
    command = ["java", "-Xmx1g", "-XX:+UseSerialGC", "-cp", os.pathsep.join(map(str, classpath))]
    command += ["edge.vision.core.Speed", str(golden), *map(str, models)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    if done.returncode == 0 and readme is not None:
        from edge.export.readme import replace_section
        from edge.runtime.files import write_whole

        text = replace_section(readme.read_text(encoding="utf-8"), "speed", speed_table(done.stdout))
        write_whole(readme, text.encode())
    return done.returncode


def speed_table(lines: str) -> str:
    """Return what `Speed` printed as a Markdown table, and a line on the machine."""
    from edge.bench.environment import environment

    rows = [[cell.strip() for cell in line.split(",")] for line in lines.splitlines()[1:]]
    table = ["| model | what | p50 ms | p90 ms |", "| --- | --- | ---: | ---: |"]
    table += [f"| `{row[0]}` | {', '.join(row[1:-2])} | {row[-2]} | {row[-1]} |" for row in rows if row[1] != "finds"]
    found = {row[0]: row[2] for row in rows if row[1] == "finds"}
    facts = environment()
    version = subprocess.run(["java", "-version"], check=True, stderr=subprocess.PIPE, text=True).stderr
    table += [
        "",
        f"Processor time of one thread on {facts['cpu']}, {version.splitlines()[0].replace(chr(34), '')}, "
        f"load {os.getloadavg()[0]:.1f}. Pictures are 640 x 480; decoded are the golden vectors in which "
        f"most is found ({', '.join(f'{count} in `{name}`' for name, count in found.items())}).",
    ]
    return "\n".join(table)


def junit_jars() -> list[Path]:
    """Return JUnit and what it needs, from Debian's package or where `build.py --fetch` put them; empty if not here."""
    found = []
    for debian, central in JUNIT:
        places = (Path("/usr/share/java") / debian, cache_folder() / central)
        found += [next((place for place in places if place.is_file()), None)]
    return [jar for jar in found if jar is not None] if None not in found else []


def run_junit(folder: Path, golden: Path, checked: list[Path], compiled: list[Path]) -> int:
    """Run every `*Test` under JUnit: each golden vector is a test, and so are rotations, overlays and live sound."""
    sources = sorted((HERE / "test").rglob("*Test.java"))
    tests = compile_java(folder / "junit", sources, compiled)
    names = [".".join(path.relative_to(HERE / "test").with_suffix("").parts) for path in sources]
    path = [*checked, tests, *compiled[2:]]
    properties = (f"-Dedge.golden={golden}", "-Djava.awt.headless=true")
    return run_java(path, "org.junit.runner.JUnitCore", *names, properties=properties)


def check_mutants(folder: Path) -> int:
    """Plant each fault by itself and return 1 if the vectors do not notice one."""
    sound = compile_java(folder / "classes", [*sorted(CORE.glob("*.java")), TESTS / "Golden.java"])
    golden = {part: folder / f"golden-{part}" for part in {fault.part for fault in JAVA}}
    for part, place in sorted(golden.items()):
        write_vectors(place, options=("--parts", part))
        if first_failure([sound], place):
            raise SystemExit("error: the vectors fail without a fault planted: python android_demo/check.py")
    unnoticed = 0
    for number, fault in enumerate(JAVA):
        source = folder / f"mutant-{number}" / fault.file
        source.parent.mkdir()
        source.write_text(planted(fault, CORE), encoding="utf-8")
        mutant = compile_java(source.parent / "classes", [source], [sound])
        unnoticed += _told(fault.file, fault.right, fault.wrong, first_failure([mutant, sound], golden[fault.part]))
    library = copied_library(folder / "library")
    for number, fault in enumerate(PYTHON):
        place = library / "runtime" / fault.file
        right = place.read_text(encoding="utf-8")
        place.write_text(planted(fault, place.parent), encoding="utf-8")
        vectors = write_vectors(folder / f"golden-{number}", library, ("--parts", fault.part))
        place.write_text(right, encoding="utf-8")
        unnoticed += _told(fault.file, fault.right, fault.wrong, first_failure([sound], vectors))
    total = len(JAVA) + len(PYTHON)
    print(f"{total - unnoticed} of {total} planted faults noticed")
    return 1 if unnoticed else 0


def first_failure(classpath: list[Path], golden: Path) -> str:
    """Return what the first vector that fails says; empty where all hold."""
    path = os.pathsep.join(map(str, classpath))
    command = ["java", *LIGHT, "-Dedge.first=true", "-cp", path, "edge.vision.core.Golden", str(golden)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout.strip().splitlines() or [done.stderr[:80]])[0]


def _told(file: str, right: str, wrong: str, failure: str) -> bool:
    """Print a fault's fate, and return whether it went unnoticed."""
    print(f"{'noticed' if failure else 'MISSED '} {file}: `{right}` -> `{wrong}` ({failure[:120]})", flush=True)
    return not failure


if __name__ == "__main__":
    raise SystemExit(main())
