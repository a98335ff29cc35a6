"""Build the demo app into a signed APK, without Gradle and Android Studio: `python android_demo/build.py`.

Needs a JDK, Debian's Android tools and files of Maven Central that are pinned by SHA-256 (`--fetch`). Models come from
bundles that `edge export --target tflite` wrote, and are first run on the TFLite version that the app ships
(`--fetch-runtime`, once). The same inputs and key give the same bytes.

    python android_demo/build.py --from-scratch               fetches, exports the students, and builds
    python android_demo/build.py --fetch --fetch-runtime      only fetches: once
    python android_demo/build.py                              build/android/edge-demo.apk
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import wave
import zipfile
from pathlib import Path

import numpy as np
from app_models import PICTURE_HW, SEEDS, accept, choose_models, fetch_runtime, runtime_python
from artifacts import ARTIFACTS, FRAMEWORK, BuildError, cache_folder, fetch, need_tools, path_of, sha256
from PIL import Image

from edge.models.data.synthetic import synthetic_clips, synthetic_images
from edge.runtime.card import AudioSpec
from edge.runtime.errors import EdgeError, one_line

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "android"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry: the oldest time that a zip file can hold
PAGE = 16384  # largest memory page of an Android device: native libraries start on one in the package
DEBUG_KEY = ("debug.keystore", "androiddebugkey", "android")
# Only lambdas are back-ported; dx looks at no stack maps, so that none are made.
PROGUARD = (
    "-dontshrink -dontoptimize -dontobfuscate -dontpreverify -dontnote -ignorewarnings -target 1.7 -keepattributes *"
)
JAVA_8 = (52).to_bytes(2, "big")  # a class file's version


def main() -> int:
    """Run the command line; 0 when the app is built and verified."""
    given = _arguments()
    facts = read_facts()
    try:
        if given.from_scratch is not None:
            need_tools()  # before long work
        if given.fetch or given.from_scratch is not None:
            fetch()
        if given.fetch_runtime or (given.from_scratch is not None and not given.unchecked_models):
            fetch_runtime(facts["tflite_version"])
        if given.from_scratch is not None:
            export(given.from_scratch, given.precision, given.bundles)
        elif given.fetch or given.fetch_runtime:
            return 0
        if not given.assets:
            need_tools()
        models = choose_models(given.bundles, given.precision.split(","), given.largest)
        if not given.unchecked_models:
            check_models(models, given.tflite_python, facts)
        with tempfile.TemporaryDirectory(prefix="edge-apk-") as name:
            assets = lay_assets(Path(name) / "assets", models)
            if given.assets:
                shutil.copytree(assets, OUT / "assets", dirs_exist_ok=True)
                print(f"assets for Android Studio in {OUT / 'assets'}")
                return 0
            build(Path(name), facts, assets, given)
        return 0
    except BuildError as exc:
        print(f"error: {exc}", file=sys.stderr)
        if exc.hint:
            print(f"hint: {exc.hint}", file=sys.stderr)
    except EdgeError as exc:
        print(f"error: {one_line(exc)}", file=sys.stderr)
    except subprocess.CalledProcessError as exc:
        print(f"error: {exc.cmd[0]} ended with status {exc.returncode}; it said why above", file=sys.stderr)
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--from-scratch",
        nargs="*",
        metavar="NAME",
        help="first fetch what is missing and export these students (default: all, which takes long) into --bundles",
    )
    parser.add_argument("--fetch", action="store_true", help="fetch the pinned artifacts and end")
    parser.add_argument("--fetch-runtime", action="store_true", help="install the app's TFLite for Python and end")
    parser.add_argument("--bundles", type=Path, default=HERE.parent / "edge-out", help="default: edge-out")
    parser.add_argument("--precision", default="int8", help="files to take, such as int8,fp32; default: int8")
    parser.add_argument("--largest", type=int, default=2_000_000, metavar="BYTES", help="default: 2,000,000")
    parser.add_argument("--out", type=Path, default=OUT / "edge-demo.apk", help="default: build/android/edge-demo.apk")
    parser.add_argument("--key", type=Path, help="keystore to sign with; default: a debug key, made once")
    parser.add_argument("--key-alias", default="key", help="default: key")
    parser.add_argument("--key-pass", default="env:EDGE_KEY_PASS", help="as apksigner takes it; default: that variable")
    parser.add_argument("--tflite-python", type=Path, help="interpreter with the app's TFLite; default: fetched")
    parser.add_argument("--unchecked-models", action="store_true", help="do not run the models on the app's TFLite")
    parser.add_argument("--assets", action="store_true", help="only lay models and samples out for Android Studio")
    return parser.parse_args()


def read_facts() -> dict[str, str]:
    """Return app.properties."""
    lines = (HERE / "app.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def export(names: list[str], precision: str, bundles: Path) -> None:
    """Export students into bundles, by `edge export`.

    Args:
        names: of the students; none: all.
        precision: such as "int8,fp32".
        bundles: the folder of bundles.

    Raises:
        subprocess.CalledProcessError: the export failed.
    """
    words = ["--target", "tflite", "--precision", precision, "--output", str(bundles)]
    _run(sys.executable, "-m", "edge", "export", *names, *words)


def check_models(models: list[Path], given: Path | None, facts: dict[str, str]) -> None:
    """Print how each model fares on the app's TFLite.

    Raises:
        BuildError: that TFLite is not here, or refuses a model.
    """
    python = given or runtime_python()
    if not python.is_file():
        raise BuildError(
            f"TFLite {facts['tflite_version']} for Python, which proves the models, is not here",
            "python android_demo/build.py --fetch-runtime, or pass --unchecked-models",
        )
    for line in accept(models, python, facts["tflite_version"]):
        print(line, flush=True)


def lay_assets(folder: Path, models: list[Path]) -> Path:
    """Lay out models and synthetic samples, and return the folder."""
    (folder / "models").mkdir(parents=True)
    (folder / "samples").mkdir()
    for path in models:
        shutil.copyfile(path, folder / "models" / path.name)
    for family in ("pose", "face"):
        picture = synthetic_images(family, 1, PICTURE_HW, SEEDS[family])[0]
        Image.fromarray(picture).save(folder / "samples" / f"{family}.png")
    samples, rate = synthetic_clips(1, SEEDS["emotion"], AudioSpec())[0]
    with wave.open(str(folder / "samples" / "emotion.wav"), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return folder


def build(work: Path, facts: dict[str, str], assets: Path, given: argparse.Namespace) -> None:
    """Compile, dex, pack, align, sign and verify, then put the APK in its place."""
    base, sources = link_resources(work, facts)
    dex = make_dex(work, facts, sources)
    packed = pack(work / "packed.apk", base, dex, assets, facts)
    aligned = work / "aligned.apk"
    _run("zipalign", "-f", str(PAGE), packed, aligned)  # with -p libraries would lie on pages of 4096
    signed = work / "signed.apk"
    sign(aligned, signed, facts, given)
    _run("zipalign", "-c", "-p", "4", signed)
    verify(signed, facts)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    part = given.out.with_name(given.out.name + ".part")
    shutil.copyfile(signed, part)
    os.replace(part, given.out)
    show(given.out)


def link_resources(work: Path, facts: dict[str, str]) -> tuple[Path, list[Path]]:
    """Return the APK of manifest and resources, and the Java sources, R.java among them."""
    text = (HERE / "AndroidManifest.xml").read_text(encoding="utf-8")
    manifest = work / "AndroidManifest.xml"
    text = text.replace("${applicationId}", facts["application_id"])  # as Gradle does
    manifest.write_text(text.replace("<manifest ", f'<manifest package="{facts["application_id"]}" ', 1), "utf-8")
    compiled = work / "resources.zip"
    _run("aapt2", "compile", "--dir", HERE / "res", "-o", compiled)
    base = work / "base.apk"
    versions = []
    options = (("min-sdk-version", "min_sdk"), ("target-sdk-version", "target_sdk"))
    for option, key in (*options, ("version-code", "version_code"), ("version-name", "version_name")):
        versions += [f"--{option}", facts[key]]
    java = work / "r"
    _run("aapt2", "link", "-I", FRAMEWORK, "--manifest", manifest, "--java", java, *versions, "-o", base,
         compiled)  # fmt: skip
    return base, [*sorted((HERE / "java").rglob("*.java")), *sorted(java.rglob("*.java"))]


def make_dex(work: Path, facts: dict[str, str], sources: list[Path]) -> Path:
    """Compile as Java 8, back-port lambdas, and return the classes as one dex file."""
    tflite = [_classes(work, key) for key in ("tflite", "tflite-api")]
    classes = work / "classes"
    classes.mkdir()
    path = os.pathsep.join(map(str, [path_of("android"), *tflite]))
    # `deprecation` off: Android 24's own names for what newer versions call otherwise.
    _run("javac", "-Xlint:all,-options,-deprecation,-classfile,-processing", "--release", "8", "-encoding", "UTF-8",
         "-proc:none", "-cp", path, "-d", classes, *sources)  # fmt: skip
    ported = work / "ported.jar"
    inputs = [option for jar in (classes, *tflite) for option in ("-injars", f"{jar}(!META-INF/**)")]
    command = [
        "proguard",
        *inputs,
        "-libraryjars",
        library_jar(),
        "-outjars",
        ported,
        *PROGUARD.split(" "),
        "-keepattributes",
        "*",
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    # Android's own classes lean on what an app may not see; ours must not.
    missing = [line for line in done.stderr.splitlines() if line.startswith("Warning: edge.")]
    if missing or done.returncode:
        raise BuildError(f"proguard refuses: {(missing or done.stderr.splitlines() or ['nothing said'])[-1][:300]}")
    dex = work / "classes.dex"
    _run("java", "-XX:+UseSerialGC", "-cp", path_of("dx"), "com.android.dx.command.Main", "--dex",
         f"--min-sdk-version={facts['min_sdk']}", f"--output={dex}", ported)  # fmt: skip
    return dex


def library_jar() -> Path:
    """Return Android's and Java's classes as ProGuard 6 reads them, made once: it refuses Java 17's version number."""
    path = cache_folder() / f"library-{ARTIFACTS['android'].version}-java.jar"
    java = Path(shutil.which("javac") or "").resolve().parents[1] / "jmods" / "java.base.jmod"
    if not java.is_file():
        raise BuildError(f"`{java}` is not here", "apt-get install openjdk-17-jdk-headless")
    if not path.is_file():
        part = path.with_suffix(".part")
        sources = ((path_of("android"), "android/"), (java, "classes/java/"))
        with zipfile.ZipFile(part, "w") as library:
            for source, head in sources:
                with zipfile.ZipFile(source) as parts:
                    for name in parts.namelist():
                        if name.startswith(head) and name.endswith(".class"):
                            content = parts.read(name)
                            library.writestr(name.removeprefix("classes/"), content[:6] + JAVA_8 + content[8:])
        os.replace(part, path)
    return path


