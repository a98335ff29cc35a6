"""`edge export`: checkpoint to ONNX and TFLite, with proof."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..run_output import print_result
from ..runtime.errors import EdgeError, InputError, one_line
from ..runtime.progress import Progress

WORDS = {"target": ("onnx", "tflite"), "precision": ("fp32", "fp16", "int8", "dynamic", "w8a16")}


def _words(kind: str) -> Any:
    def parse(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(word.strip().lower() for word in value.split(",") if word.strip()))
        wrong = [word for word in words if word not in WORDS[kind]]
        if wrong or not words:
            raise InputError(
                f"`--{kind} {value}` is not known", expected=",".join(WORDS[kind]), got=",".join(wrong) or "none"
            )
        return words

    return parse


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not re.fullmatch(r"\d{1,6}([,x]\d{1,6})*", value):
        raise InputError(f"`{parameter.opts[0]} {value}` is not understood", expected="numbers, e.g. 1,3,224,224")
    return tuple(int(number) for number in re.split("[,x]", value))


@click.command(context_settings={"max_content_width": 110})
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--target", "targets", default="onnx,tflite", show_default=True, callback=_words("target"),
              help="File formats, comma-separated.")  # fmt: skip
@click.option("--precision", "precisions", default="fp32,fp16,int8", show_default=True, callback=_words("precision"),
              help="Precisions, comma-separated: fp32, fp16, int8, dynamic, w8a16.")  # fmt: skip
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights: .safetensors, or .pth read as data only.")
@click.option("--untrained", is_flag=True, help="Take seeded random weights even where trained ones ship.")
@click.option(
    "--model",
    "factory",
    metavar="PKG.MOD:FACTORY",
    help="Your own nn.Module. Importing it runs its code, with no time limit.",
)
@click.option("--plugin-path", type=click.Path(path_type=Path), help="Folder in which --model is looked for.")
@click.option("--input", "input_shape", callback=_numbers, metavar="1,C,H,W", help="Input shape of --model.")
@click.option("--card", "card_file", type=click.Path(path_type=Path), help="TOML card for --model.")
@click.option("--input-size", callback=_numbers, metavar="H,W", help="Another input size, where the family allows it.")
@click.option("--via", type=click.Choice(["auto", "onnx2tf", "litert-torch"]), default="auto", show_default=True,
              help="Route to TFLite; auto takes what holds parity at the better latency.")  # fmt: skip
@click.option("--calibration", type=click.Path(path_type=Path),
              help="Folder of images or sounds, .npy or .npz; default: a built-in synthetic set.")  # fmt: skip
@click.option(
    "--min-samples",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Fewest distinct calibration samples taken.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the synthetic set and of seeded weights.",
)
@click.option("--output", type=click.Path(path_type=Path), default=Path("edge-out"), show_default=True,
              help="Folder of bundles; one sub-folder a model.")  # fmt: skip
@click.option("--timeout", "timeout_s", default=900.0, show_default=True, help="Limit of one conversion, seconds.")
@click.option("--no-fail", is_flag=True, help="Keep files that do not hold their parity limit, and say so.")
@click.option("--force", is_flag=True, help="Replace bundles that were made of other inputs.")
@click.option("--no-cache", is_flag=True, help="Use no stored stages, keep none.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show what converters print.")
def command(
    names: tuple[str, ...],
    factory: str | None,
    input_shape: tuple[int, ...] | None,
    input_size: tuple[int, ...] | None,
    output: Path,
    force: bool,
    no_cache: bool,
    as_json: bool,
    verbose: bool,
    no_fail: bool,
    **options: Any,
) -> None:
    r"""Export models to ONNX and TFLite and prove what they say.

    With no NAME: every built-in student. Without --checkpoint: the trained weights that ship with the model, or seeded
    random ones where none do; the table says which.

    \b
    Examples:
        edge export --target tflite
        edge export face-retina-mnet025 --checkpoint retinaface.pth
        edge export mynet --model nets:make_net --plugin-path . --input 1,3,224,224 --checkpoint w.pth
    """
    import tempfile

    from ..export.bundle import locked
    from ..export.store import Store
    from ..runtime.trust import cache_folder

    requests = _requests(names, factory, input_shape, input_size, fail=not no_fail, **options)
    start = time.perf_counter()
    outcomes, failed = [], []
    with locked(output), contextlib.ExitStack() as stack:
        stack.enter_context(_stdout_kept_clean(verbose))
        progress = stack.enter_context(Progress("exporting", alive=not verbose, quiet=verbose))
        root = cache_folder()
        if no_cache:  # named like a run, so that the next one removes what a kill leaves behind
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".run-", dir=output)))
        store = Store(root)
        for index, request in enumerate(requests):
            try:
                outcomes.append(_export(request, output, store, index, len(requests), force, verbose, progress))
            except EdgeError as exc:
                if len(requests) == 1:
                    raise
                failed.append((request.name, exc))
                progress.line(f"{request.name}: {one_line(exc)}")
    if as_json:
        print_result(json.dumps({"schema": 1, "bundles": [outcome.manifest for outcome in outcomes]}, allow_nan=False))
    elif outcomes:
        from ..export.table import render

        print_result(render([outcome.manifest for outcome in outcomes]))
        print_result(_closing(outcomes, output, time.perf_counter() - start))
    if failed:
        first = failed[0][1]
        raise type(first)(f"{len(failed)} of {len(requests)} exports failed: {', '.join(name for name, _ in failed)}")


def _requests(
    names: tuple[str, ...],
    factory: str | None,
    input_shape: tuple[int, ...] | None,
    input_size: tuple[int, ...] | None,
    *,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    **options: Any,
) -> list[Any]:
    from ..export.request import ExportRequest
    from ..models import registry
    from ..runtime.card import Precision, Target

    if not math.isfinite(options["timeout_s"]) or options["timeout_s"] <= 0:
        raise InputError("`--timeout` must be above 0", got=options["timeout_s"])
    if input_size is not None and len(input_size) != 2:
        raise InputError("`--input-size` takes a height and a width", expected="H,W", got=input_size)
    if options["untrained"] and (options["checkpoint"] is not None or factory is not None):
        other = "--checkpoint" if options["checkpoint"] is not None else "--model"
        raise InputError(f"`--untrained` does not go with `{other}`", hint="leave one of them out")
    common = {
        **options,
        "targets": tuple(Target(word) for word in targets),
        "precisions": tuple(Precision(word) for word in precisions),
        "input_hw": input_size,
    }
    if factory is None:
        if input_shape is not None or options["card_file"] is not None or options["plugin_path"] is not None:
            raise InputError("`--input`, `--card` and `--plugin-path` go with `--model`")
        chosen = list(dict.fromkeys(names)) or registry.names("student")
        if options["checkpoint"] is not None and len(chosen) != 1:
            raise InputError("`--checkpoint` fits one model", got=f"{len(chosen)} models", hint="name the model")
        return [ExportRequest(name=registry.get(name).name, **common) for name in chosen]
    if input_shape is None:
        raise InputError("`--model` needs `--input`", expected="--input 1,3,224,224")
    if len(names) > 1:
        raise InputError("`--model` takes one name", got=names)
    name = names[0] if names else factory.partition(":")[2].replace("_", "-")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}", name):
        raise InputError(f"`{name}` cannot name files", expected="letters, digits, '.', '_' and '-'")
    if input_size is not None:
        raise InputError("`--input-size` is for built-in models", hint="give the whole shape with --input")
    return [ExportRequest(name=name, factory=factory, input_shape=input_shape, **common)]


def _export(
    request: Any, output: Path, store: Any, index: int, total: int, force: bool, verbose: bool, progress: Progress
) -> Any:
    from ..export.exporter import export_model

    start = time.perf_counter()

    def say(text: str) -> None:
        """Tell the stage; stages and models differ too much in length for a time to be promised."""
        place = f"[{index + 1}/{total}] {request.name}"
        progress.step(f"{place}: {text}", log=f"{place} {time.perf_counter() - start:6.1f} s  {text}")

    outcome = export_model(request, output, store, say=say, force=force, verbose=verbose)
    say("up to date" if outcome.cached else "done")
    for note in outcome.manifest["notes"]:
        progress.line(f"note: {request.name}: {note}")
    return outcome


@contextlib.contextmanager
def _stdout_kept_clean(verbose: bool) -> Iterator[None]:
    """Keep off stdout, which carries data, what libraries and a user's model print: from Python and from C."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    ours = os.dup(1)
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr if verbose else nowhere))
        os.dup2(2 if verbose else nowhere.fileno(), 1)
        try:
            yield
        finally:
            libc.fflush(None)
            os.dup2(ours, 1)
            os.close(ours)


def _closing(outcomes: list[Any], output: Path, seconds: float) -> str:
    spent: dict[str, float] = {}
    for outcome in outcomes:
        for stage, value in outcome.seconds.items():
            spent[stage] = spent.get(stage, 0.0) + value
    parts = ", ".join(f"{stage} {value:.0f} s" for stage, value in sorted(spent.items(), key=lambda item: -item[1]))
    return f"{len(outcomes)} bundles in {output} after {seconds:.1f} s" + (f" ({parts})" if parts else " (cached)")
