"""`edge bench`: how long artifacts take, on this machine and on others, with all that the figures depend on."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..run_output import print_result
from ..runtime.errors import DeviceError, InconclusiveError, InputError
from ..runtime.files import check_writable, write_whole
from ..runtime.progress import Progress

__all__ = ["command"]

SCHEMA = 1
# What else is not measured in rows, and the options that it listens to; the others would be passed over in silence.
OWN_OPTIONS = {"compare": ("engine",), "self_test": ("engine",), "profile": ("draw",)}


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        found = tuple(int(part) for part in value.split(","))
    except ValueError as exc:
        raise InputError(f"`{parameter.opts[-1]} {value}` is not understood", expected="numbers such as 1,2,4") from exc
    if len(set(found)) != len(found):
        raise InputError(f"`{parameter.opts[-1]} {value}` names a number twice")
    return found


class _Bench(click.Command):
    """`edge bench`, and `edge bench fit`: a verb whose targets are files, with one sub-verb beside them."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["fit"]:
            from ..bench.fit import main as fit

            return fit.make_context(f"{info_name} fit", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


@click.command(cls=_Bench, context_settings={"max_content_width": 110})
@click.argument("targets", metavar="ARTIFACT|BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=("host",),
    show_default=True,
    help="host, browser, android, rpi4, or a name of edge.toml; may be given several times.",
)
@click.option("--serial", metavar="SERIAL", help="Of several phones, the one for `android`; see `adb devices`.")
@click.option(
    "--app", is_flag=True, help="On phones: inside the demo app, with its screen in front, on its own sample."
)
@click.option(
    "--apk",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The demo app for phones.  [default: build/android/edge-demo.apk, if it is here; else what is installed]",
)
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="Devices.  [default: edge.toml, if it is here]"
)
@click.option(
    "--evidence",
    type=click.Choice(["any", "measured"]),
    default="any",
    show_default=True,
    help="measured: refuse to predict a Raspberry Pi 4 that is not there, and a phone that is none.",
)
@click.option(
    "--emulate/--no-emulate",
    default=True,
    show_default=True,
    help="Predict from an emulated run, where QEMU and the aarch64 userland are installed.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "onnxruntime", "litert"]),
    default="auto",
    show_default=True,
    help="What executes the files; auto: whatever runs each one's format.",
)
@click.option("--threads", callback=_numbers, metavar="N,N,...", help="Threads.  [default: 1,2; rpi4 and phones: 1,4]")
@click.option("--input", "given", type=click.Path(path_type=Path), help="Picture or sound of the whole frames.")
@click.option(
    "--stages/--no-stages", default=True, show_default=True, help="Time pre, infer and decode of whole frames."
)
@click.option("--launches", type=click.IntRange(1, 100), default=3, show_default=True, help="Processes for each row.")
@click.option(
    "--warmup", type=float, default=0.5, show_default=True, metavar="S", help="Untimed runs before each loop."
)
@click.option("--seconds", type=float, default=2.0, show_default=True, metavar="S", help="Timed inferences a launch.")
@click.option(
    "--runs", type=int, default=64, show_default=True, metavar="N", help="Timed inferences a launch, at least."
)
@click.option("--pin", callback=_numbers, metavar="CPU,...", help="Hold each process to these CPUs.")
@click.option("--strict", is_flag=True, help="MLPerf SingleStream: one launch of 1,024 queries and 600 s at least.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep results.json here, and complete launches: the same command then goes on with what is left.",
)
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML for CI.")
@click.option(
    "--compare", is_flag=True, help="Of two artifacts, say whether the second is slower: in pairs, one process."
)
@click.option(
    "--self-test", is_flag=True, help="Say what a comparison on this machine is worth: its false alarms and reach."
)
@click.option("--profile", is_flag=True, help="Say which layers the time goes to, and their share of multiply-adds.")
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="With --profile: draw the layers into a picture.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, raw samples included.")
def command(
    targets: tuple[Path, ...],
    devices: tuple[str, ...],
    serial: str | None,
    app: bool,
    apk: Path | None,
    config: Path | None,
    evidence: str,
    emulate: bool,
    engine: str,
    threads: tuple[int, ...] | None,
    given: Path | None,
    stages: bool,
    launches: int,
    warmup: float,
    seconds: float,
    runs: int,
    pin: tuple[int, ...] | None,
    strict: bool,
    output: Path | None,
    junit: Path | None,
    compare: bool,
    self_test: bool,
    profile: bool,
    draw: Path | None,
    as_json: bool,
) -> None:
    r"""Measure how long artifacts take: load, first inference, inferences back to back, and whole frames by stage.

    A BUNDLE is a folder of `edge export`; every artifact in it is measured with every engine that runs it and every
    number of threads, and the best one is named. Each row is of several processes that take turns with those of the
    other rows. A percentile is shown where there are runs enough for it, and every result holds the machine's state.

    A Raspberry Pi 4 that edge.toml does not name is predicted, with an interval. `edge bench fit --help` says how the
    predictor takes up runs of your own.

    \b
    Examples:
        edge bench edge-out/face-nanob
        edge bench pose-int8.tflite --threads 1,2,4 --input photo.jpg --json > pose.json
        edge bench pose-int8.tflite --device rpi4 --device host
        edge bench pose-int8.tflite --device android --serial 14A2XB --app
        edge bench old.onnx new.onnx --compare
        edge bench face-int8.tflite face-int8.onnx --profile --draw layers.svg
        edge bench pose-int8.tflite --strict --output runs/strict
    """
    from .. import __version__
    from ..bench.config import read_config
    from ..bench.matrix import Job, best, run_matrix, variants
    from ..bench.plan import Plan
    from ..bench.predicted import predicted_rows
    from ..bench.saved import SavedLaunches
    from ..bench_devices import ANDROID, Phone, default_threads, is_phone, on_own_samples, open_device, runs_on
    from ..bench_inputs import find_artifacts, write_source
    from ..runtime.isolate import guard

    if compare + self_test + profile > 1:
        raise InputError("`--compare`, `--self-test` and `--profile` are one at a time")
    if draw is not None and not profile:
        raise InputError("`--draw` writes the picture of `--profile`, which is not there")
    if draw is not None and draw.suffix != ".svg":
        raise InputError("`--draw` writes an SVG picture", expected="FILE.svg", got=draw.name)
    for out in (junit, draw, None if output is None else output / "results.json"):
        if out is not None:
            check_writable(out)
    if compare or self_test or profile:
        _refuse_strangers("compare" if compare else "self_test" if self_test else "profile")
        report = (
            _self_test(targets, engine)
            if self_test
            else _compare(targets, engine)
            if compare
            else _profile(targets, draw)
        )
        click.echo(json.dumps(report, allow_nan=False) if as_json else report["text"])
        return
    plan = Plan(
        artifact="",
        engine="litert",
        warmup_s=warmup,
        seconds=seconds,
        runs=runs,
        stages_s=max(seconds / 2, 0.2) if stages and not strict else 0.0,
        pin=pin or (),
        strict=strict,
    )
    if len(set(devices)) != len(devices):
        raise InputError("a device is named twice", got=", ".join(devices))
    if config is not None:
        read_config(config)  # a wrong name is wrong for the host, too, which needs none
    if serial and ANDROID not in devices:
        raise InputError(
            "`--serial` is of the device `android`",
            got=f"--device {', '.join(devices)}",
            hint="a phone of edge.toml has its serial there",
        )
    found = find_artifacts(targets)
    phone = Phone(serial=serial or "", app=app, apk=apk)
    shown = Progress("measuring", lines=False)
    click.get_current_context().call_on_close(shown.close)  # opening a device may tell something, and fail
    opened = {name: open_device(name, config, evidence == "measured", shown.step, phone) for name in devices}
    if phone != Phone() and not any(is_phone(device) for device in opened.values()):
        raise InputError("`--app` and `--apk` are of phones", got=f"--device {', '.join(devices)}")
    if pin and any(is_phone(device) for device in opened.values()):
        raise InputError("an Android app cannot be held to CPUs", hint="leave `--pin` out")
    for artifact, card in found:
        guard(artifact.path, card, engine=engine)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder, shown as progress:
        sources = {}
        for artifact, card in found if plan.stages_s and any(opened.values()) else []:
            if (source := write_source(card, given, Path(folder))) is not None:
                sources[str(artifact.path)] = source
        chosen = {
            name: variants(
                runs_on(device, [artifact for artifact, _ in found]),
                engine=engine,
                threads=threads or default_threads(name, os.cpu_count() or 1),
                sources=sources,
            )
            for name, device in opened.items()
        }
        if app and given is None:  # the app has samples of its own
            chosen = {name: on_own_samples(opened[name], these) for name, these in chosen.items()}
        jobs = [Job(device=device, variants=chosen[name]) for name, device in opened.items() if device is not None]
        saved = SavedLaunches(output / "launches") if output is not None else None
        launches = 1 if strict else launches
        began = datetime.now(UTC).isoformat(timespec="seconds")
        rows = run_matrix(jobs, plan, launches=launches, saved=saved, progress=progress)
    budgets = {str(artifact.path): card.budget.p90_ms for artifact, card in found}
    for name in [name for name, device in opened.items() if device is None]:
        with Progress("predicting", lines=False, alive=True) as progress:
            rows += predicted_rows(chosen[name], name=name, budgets_ms=budgets, emulated=emulate, progress=progress)
    report = {
        "schema": SCHEMA,
        "command": "bench",
        "edge": __version__,
        "began": began,
        "plan": {**plan.to_dict(), "launches": launches},
        "best": best(rows),
        "rows": [row.to_dict() for row in rows],
    }
    if output is not None:
        write_whole(output / "results.json", json.dumps(report, allow_nan=False))
    if junit is not None:
        from ..bench.junit import junit as as_junit

        write_whole(junit, as_junit(report))
    if as_json:
        print_result(json.dumps(report, allow_nan=False))
    else:
        from ..bench.show import table

        print_result(table(report))
    _judge(report["rows"])