def _classes(work: Path, key: str) -> Path:
    jar = work / f"{key}.jar"
    with zipfile.ZipFile(path_of(key)) as aar:
        jar.write_bytes(aar.read("classes.jar"))
    return jar


def pack(target: Path, base: Path, dex: Path, assets: Path, facts: dict[str, str]) -> Path:
    """Write every part in the order of names, with one timestamp; what is mapped into memory is stored as it is."""
    entries = {"classes.dex": dex.read_bytes()}
    with zipfile.ZipFile(base) as linked:
        entries.update({name: linked.read(name) for name in linked.namelist()})
    for path in assets.rglob("*"):
        if path.is_file():
            entries[f"assets/{path.relative_to(assets).as_posix()}"] = path.read_bytes()
    with zipfile.ZipFile(path_of("tflite")) as aar:
        for abi in facts["abis"].split(","):
            entries[f"lib/{abi}/libtensorflowlite_jni.so"] = aar.read(f"jni/{abi}/libtensorflowlite_jni.so")
        entries["assets/licences/tensorflow-lite.txt"] = aar.read("LICENSE")
    entries["assets/licences/edge.txt"] = (HERE.parent / "LICENSE").read_bytes()
    with zipfile.ZipFile(target, "w") as apk:
        for name in sorted(entries):
            stored = name.endswith((".so", ".tflite", ".png", ".arsc"))
            item = zipfile.ZipInfo(name, EPOCH)
            item.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            item.create_system = 0
            apk.writestr(item, entries[name], compresslevel=None if stored else 9)
    return target


