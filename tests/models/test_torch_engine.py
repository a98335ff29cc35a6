"""A module answers as an engine does, whatever it returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from edge.models import registry  # noqa: E402
from edge.models.seeded import seeded  # noqa: E402
from edge.models.torch_engine import torch_runner  # noqa: E402
from edge.runtime.card import Card, InputSpec, OutputSpec  # noqa: E402
from edge.runtime.errors import InputError, ShapeError  # noqa: E402

SHAPE = (1, 3, 4, 4)
CARD = Card(
    model="two",
    input=InputSpec(shape=SHAPE, kind="tensor"),
    outputs=(OutputSpec(name="sum", shape=SHAPE), OutputSpec(name="double", shape=SHAPE)),
)
ONES = np.ones(SHAPE, np.float32)


class Two(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.add = nn.Parameter(torch.ones(1))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        total, double = self.drop(x) + self.add, x.mul_(2)
        return {
            "tuple": (total, double),
            "list": [total, double],
            "named": {"double": double, "sum": total, "more": x},
            "unnamed": {"a": total, "b": double},
            "one": total,
            "text": "no tensor",
        }[self.form]


@pytest.mark.parametrize("form", ["tuple", "list", "named", "unnamed"])
def test_outputs_come_under_the_cards_names_without_dropout(form: str) -> None:
    given = ONES.copy()

    outputs = torch_runner(Two(form), CARD)(given)

    assert list(outputs) == ["sum", "double"]
    np.testing.assert_array_equal(outputs["sum"], ONES * 2)
    np.testing.assert_array_equal(outputs["double"], ONES * 2)
    assert all(type(values) is np.ndarray and values.dtype == np.float32 for values in outputs.values())
    np.testing.assert_array_equal(given, ONES)  # the module doubled its input in place


def test_a_module_in_double_precision_answers_in_float32() -> None:
    outputs = torch_runner(Two("tuple").double(), CARD)(ONES)

    assert outputs["sum"].dtype == np.float32


def test_what_does_not_fit_the_card_is_refused() -> None:
    with pytest.raises(InputError, match="another number of outputs, expected 2, got 1"):
        torch_runner(Two("one"), CARD)(ONES)
    with pytest.raises(InputError, match="returns no tensors, got str"):
        torch_runner(Two("text"), CARD)(ONES)
    with pytest.raises(ShapeError, match="takes another tensor"):
        torch_runner(Two("tuple"), CARD)(ONES[:, :2])


def test_a_registered_network_gives_what_its_card_promises() -> None:
    entry = registry.get("emotion-proto-81k")
    card = entry.card(None)

    outputs = torch_runner(seeded(entry), card)(np.zeros(card.input.shape, np.float32))

    assert {name: values.shape for name, values in outputs.items()} == {"valence_arousal": (1, 2)}