def _refuse_strangers(mode: str) -> None:
    """Refuse options that a mode passes over, lest its answer be taken for that of another device, or be waited for."""
    context = click.get_current_context()
    for option in context.command.params:
        name = str(option.name)
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and name not in ("targets", "as_json", mode, *OWN_OPTIONS[mode]):
            own = " or ".join(f"--{word}" for word in (*OWN_OPTIONS[mode], "json"))
            raise InputError(
                f"`{option.opts[0]}` means nothing to `--{mode.replace('_', '-')}`",
                expected=f"{own} beside it",
                hint="it runs on this machine, on one thread",
            )


def _judge(rows: Sequence[dict[str, Any]]) -> None:
    """End with the exit code of the worst row: 4 where something failed, 6 where something is void."""
    for words, error in ((("failed", "incomplete"), DeviceError), (("void",), InconclusiveError)):
        bad = [row for row in rows if row["status"] in words]
        if bad:
            first = bad[0]
            label = f"{first['artifact']['file']} on {first['device']}"
            raise error(
                f"{len(bad)} of {len(rows)} rows are {first['status']}",
                got=f"{label}: {first['why'][0]}" if first["why"] else label,
            )


def _compare(targets: Sequence[Path], engine: str) -> dict[str, Any]:
    from ..bench.duel import answer_lines, duel

    if len(targets) != 2:
        raise InputError("`--compare` takes two artifacts", got=len(targets))
    with Progress("comparing", lines=False) as progress:
        if progress.live:
            progress.step("pairs in one process")
        found = duel(targets[0], targets[1], engine=engine)
    files = [target.name for target in targets]
    text = "\n".join(answer_lines(files[0], files[1], found))
    return {"schema": SCHEMA, "command": "bench --compare", "files": files, **found.to_dict(), "text": text}


