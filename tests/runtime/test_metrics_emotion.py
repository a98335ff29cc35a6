"""Concordance against its formula, and where it must not be a NaN."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime.errors import InputError, ShapeError
from edge.runtime.metrics import interval, resample
from edge.runtime.metrics_emotion import ccc, emotion_score, rmse

ONCE: NDArray[np.float64] = np.ones((0, 40))


def clips(seed: int = 0, count: int = 40) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (count, 2))
    return np.clip(0.6 * truth + rng.normal(0.1, 0.2, truth.shape), -1, 1), truth


def test_concordance_is_that_of_lins_formula() -> None:
    x, y = (values[:, 0] for values in clips())
    covariance = np.mean((x - x.mean()) * (y - y.mean()))

    assert ccc(x, y) == pytest.approx(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2), abs=1e-12)
    assert ccc(x, y) == pytest.approx(ccc(y, x), abs=1e-12)


def test_known_cases() -> None:
    x = np.array([-0.5, 0.0, 0.5])

    assert ccc(x, x) == pytest.approx(1.0)
    assert ccc(-x, x) == pytest.approx(-1.0)
    assert ccc(x + 1.0, x) == pytest.approx(2 / 6 / (2 / 6 + 1.0))  # var = cov = 1/6: a shift of 1 costs its square
    assert ccc(2 * x, x) == pytest.approx(0.8)  # 2 * 2 / (4 + 1)
    assert rmse(x + 0.3, x) == pytest.approx(0.3)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, -0.7, 1e-30])
def test_a_constant_answer_has_no_concordance_rather_than_nan(constant: float) -> None:
    truth = clips()[1][:, 0]

    assert ccc(np.full(40, constant), truth) == 0.0
    assert ccc(truth, np.full(40, constant)) == 0.0
    assert ccc(np.full(40, constant), np.full(40, constant)) == 0.0


def test_the_score_is_the_mean_of_both_axes_and_names_them() -> None:
    found, truth = clips()

    score = emotion_score(found, truth, ONCE)

    assert score.parts["valence"] == ccc(found[:, 0], truth[:, 0])
    assert score.value == pytest.approx((score.parts["valence"] + score.parts["arousal"]) / 2)
    assert score.parts["rmse arousal"] == rmse(found[:, 1], truth[:, 1])
    assert emotion_score(truth, truth, ONCE).value == pytest.approx(1.0)
    assert emotion_score(np.zeros_like(truth), truth, ONCE).value == 0.0


def test_a_resampled_value_is_that_of_the_set_with_its_clips_repeated() -> None:
    found, truth = clips()
    draws = resample(40, 20, seed=5)

    score = emotion_score(found, truth, draws)

    for drawn, value in zip(draws, score.resampled, strict=True):
        clips_drawn = np.repeat(np.arange(40), drawn.astype(int))
        assert emotion_score(found[clips_drawn], truth[clips_drawn], ONCE).value == pytest.approx(value, abs=1e-12)


def test_the_interval_surrounds_the_value_and_narrows_with_more_clips() -> None:
    spans = []
    for count in (30, 480):
        score = emotion_score(*clips(count=count), resample(count, 400, seed=0))
        low, high = interval(score.resampled)
        assert low < score.value < high
        spans.append(high - low)

    assert spans[1] < spans[0] / 2  # a quarter, by the root of 16


def test_what_cannot_be_scored_is_refused() -> None:
    found, truth = clips()

    with pytest.raises(ShapeError, match=r"\(n, 2\)"):
        emotion_score(found[:, :1], truth, ONCE)
    with pytest.raises(InputError, match="at least two clips"):
        emotion_score(found[:1], truth[:1], np.ones((0, 1)))
    with pytest.raises(InputError, match="finite"):
        emotion_score(found * np.nan, truth, ONCE)
