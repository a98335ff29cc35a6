"""The networks' parts against slow or independent references."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from edge.models.attention import SelfAttention  # noqa: E402
from edge.models.bifpn import fuse, pool_half  # noqa: E402
from edge.models.deform import DeformableConv2d, deform_conv2d, deform_conv2d_taps, use_form  # noqa: E402
from edge.models.emotion_teacher import rename_from_transformers_5  # noqa: E402
from edge.models.shuffle import shuffle_groups_first, shuffle_groups_last  # noqa: E402

pytestmark = pytest.mark.torch


def _inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        drawn: Tensor = torch.randn(*shape, generator=generator)
        return drawn

    return draw(batch, 5, 7, 6), 2 * draw(batch, 18, 7, 6), draw(batch, 9, 7, 6).sigmoid() * 2, draw(4, 5, 3, 3)


def _by_grid_sample(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    height, width = x.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    total: Tensor = torch.zeros(x.shape[0], weight.shape[0], height, width)
    for tap in range(9):
        y = rows + tap // 3 - 1 + offset[:, 2 * tap]
        x_at = columns + tap % 3 - 1 + offset[:, 2 * tap + 1]
        grid = torch.stack([2 * x_at / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
        sampled = functional.grid_sample(x, grid, align_corners=True) * mask[:, tap : tap + 1]
        total += functional.conv2d(sampled, weight[:, :, tap // 3, tap % 3, None, None])
    return total


def test_deformable_convolution_equals_nine_grid_samples() -> None:
    inputs = _inputs()

    torch.testing.assert_close(deform_conv2d(*inputs), _by_grid_sample(*inputs), atol=2e-5, rtol=1e-5)


def test_without_offsets_it_is_the_plain_convolution() -> None:
    x, offset, mask, weight = _inputs()

    found = deform_conv2d(x, offset * 0, torch.ones_like(mask), weight)
    torch.testing.assert_close(found, functional.conv2d(x, weight, padding=1), atol=1e-5, rtol=1e-5)


def test_a_whole_pixel_offset_in_y_moves_the_picture_up_one_row() -> None:
    x = torch.arange(12.0).reshape(1, 1, 4, 3)
    offset = torch.zeros(1, 18, 4, 3)
    offset[:, 0::2] = 1.0  # dy of every tap
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1.0

    found = deform_conv2d(x, offset, torch.ones(1, 9, 4, 3), weight)
    assert torch.equal(found[0, 0, :3], x[0, 0, 1:])
    assert not found[0, 0, 3].any()  # outside counts as zero


def test_far_and_absurd_offsets_read_zero() -> None:
    x, offset, mask, weight = _inputs()

    assert not deform_conv2d(x, torch.full_like(offset, 1e9), mask, weight).any()


def test_the_operator_and_its_plain_form_agree_and_have_gradients() -> None:
    x, offset, mask, weight = (value.double().requires_grad_() for value in _inputs(batch=1))

    torch.testing.assert_close(deform_conv2d(x, offset, mask, weight), deform_conv2d_taps(x, offset, mask, weight))
    assert torch.autograd.gradcheck(deform_conv2d, (x, offset, mask, weight), fast_mode=True)


def test_in_mixed_precision_it_computes_in_float32_and_has_gradients() -> None:
    layer = DeformableConv2d(4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x.bfloat16())
    found.square().mean().backward()

    assert found.dtype == torch.float32
    assert all(part.grad is not None and part.grad.isfinite().all() for part in layer.parameters())


def test_use_form_switches_every_deformable_layer() -> None:
    net = torch.nn.Sequential(DeformableConv2d(4, 4), torch.nn.ReLU(), DeformableConv2d(4, 2)).eval()
    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    before = net(x)

    assert use_form(net, "taps") == 2
    torch.testing.assert_close(net(x), before)
    assert "deform_conv2d" not in str(torch.export.export(net, (x,)).graph)
    use_form(net, "op")
    assert "edge.deform_conv2d" in str(torch.export.export(net, (x,)).graph)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="form"):
        use_form(DeformableConv2d(4, 4), "plain")


def test_attention_equals_torchs_own() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(24, 3, batch_first=True).eval()
    mine = SelfAttention(24, 3).eval()
    mine.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 11, 24)

    torch.testing.assert_close(mine(x), theirs(x, x, x, need_weights=False)[0], atol=1e-6, rtol=1e-5)


def test_the_two_shuffles_are_inverse_and_different() -> None:
    x = torch.arange(8.0).reshape(1, 8, 1, 1)

    assert shuffle_groups_first(x).flatten().tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert shuffle_groups_last(x).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert torch.equal(shuffle_groups_last(shuffle_groups_first(x)), x)


@pytest.mark.parametrize("side", [4, 6, 5, 7])
def test_pooling_pads_with_zeros_on_the_far_side(side: int) -> None:
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side)) - 5  # all negative: zeros win
    near = side % 2
    wanted = functional.max_pool2d(functional.pad(x, (near, 1, near, 1)), 3, 2)

    assert torch.equal(pool_half(x), wanted)
    assert float(pool_half(x).max()) == 0.0


def test_fusion_weights_beyond_the_inputs_still_enter_the_sum() -> None:
    weights = torch.tensor([1.0, 1.0, 2.0])
    one = torch.ones(1, 1, 1, 1)

    assert fuse(weights, [one, one]).item() == pytest.approx(2 / 4.0001)
    assert fuse(torch.tensor([-1.0, 1.0]), [one, 3 * one]).item() == pytest.approx(3 / 1.0001)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("vit.layers.3.attention.q_proj.weight", "vit.encoder.layer.3.attention.attention.query.weight"),
        ("vit.layers.0.attention.o_proj.bias", "vit.encoder.layer.0.attention.output.dense.bias"),
        ("vit.encoder.layers.11.mlp.fc2.weight", "vit.encoder.layer.11.output.dense.weight"),
        ("vit.layers.7.layernorm_after.bias", "vit.encoder.layer.7.layernorm_after.bias"),
        ("vit.embeddings.cls_token", "vit.embeddings.cls_token"),
        ("head.2.weight", "head.2.weight"),
    ],
)
def test_keys_of_transformers_5_get_their_older_names(new: str, old: str) -> None:
    assert rename_from_transformers_5(new) == old
    assert rename_from_transformers_5(old) == old
