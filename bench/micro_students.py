"""What a whole frame costs with each student: pre, infer and decode by engine, and where the time beside it goes.

Stages are timed in turn, as a pipeline runs them, and not each in a loop of its own: the network drives everything
else out of the caches, which makes a short decode two or three times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.audio_input import prepare_audio
from ..runtime.card import Card, InputSpec
from ..runtime.decode import bind
from ..runtime.embedded import read_card
from ..runtime.engines import open_engine
from ..runtime.errors import MissingExtraError
from ..runtime.geometry import Geometry
from ..runtime.image import as_rgb
from ..runtime.mel import log_mel, normalise_mel
from ..runtime.pipeline import Pipeline
from ..runtime.preprocess import Preparer, fit
from ..runtime.resize import resize
from .face_scene import face_outputs
from .findings import Cell, Section, Table, Verdict
from .micro_decoders import decoder_stages
from .pose_scene import pose_maps
from .timing import Timing, interleaved, summary, timed

__all__ = ["frame", "measure_students", "sound"]

Float32 = NDArray[np.float32]
Calls = dict[str, Callable[[], object]]

FRAME_HW = (720, 1280)
PEOPLE = 2  # in the scene that is decoded
FACES = (10, 50)  # a group, and as many as the limit of face decoding is given for
# What the task sets: pose pre + decode, ms; face pre + decode, share of infer; mel front end, share of infer.
POSE_MS, FACE_SHARE, MEL_SHARE = 1.5, 0.20, 1.0
MEL_MODEL = "emotion-student-12m"  # whose infer time the mel front end is held against
STAGES = ("pre", "infer", "decode")
TURN = 6  # frames that an artifact gets at a time


@dataclass(frozen=True, kw_only=True)
class _Run:
    path: Path
    engine: str
    card: Card
    faces: int
    times: Mapping[str, Timing]

    @property
    def total_ms(self) -> float:
        return sum(self.times[stage].ms for stage in STAGES)

    @property
    def busy(self) -> bool:
        return any(self.times[stage].busy for stage in STAGES)


def measure_students(bundles: Path, *, budget_s: float = 2.0, log: Callable[[str], None] = lambda _: None) -> Section:
    """Return the times of every INT8 artifact in a folder of bundles, the best engine of each model, and the rest.

    Args:
        bundles: folder that `edge export` wrote.
        budget_s: wall clock for each model, and again for its parts.
        log: takes lines of progress.
    """
    models: dict[str, list[Path]] = {}
    for path in sorted(bundles.glob("*/*-int8.*")):
        models.setdefault(path.parent.name, []).append(path)
    if not models:
        reason = f"no INT8 artifact in `{bundles.name}` (`--bundles`); `edge export` makes them"
        return Section(name="students", skipped=(reason,))
    best: list[_Run] = []
    warm: list[dict[str, float]] = []
    rows: list[tuple[Cell, ...]] = []
    parts: list[tuple[Cell, ...]] = []
    skipped: list[str] = []
    for name, paths, faces in _scenes(models):
        log(f"students: {name}")
        runs, refused = _compared(paths, faces, budget_s)
        skipped += refused
        if not runs:
            continue
        fastest = min(runs, key=lambda run: run.total_ms)
        best.append(fastest)
        rows += [_stage_row(name, run, run is fastest) for run in runs]
        log(f"students: {name}, parts")
        cells = _parts(fastest, budget_s)
        parts += [(name, fastest.engine, *row) for row in cells]
        warm.append({stage: ms for stage, part, ms in cells if part == "whole"})
    stages = Table(
        title="students as INT8, frame of 1280 x 720 or 30 s of sound, ms, one thread",
        columns=("model", "engine", "best", "pre", "infer", "decode", "pre %", "infer %", "decode %", "busy"),
        rows=tuple(rows),
        note=(
            f"Decoded are synthetic outputs with {PEOPLE} people or {' or '.join(map(str, FACES))} faces in the place "
            "of the network's, whatever its weights."
        ),
    )
    rest = Table(
        title="where the rest goes, best engine, ms",
        columns=("model", "engine", "stage", "part", "ms"),
        rows=tuple(parts),
        note="Timed by themselves, with warm caches; parts need not add up. (rest): the stage less its parts.",
    )
    return Section(
        name="students", tables=(stages, rest), verdicts=tuple(_verdicts(best, warm)), skipped=tuple(skipped)
    )


def _scenes(models: Mapping[str, list[Path]]) -> Iterator[tuple[str, list[Path], int]]:
    """Yield each model's artifacts with the number of faces to decode: several in turn for a face model, else 0."""
    for name, paths in models.items():
        if read_card(paths[0]).decoder.name == "face-priors":
            yield from ((f"{name}, {faces} faces", paths, faces) for faces in FACES)
        else:
            yield name, paths, 0