def sign(source: Path, target: Path, facts: dict[str, str], given: argparse.Namespace) -> None:
    """Sign by APK signature schemes 2 and 3."""
    if given.key:
        key, alias, password = given.key, given.key_alias, given.key_pass
    else:
        key, alias, password = debug_key(), DEBUG_KEY[1], f"pass:{DEBUG_KEY[2]}"
    _run("apksigner", "sign", "--ks", key, "--ks-key-alias", alias, "--ks-pass", password, "--min-sdk-version",
         facts["min_sdk"], "--v1-signing-enabled", "false", "--v2-signing-enabled", "true", "--v3-signing-enabled",
         "true", "--v4-signing-enabled", "false", "--out", target, source)  # fmt: skip


def debug_key() -> Path:
    """Return this machine's debug key, made when first needed; builds signed with it are equal here only."""
    path = cache_folder() / DEBUG_KEY[0]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        _run("keytool", "-genkeypair", "-keystore", part, "-alias", DEBUG_KEY[1], "-storepass", DEBUG_KEY[2],
             "-keypass", DEBUG_KEY[2], "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000", "-storetype",
             "PKCS12", "-dname", "CN=Android Debug,O=Android,C=US")  # fmt: skip
        os.replace(part, path)
    return path


def verify(apk: Path, facts: dict[str, str]) -> None:
    """Check the signature, the badging and the native libraries' places.

    Raises:
        BuildError: the package says something else than app.properties, asks for the network, or a library is not
            stored on a page's boundary.
    """
    _run("apksigner", "verify", "--min-sdk-version", facts["min_sdk"], apk)
    badging = _output("aapt2", "dump", "badging", apk)
    wanted = [f"name='{facts['application_id']}'", f"sdkVersion:'{facts['min_sdk']}'"]
    wanted += [f"targetSdkVersion:'{facts['target_sdk']}'", f"versionName='{facts['version_name']}'"]
    wanted += [f"'{abi}'" for abi in facts["abis"].split(",")]
    for words in wanted:
        if words not in badging:
            raise BuildError(f"the package does not say {words}")
    for permission in ("INTERNET", "ACCESS_NETWORK_STATE"):
        if permission in badging:
            raise BuildError(f"the package asks for {permission}")
    print("\n".join(line for line in badging.splitlines() if line.startswith(("package", "uses-perm", "native"))))
    with zipfile.ZipFile(apk) as parts, apk.open("rb") as file:
        for item in parts.infolist():
            if item.filename.endswith((".so", ".tflite")) and item.compress_type != zipfile.ZIP_STORED:
                raise BuildError(f"`{item.filename}` is compressed")
            if item.filename.endswith(".so") and _start(file, item) % PAGE:
                raise BuildError(f"`{item.filename}` does not start on a page of {PAGE} bytes")


def _start(file: object, item: zipfile.ZipInfo) -> int:
    """Return where an entry's content starts: behind its local header, whose extra field is padding."""
    file.seek(item.header_offset + 26)  # type: ignore[attr-defined]  # any binary file
    name, extra = struct.unpack("<HH", file.read(4))  # type: ignore[attr-defined]
    return item.header_offset + 30 + int(name) + int(extra)


def show(apk: Path) -> None:
    """Print what is inside, largest first, and the whole's size and hash."""
    with zipfile.ZipFile(apk) as parts:
        for item in sorted(parts.infolist(), key=lambda item: -item.compress_size):
            if item.compress_size >= 10_000:
                print(f"{item.compress_size:>10,}  {item.filename}")
    print(f"{apk.stat().st_size:>10,}  {apk}\n{sha256(apk)}  sha256")


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


def _output(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
