"""Published Raspberry Pi 4 latencies, and the features of the networks that they are of.

    python -m edge.bench.published --table ../shared/data/rpi4-published.csv

rebuilds the networks from their papers and writes their features to `rpi4_features.json`. The table of latencies is
other people's and stays where it is.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..runtime.errors import EdgeError, InputError
from .features import FEATURES, features
from .latency_model import Measured
from .operators import Operator, total_macs
from .published_nets import (
    efficientdet_lite,
    efficientnet_lite,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet50,
    ssd,
    ssd_fpn,
    yolox,
)
from .sketch import Sketch

__all__ = ["FEATURE_FILE", "TABLE", "Table", "feature_file", "read_table", "rebuild"]

TABLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "rpi4-published.csv"
FEATURE_FILE = Path(__file__).with_name("rpi4_features.json")
COLUMNS = ("model", "input", "precision", "runtime", "threads", "os_bits", "latency_ms")
TFLITE = ("xnnpack", "ruy")  # TFLite's two sets of kernels; versions from 2.2 on differ by less than networks do
# A row is other people's word, read by rules that say why it is left out.
LEFT_OUT = {
    "32-bit": "a 32-bit system: no engine that runs our files is built for it",
    "version": "TFLite 1.15: kernels of 2019, number of threads not recorded",
    "network": "a network that could not be rebuilt with certainty",
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """What could be used of the published table.

    Attributes:
        tflite: rows of TFLite 2.2 to 2.18, 64-bit, network rebuilt.
        others: rows of other runtimes at 1.5 GHz of the same networks.
        left_out: reason -> number of TFLite rows.
        sha256: of the file, hexadecimal.
    """

    tflite: tuple[Measured, ...]
    others: tuple[Measured, ...]
    left_out: dict[str, int]
    sha256: str


def read_table(path: Path = TABLE) -> Table:
    """Return the usable rows of the table of published latencies.

    Raises:
        InputError: the file is missing, or no such table.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise InputError(f"cannot read the published table `{path.name}`", got=exc.strerror or exc) from exc
    lines = list(csv.DictReader(content.decode("utf-8", "replace").splitlines()))
    if not lines or not set(COLUMNS) <= set(lines[0]):
        raise InputError(f"`{path.name}` is no table of latencies", expected=", ".join(COLUMNS))
    known = {(row["model"], row["input"], row["precision"]): row for row in _read_features()}
    left: Counter[str] = Counter()
    tflite: list[Measured] = []
    others: list[Measured] = []
    for line in lines:
        library = _library(line)
        if library is None:
            continue
        reason = _unusable(line) if library in TFLITE else ""
        row = known.get((line["model"], line["input"], line["precision"].split(" ")[0]))
        if library in TFLITE and (reason or row is None):
            left[reason or "network"] += 1
        elif row is not None and (library in TFLITE or _unusable(line) in ("", "bits")):
            (tflite if library in TFLITE else others).append(_measured(line, row, library))
    return Table(
        tflite=tuple(tflite), others=tuple(others), left_out=dict(left), sha256=hashlib.sha256(content).hexdigest()
    )


def feature_file(table: Path) -> str:
    """Return the text of `rpi4_features.json`: each network and precision of the table that can be rebuilt."""
    with table.open(newline="", encoding="utf-8") as file:
        asked = sorted(
            {
                (line["model"], line["input"], line["precision"].split(" ")[0])
                for line in csv.DictReader(file)
                if _library(line) is not None
            }
        )
    rows = []
    for model, side, precision in asked:
        built = rebuild(model, side, precision) if precision in ("fp32", "int8") else None
        if built is not None:
            family, operators = built
            rows.append(
                {
                    "model": model,
                    "input": side,
                    "precision": precision,
                    "family": family,
                    "macs": total_macs(operators),
                    "weights": sum(operator.weight_elements for operator in operators),
                    "features": [round(float(value), 6) for value in features(operators)],
                }
            )
    head = {"schema": 1, "command": "python -m edge.bench.published", "features": list(FEATURES)}
    body = ",\n  ".join(json.dumps(row) for row in rows)
    return json.dumps(head)[:-1] + ',\n "networks": [\n  ' + body + "\n ]}\n"


def rebuild(model: str, side: str, precision: str) -> tuple[str, list[Operator]] | None:
    """Return the family and the operators of a network by the name that a publisher gave it; None if unknown.

    Args:
        model: e.g. "mobilenet-v2-0.5-160-quantized".
        side: input size as published, e.g. "320x320"; may be empty.
        precision: "fp32" or "int8".
    """
    net = Sketch(precision)
    family = _rebuild(net, model.lower(), side)
    return None if family is None else (family, net.operators)


