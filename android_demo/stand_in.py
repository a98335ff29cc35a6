"""Build the app's harness for this machine's JVM: what `edge.bench.loopback_android` runs in the app's place.

    python android_demo/stand_in.py INTO      INTO/classes and INTO/jars

The classes are the app's own plain Java, and a few of `stand_in/` in place of what Android gives; the jars are TFLite
for the JVM, of Maven Central and pinned by SHA-256 as all that the app is built of.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from artifacts import BuildError, fetch, path_of

HERE = Path(__file__).resolve().parent
JARS = ("tflite-jvm", "tflite-jvm-native", "javacpp", "javacpp-native")
JAVAC = (
    "javac",
    "--release",
    "8",
    "-Xlint:all,-options,-path,-classfile",
    "-Werror",
    "-proc:none",
    "-encoding",
    "UTF-8",
)


def main() -> int:
    """Run the command line; 0 when the classes and jars are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("into", type=Path, help="folder for them; what is in it is replaced")
    into = parser.parse_args().into
    try:
        if shutil.which("javac") is None:
            raise BuildError("no javac found", "apt-get install openjdk-17-jdk-headless")
        fetch(JARS)
        build(into)
        return 0
    except BuildError as exc:
        print(f"error: {exc}" + (f"; hint: {exc.hint}" if exc.hint else ""), file=sys.stderr)
    except subprocess.CalledProcessError as exc:
        print(f"error: {exc.cmd[0]} ended with status {exc.returncode}; it said why above", file=sys.stderr)
    return 1


def build(into: Path) -> None:
    """Copy the jars and compile the classes."""
    shutil.rmtree(into, ignore_errors=True)
    jars = into / "jars"
    jars.mkdir(parents=True)
    for key in JARS:
        shutil.copy(path_of(key), jars)
    sources = [*sorted((HERE / "java/edge/vision/core").glob("*.java")), *sorted((HERE / "stand_in").rglob("*.java"))]
    path = os.pathsep.join(map(str, sorted(jars.glob("*.jar"))))
    classes = into / "classes"
    classes.mkdir()
    subprocess.run([*JAVAC, "-cp", path, "-d", str(classes), *map(str, sources)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