def frame(hw: tuple[int, int] = FRAME_HW, seed: int = 0) -> NDArray[np.uint8]:
    """Return a synthetic RGB frame: gradients under noise, so that no branch and no cache sees a flat picture."""
    rng = np.random.default_rng(seed)
    rows, columns = np.linspace(0, 1, hw[0])[:, None], np.linspace(0, 1, hw[1])[None]
    shades = np.stack([rows + 0 * columns, columns + 0 * rows, rows * columns], axis=2) * 200
    return np.asarray(shades + rng.uniform(0, 55, shades.shape), np.uint8)


def sound(seconds: float, rate: int, seed: int = 0) -> Float32:
    """Return a synthetic chord with noise, (n,) float32 mono, within -1..1."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 329.6, 880.0))
    return np.asarray(0.15 * chord * (1 + 0.3 * np.sin(2 * np.pi * 0.7 * time)) + rng.normal(0, 0.02, len(time)),
                      np.float32)  # fmt: skip


def _compared(paths: list[Path], faces: int, budget_s: float) -> tuple[list[_Run], list[str]]:
    """Return the stage times of a model's artifacts, which take turns, and those that cannot run."""
    opened = []
    refused = []
    for path in paths:
        try:
            pipeline = Pipeline.load(path, threads=1)
        except MissingExtraError as exc:
            refused.append(f"{path.name}: {exc}")
            continue
        opened.append((path, pipeline, _stages(pipeline, faces), _Samples({})))
    end = perf_counter() + budget_s
    rounds = 0
    while opened and (rounds < 2 or perf_counter() < end):
        for _, _, calls, samples in opened:
            timed(calls, {})  # the first frame of a turn finds the other engine's weights in the caches
            for _ in range(TURN - 1):
                timed(calls, samples.by_stage)
        rounds += 1
    runs = []
    for path, pipeline, _, samples in opened:
        times = {stage: summary(values) for stage, values in samples.by_stage.items()}
        runs.append(_Run(path=path, engine=pipeline.engine.name, card=pipeline.card, faces=faces, times=times))
        pipeline.close()
    return runs, refused


@dataclass(frozen=True)
class _Samples:
    by_stage: dict[str, list[tuple[float, float]]]


def _stages(pipeline: Pipeline, faces: int) -> Calls:
    """Return pre, infer and decode of a pipeline, to be called in this order; `swap` is none of its work."""
    audio = pipeline.card.input.audio
    source: Any = frame() if audio is None else (sound(audio.seconds, audio.sample_rate), audio.sample_rate)
    scene = _scene(pipeline.card, faces)
    state: dict[str, Any] = {}

    def pre() -> None:
        state["prepared"] = pipeline.prepare(pipeline.read(source))

    def infer() -> None:
        state["outputs"], state["infer_ms"] = pipeline.infer(state["prepared"])

    def swap() -> None:
        # Fresh copies: the network's own outputs, which these stand for, have just been written and are in the caches.
        if scene is not None:
            state["outputs"] = {name: values.copy() for name, values in scene.items()}

    def decode() -> None:
        pipeline.decode(state["prepared"], state["outputs"], state["infer_ms"])

    return {"pre": pre, "infer": infer, "swap": swap, "decode": decode}


def _scene(card: Card, faces: int) -> Mapping[str, Float32] | None:
    """Return synthetic outputs that a trained network could give; None: the network's own will do."""
    if card.decoder.name == "openpose-paf":
        hw = next(
            (spec.shape[2], spec.shape[3]) if spec.layout == "NCHW" else (spec.shape[1], spec.shape[2])
            for spec in card.outputs
        )
        heatmaps, pafs, _ = pose_maps(PEOPLE, hw)
        maps = {19: heatmaps, 38: pafs}
        outputs = {}
        for spec in card.outputs:
            channels = spec.shape[1] if spec.layout == "NCHW" else spec.shape[3]
            values = maps[channels] if spec.layout == "NCHW" else maps[channels].transpose(1, 2, 0)
            outputs[spec.name] = np.ascontiguousarray(values[None])
        return outputs
    if card.decoder.name == "face-priors":
        loc, conf, landm, _ = face_outputs(faces, card.input.hw)
        heads = {4: loc, 2: conf, 10: landm}
        return {spec.name: heads[spec.shape[-1]][None] for spec in card.outputs}
    return None


def _stage_row(name: str, run: _Run, best: bool) -> tuple[Cell, ...]:
    times = [run.times[stage].ms for stage in STAGES]
    return (name, run.engine, best, *times, *(100.0 * value / run.total_ms for value in times), run.busy)


