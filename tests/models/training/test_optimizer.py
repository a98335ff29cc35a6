"""What decays, and what does not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from edge.models.attention import SelfAttention  # noqa: E402
from edge.models.training.optimizer import make_optimizer  # noqa: E402

from .tiny_run import OPTIONS  # noqa: E402

pytestmark = pytest.mark.torch


def test_matrices_and_kernels_decay_and_vectors_tokens_and_positions_do_not() -> None:
    module = nn.Module()
    module.conv, module.norm, module.attention = nn.Conv2d(1, 1, 3), nn.LayerNorm(4), SelfAttention(4, 2)
    module.cls_token, module.pos_embed = nn.Parameter(torch.zeros(1, 1, 4)), nn.Parameter(torch.zeros(1, 5, 4))
    module.embeddings = nn.Module()
    module.embeddings.position_embeddings = nn.Parameter(torch.zeros(1, 5, 4))
    adapter = nn.Linear(2, 2)

    groups = make_optimizer([module, adapter], OPTIONS).param_groups

    names = {id(value): name for part in (module, adapter) for name, value in part.named_parameters()}
    decayed, spared = ({names[id(value)] for value in group["params"]} for group in groups)
    assert [group["weight_decay"] for group in groups] == [OPTIONS.weight_decay, 0.0]
    assert decayed == {"conv.weight", "attention.in_proj_weight", "attention.out_proj.weight", "weight"}
    assert spared == set(names.values()) - decayed
