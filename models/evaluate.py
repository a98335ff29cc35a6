"""Judge a network by the metric of its family: the same code for PyTorch, ONNX and TFLite. No torch here.

Every sample goes the way it goes in use: prepared by the card's input contract, decoded by the card's decoder, mapped
back to the picture. Only the threshold of display is left out, for average precision needs the uncertain finds too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..runtime.audio_input import prepare_audio
from ..runtime.card import Card, InputSpec
from ..runtime.decode import bind
from ..runtime.errors import InputError, ShapeError
from ..runtime.geometry import Geometry
from ..runtime.metrics import Score, interval, resample
from ..runtime.metrics_emotion import emotion_score
from ..runtime.metrics_face import FacesFound, FacesTrue, face_ap
from ..runtime.metrics_pose import PeopleFound, PeopleTrue, check_installed, oks_ap
from ..runtime.preprocess import Preparer
from ..runtime.progress import Tick
from ..runtime.results import Result
from ..runtime.skeleton import COCO_INDEX
from .data.samples import EmotionSample, FaceSample, PoseSample, Sample, SampleError, Source, SpectrogramSample
from .judgement import Drop, Metrics, paired_drop

__all__ = ["FAMILIES", "Candidate", "Drop", "Metrics", "evaluate", "evaluate_all", "paired_drop"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Run = Callable[[Float32], Mapping[str, NDArray[Any]]]


class Candidate(NamedTuple):
    """A network to judge: what runs it, see `evaluate`, and its card or that of its file."""

    run: Run
    card: Card


def evaluate(
    run: Run,
    card: Card,
    source: Source[Sample],
    *,
    limit: int | None = None,
    tick: Tick | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Metrics:
    """Return the metric of one network.

    Args:
        run: maps the card's input tensor to its outputs by name, as `runtime.engines.Engine.run` does;
            `torch_engine.torch_runner` makes one of a module.
        card: of the network or, with the file's layouts, of its file.
        source: samples of the card's family; what cannot be read is left out and counted.
        limit: judge the first so many samples only; None: all.
        tick: told how many samples have been looked at, and how many there are, after each.
        bootstrap: rounds of resampling for the interval; 0: none.
        seed: of the resampling; equal arguments give equal results.

    Raises:
        InputError: the source is not of a kind that the card takes, nothing can be read, or there is nothing to find.
        MissingExtraError: people are judged, and faster-coco-eval is not installed.
        EdgeError: whatever `run` raises.
    """
    return evaluate_all([Candidate(run, card)], source, limit=limit, tick=tick, bootstrap=bootstrap, seed=seed)[0]


def evaluate_all(
    candidates: Sequence[Candidate],
    source: Source[Sample],
    *,
    limit: int | None = None,
    tick: Tick | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[Metrics]:
    """Return the metrics of several networks on the same samples, each of which is read or drawn once; see `evaluate`.

    Raises:
        InputError, MissingExtraError, EdgeError: as `evaluate`.
    """
    judges = [_judge(source.family)(candidate) for candidate in candidates]
    wanted = len(source) if limit is None else min(limit, len(source))
    skipped, last_error = 0, None
    for index in range(wanted):
        try:
            sample = source[index]
        except SampleError as error:
            skipped, last_error = skipped + 1, error
        else:
            for judge in judges:
                judge.look(sample)
        if tick is not None:
            tick(index + 1, wanted)
    judged = wanted - skipped
    if not judged:
        raise InputError(f"nothing to judge in {source.label}", got=last_error or "no sample")
    draws = resample(judged, bootstrap, seed)
    metrics = []
    for judge in judges:
        score = judge.score(draws)
        low, high = interval(score.resampled)
        metrics.append(
            Metrics(
                name=judge.metric,
                value=score.value,
                low=low,
                high=high,
                parts=score.parts,
                samples=judged,
                skipped=skipped,
                nonfinite=judge.nonfinite,
                data=source.label,
                digest=source.digest,
                seed=seed,
                resampled=score.resampled,
            )
        )
    return metrics


class _Judge(ABC):
    """Collects what one network finds and what is there."""

    metric: ClassVar[str]
    kind: ClassVar[str]  # of the decoder's results
    threshold: ClassVar[float | None] = None  # None: whatever the decoder finds

    def __init__(self, candidate: Candidate) -> None:
        self.run, self.card = candidate
        self.decode = bind(self.card)
        self.nonfinite = 0

    def look(self, sample: Sample) -> None:
        """Let the network answer one sample, and keep answer and truth."""
        tensor, geometry = self.prepare(sample)
        result = self.decode(self.run(tensor), geometry, self.threshold)
        if result.kind != self.kind:
            raise InputError(
                f"`{self.card.model}` cannot be judged by {self.metric}",
                expected=f"a card whose decoder finds {self.kind}",
                got=f"`{self.card.decoder.name}`",
            )
        self.nonfinite += result.nonfinite > 0
        self.keep(result, sample)

    @abstractmethod
    def prepare(self, sample: Any) -> tuple[Float32, Geometry | None]:
        """Return the input tensor, and where the pixels of a picture went."""

    @abstractmethod
    def keep(self, result: Result, sample: Any) -> None:
        """Keep what was found and what is there."""

    @abstractmethod
    def score(self, draws: Float64) -> Score:
        """Return the metric of all that was kept."""


class _PictureJudge(_Judge):
    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        self.preparer = Preparer(self.card.input)

    def prepare(self, sample: PoseSample | FaceSample) -> tuple[Float32, Geometry]:
        return self.preparer(sample.image)


class _PeopleJudge(_PictureJudge):
    metric, kind = "OKS-AP", "people"

    def __init__(self, candidate: Candidate) -> None:
        check_installed()
        super().__init__(candidate)
        self.found: list[PeopleFound] = []
        self.truths: list[PeopleTrue] = []

    def keep(self, result: Result, sample: PoseSample) -> None:
        people = [person.coco17() for person in result.people]
        self.found.append(
            PeopleFound(
                keypoints=np.array(people, np.float64).reshape(-1, 17, 3),
                scores=np.array([person.score for person in result.people], np.float64),
            )
        )
        coco = np.zeros((len(sample.keypoints), 17, 3), np.float64)
        for part, place in enumerate(COCO_INDEX):
            if place is not None:
                coco[:, place] = sample.keypoints[:, part]
        self.truths.append(PeopleTrue(keypoints=coco, boxes=sample.boxes, areas=sample.areas, crowd=sample.crowd))

    def score(self, draws: Float64) -> Score:
        return oks_ap(self.found, self.truths, draws)


class _FacesJudge(_PictureJudge):
    metric, kind, threshold = "AP", "faces", 0.0

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        self.found: list[FacesFound] = []
        self.truths: list[FacesTrue] = []

    def keep(self, result: Result, sample: FaceSample) -> None:
        self.found.append(
            FacesFound(
                boxes=np.array([face.box_xyxy for face in result.faces], np.float64).reshape(-1, 4),
                scores=np.array([face.score for face in result.faces], np.float64),
            )
        )
        self.truths.append(FacesTrue(boxes=sample.boxes, ignore=sample.ignore))

    def score(self, draws: Float64) -> Score:
        return face_ap(self.found, self.truths, draws)


class _EmotionJudge(_Judge):
    metric, kind = "CCC", "emotion"

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate)
        self.found: list[tuple[float, float]] = []
        self.truths: list[Float32] = []

    def prepare(self, sample: EmotionSample | SpectrogramSample) -> tuple[Float32, None]:
        if isinstance(sample, SpectrogramSample):
            return _from_spectrogram(sample.tensor, self.card.input), None
        return prepare_audio(sample.sound, int(sample.rate[0]), self.card.input), None

    def keep(self, result: Result, sample: EmotionSample | SpectrogramSample) -> None:
        emotion = result.emotion
        # No answer counts as the neutral one, and in `nonfinite`.
        self.found.append((0.0, 0.0) if emotion is None else (emotion.valence, emotion.arousal))
        self.truths.append(sample.target)

    def score(self, draws: Float64) -> Score:
        return emotion_score(np.array(self.found, np.float64), np.stack(self.truths).astype(np.float64), draws)


_JUDGES: Mapping[str, type[_Judge]] = {"pose": _PeopleJudge, "face": _FacesJudge, "emotion": _EmotionJudge}
FAMILIES = tuple(_JUDGES)


def _judge(family: str) -> type[_Judge]:
    if family not in _JUDGES:
        raise InputError("no metric for this family", expected=" | ".join(_JUDGES), got=family)
    return _JUDGES[family]


def _from_spectrogram(values: Float32, spec: InputSpec) -> Float32:
    """Return the input tensor of one normalised spectrogram, (1, H, W)."""
    if values.shape != (1, *spec.hw):
        raise ShapeError("the network takes spectrograms of another size", expected=(1, *spec.hw), got=values.shape)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    if spec.layout == "NCHW":
        tensor = (values - mean[:, None, None]) / std[:, None, None]
    else:
        tensor = (values[0, :, :, None] - mean) / std
    return np.ascontiguousarray(tensor[None], np.float32)