def _parts(run: _Run, budget_s: float) -> list[tuple[str, str, float]]:
    """Return (stage, part, ms) of one artifact; `(rest)` is what the parts leave over of a stage."""
    tensor, geometry, pre = _pre_parts(run.card.input)
    outputs = _scene(run.card, run.faces)
    groups = {"pre": pre, "infer": {"bare engine": _bare_engine(run.path, run.engine, tensor)}}
    engine = open_engine(run.path, run.card, engine=run.engine, threads=1)
    wholes: Calls = {"infer": lambda: engine.run(tensor)}
    bound = bind(run.card)
    decoded = engine.run(tensor) if outputs is None else outputs
    groups["decode"] = decoder_stages(run.card, decoded, geometry)
    wholes["decode"] = lambda: bound(decoded, geometry)
    wholes["pre"] = pre.pop("whole")
    rows: list[tuple[str, str, float]] = []
    for stage in STAGES:
        calls = {"whole": wholes[stage], **groups[stage]}
        times = interleaved(calls, budget_s=budget_s / len(STAGES), slice_s=0.1)
        rows += [(stage, part, times[part].ms) for part in calls]
        nested = sum(times[part].ms for part in groups[stage])
        rows.append((stage, "(rest)", max(times["whole"].ms - nested, 0.0)))
    engine.close()
    return rows


def _pre_parts(spec: InputSpec) -> tuple[Float32, Geometry | None, Calls]:
    """Return the input tensor, its geometry, and the parts of making it."""
    if spec.kind == "audio" and spec.audio is not None:
        audio = spec.audio
        clip = sound(audio.seconds, audio.sample_rate)
        decibels = log_mel(clip, audio)
        return (
            prepare_audio(clip, audio.sample_rate, spec),
            None,
            {
                "whole": lambda: prepare_audio(clip, audio.sample_rate, spec),
                "mel spectrogram": lambda: log_mel(clip, audio),
                "normalise and resize": lambda: normalise_mel(decibels, spec.hw, audio.normalise),
            },
        )
    picture = frame()
    preparer = Preparer(spec)
    content = fit(FRAME_HW, spec.hw, spec.resize)
    small = frame(content)
    tensor, geometry = preparer(picture)
    same_size = Preparer(spec)

    def whole() -> None:
        preparer.release(preparer(as_rgb(picture))[0])

    return (
        tensor,
        geometry,
        {
            "whole": whole,
            "as_rgb": lambda: as_rgb(picture),
            "resize": lambda: resize(picture, content, spec.resize.interpolation),
            "normalise and lay out": lambda: same_size.release(same_size(small)[0]),
        },
    )


def _bare_engine(path: Path, engine: str, tensor: Float32) -> Callable[[], object]:
    """Return the run of a file by its engine's own interface, without our checks."""
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: tensor})
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    exits = [item["index"] for item in interpreter.get_output_details()]

    def run() -> list[Any]:
        interpreter.set_tensor(entry, tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in exits]

    return run


def _verdicts(best: list[_Run], warm: list[dict[str, float]]) -> list[Verdict]:
    """Return the limits of pre and decode; the note has what they take by themselves, with warm caches."""
    verdicts = []
    for run, alone in zip(best, warm, strict=True):
        pre, infer, decode = (run.times[stage].ms for stage in STAGES)
        name = run.card.model
        note = f"{run.engine}, infer {infer:.2f} ms; {alone['pre'] + alone['decode']:.2f} ms by themselves"
        if run.card.decoder.name == "openpose-paf":
            verdicts.append(
                Verdict(
                    what=f"{name}: pre + decode, {PEOPLE} people",
                    value=pre + decode,
                    unit="ms",
                    sense="<=",
                    limit=POSE_MS,
                    busy=run.busy,
                    note=note,
                )
            )
        elif run.card.decoder.name == "face-priors":
            verdicts.append(
                Verdict(
                    what=f"{name}: pre + decode of infer, {run.faces} faces",
                    value=100 * (pre + decode) / infer,
                    unit="%",
                    sense="<=",
                    limit=100 * FACE_SHARE,
                    busy=run.busy,
                    note=note,
                )
            )
    mels = [run.times["pre"].ms for run in best if run.card.input.kind == "audio"]
    judges = [run for run in best if run.card.model == MEL_MODEL]
    if mels and judges:
        verdicts.append(
            Verdict(
                what=f"mel front end for 30 s of infer of {MEL_MODEL}",
                value=100 * max(mels) / judges[0].times["infer"].ms,
                unit="%",
                sense="<=",
                limit=100 * MEL_SHARE,
                busy=judges[0].busy,
                note=f"{max(mels):.2f} ms of {judges[0].times['infer'].ms:.2f} ms",
            )
        )
    return verdicts