def _rebuild(net: Sketch, model: str, side: str) -> str | None:
    if found := re.fullmatch(r"mobilenet-v([12])-([\d.]+)-(\d+)(?:-(?:non-)?quantized)?", model):
        (mobilenet_v1 if found[1] == "1" else mobilenet_v2)(net, float(found[2]), int(found[3]))
        return f"mobilenet-v{found[1]}"
    if found := re.fullmatch(r"mobilenet-v3-(large|small)(-minimalistic)?_224_([\d.]+)_(?:float|uint8)", model):
        mobilenet_v3(net, found[1], float(found[3]), 224, minimalistic=bool(found[2]))
        return "mobilenet-v3"
    if found := re.fullmatch(r"efficientnet-lite(\d)-(?:non-)?quantized", model):
        efficientnet_lite(net, int(found[1]))
        return "efficientnet-lite"
    if found := re.fullmatch(r"efficientdet-lite(\d|3x)(?:_(?:fp32|int8)\.tflite)?", model):
        efficientdet_lite(net, found[1], int(side.split("x")[0]))
        return "efficientdet-lite"
    if found := re.fullmatch(r"yolox-(nano|tiny)", model):
        yolox(net, found[1], 416)
        return "yolox"
    for name, family, build in _NAMED:
        if model in name:
            build(net)
            return family
    return None


_NAMED: tuple[tuple[tuple[str, ...], str, Any], ...] = (
    (("mobilenet", "mobilenet_int8"), "mobilenet-v1", lambda net: mobilenet_v1(net, 1.0, 224)),
    (("mobilenet_v2",), "mobilenet-v2", lambda net: mobilenet_v2(net, 1.0, 224)),
    (("mobilenet_v3_large",), "mobilenet-v3", lambda net: mobilenet_v3(net, "large", 1.0, 224)),
    (("resnet", "resnet50", "resnet50_int8"), "resnet", resnet50),
    (("ssd mobilenet v2",), "ssd-mobilenet", lambda net: ssd(net, "v2", 300, lite=False)),
    (("ssdlite mobilenet v2",), "ssd-mobilenet", lambda net: ssd(net, "v2", 300, lite=True)),
    (("ssdlite mobilenet v3 large",), "ssd-mobilenet", lambda net: ssd(net, "v3-large", 320, lite=True)),
    (("ssdlite mobilenet v3 small",), "ssd-mobilenet", lambda net: ssd(net, "v3-small", 320, lite=True)),
    (("ssd-mobilenet-non-quantized",), "ssd-mobilenet", lambda net: ssd(net, "v1", 300, lite=False, kernel=1)),
    (("ssdlite mobiledet-cpu",), "mobiledet", lambda net: ssd(net, "mobiledet-cpu", 320, lite=True)),
    (("ssdlite mobiledet-edgetpu",), "mobiledet", lambda net: ssd(net, "mobiledet-edgetpu", 320, lite=True)),
    (("ssdlite mobilenetedgetpu",), "mobilenet-edgetpu", lambda net: ssd(net, "edgetpu", 320, lite=True)),
    (("ssd mobilenet v1 fpn",), "ssd-fpn", lambda net: ssd_fpn(net, "v1", 640)),
    (("ssd resnet 50 v1 fpn",), "ssd-fpn", lambda net: ssd_fpn(net, "resnet50", 640)),
)


def _library(line: dict[str, str]) -> str | None:
    """Return the kernels that a row ran on; None for rows that are not used at all."""
    runtime = line["runtime"].lower()
    if "tflite" in runtime:
        return "xnnpack" if "xnnpack" in runtime else "ruy"
    if "armnn" in runtime and line["os_bits"] == "64":
        return "armnn"
    if runtime == "ncnn 2022-01":
        return "ncnn"
    return "pytorch" if runtime.startswith("pytorch") else None


def _unusable(line: dict[str, str]) -> str:
    if "1.15" in line["runtime"]:
        return "version"
    if line["os_bits"] != "64":
        return "32-bit" if line["os_bits"] == "32" else "bits"
    return ""


def _measured(line: dict[str, str], row: dict[str, Any], library: str) -> Measured:
    return Measured(
        model=f"{row['family']}/{row['macs']}/{row['weights']}",
        family=str(row["family"]),
        precision=str(row["precision"]),
        library=library,
        threads=int(line["threads"][0]),
        features=np.array(row["features"], float),
        ms=float(line["latency_ms"]),
    )


def _read_features() -> Iterator[dict[str, Any]]:
    content = json.loads(FEATURE_FILE.read_text(encoding="utf-8"))
    if content["features"] != list(FEATURES):
        raise InputError("`rpi4_features.json` is of other features", hint="python -m edge.bench.published")
    yield from content["networks"]


@click.command()
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, help="Published latencies: names are read.")
@click.option("--output", type=click.Path(path_type=Path), default=FEATURE_FILE, help="File to write.")
def main(table: Path, output: Path) -> None:
    r"""Write the features of the networks whose latency on a Raspberry Pi 4 is published.

    \b
    Example:
        python -m edge.bench.published
    """
    try:
        output.write_text(feature_file(table), encoding="utf-8")
    except (EdgeError, OSError) as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"{output}: {output.stat().st_size} bytes", err=True)


if __name__ == "__main__":
    main()