def _self_test(targets: Sequence[Path], engine: str) -> dict[str, Any]:
    from ..bench.duel import opened, self_test

    if len(targets) != 1:
        raise InputError("`--self-test` takes one artifact", got=len(targets))
    with opened(targets[0], engine) as call, Progress("comparing", lines=False) as progress:
        found = self_test(call, progress=progress)
    text = (
        f"the same twice: {found.alarms} of {found.same} comparisons found a difference\n"
        f"10 % more work: {found.caught} of {found.slower} comparisons found it\n"
        f"smallest slow-down found in 95 of 100 comparisons: {100 * found.smallest:.1f} %"
    )
    return {"schema": SCHEMA, "command": "bench --self-test", "file": targets[0].name, **found.to_dict(), "text": text}


def _profile(targets: Sequence[Path], draw: Path | None) -> dict[str, Any]:
    from ..bench.layers import profile
    from ..bench.layers_picture import layers_svg, layers_table
    from ..bench_inputs import find_artifacts

    found = []
    for artifact, _ in find_artifacts(targets):
        with Progress(artifact.path.name) as progress:
            found.append(profile(artifact.path, progress=progress))
    if draw is not None:
        write_whole(draw, layers_svg(found))
    profiles = [one.to_dict() for one in found]
    return {"schema": SCHEMA, "command": "bench --profile", "profiles": profiles, "text": layers_table(found)}
