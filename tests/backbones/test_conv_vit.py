import pytest
import torch

from mmmim.registry import MODELS

ARCH = dict(embed_dims=(8, 16, 32), depths=(1, 2, 2), num_heads=2)
SHARED = dict(relative_position="shared", relative_position_size=64)
WINDOWED = dict(window_size=3, global_blocks=(1,))


def conv_vit(**kwargs):
    return MODELS.build({"type": "ConvViT", "arch": ARCH, "img_size": 64, **kwargs})


def random_mask(batch, length, num_masked):
    return torch.rand(batch, length).argsort(1).argsort(1) < num_masked


def test_all_visible_tokens_are_the_dense_maps():
    model = conv_vit(out_indices=(0, 1, 2)).eval()
    images = torch.randn(2, 3, 64, 48)
    stages = model.encode_visible_stages(images, torch.zeros(2, 12, dtype=torch.bool))
    for stage, dense, side in zip(stages, model(images), (4, 2, 1), strict=True):
        blocks = stage.reshape(2, 4, 3, side, side, -1).permute(0, 5, 1, 3, 2, 4)
        assert torch.allclose(blocks.reshape(dense.shape), dense, atol=1e-5)


def test_visible_tokens_are_those_of_a_dense_pass_with_masked_convolutions():
    """The official code computes all tokens, and masks the input of depthwise convolutions."""
    model = conv_vit().eval()
    images, mask = torch.randn(2, 3, 64, 64), random_mask(2, 16, 11)
    tokens, shown = images.permute(0, 2, 3, 1), (~mask).view(2, 4, 4, 1).float()
    expected = []
    for embed, blocks, side in (
        (model.patch_embed1, model.blocks1, 4),
        (model.patch_embed2, model.blocks2, 2),
    ):
        tokens = embed(tokens)
        visible = shown.repeat_interleave(side, 1).repeat_interleave(side, 2)
        for block in blocks:
            mixed = block.conv1(block.norm1(tokens)) * visible
            mixed = block.attn(mixed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            tokens = tokens + block.conv2(mixed)
            tokens = tokens + block.mlp(block.norm2(tokens))
        patches = tokens.reshape(2, 4, side, 4, side, -1).transpose(2, 3).flatten(1, 2)
        expected.append(patches[~mask].view(2, 5, side, side, -1))
    stage1, stage2, _ = model.encode_visible_stages(images, mask)
    assert torch.allclose(stage1, expected[0], atol=1e-5)
    assert torch.allclose(stage2, expected[1], atol=1e-5)


def test_hidden_patches_have_no_influence_and_no_gradient():
    model = conv_vit()
    images, mask = torch.randn(2, 3, 64, 64, requires_grad=True), random_mask(2, 16, 12)
    masked = mask.view(2, 1, 4, 4).repeat_interleave(16, 2).repeat_interleave(16, 3)
    tokens = model.encode_visible(images, mask)
    assert tokens.shape == (2, 4, 32)
    tokens.square().sum().backward()
    assert images.grad[masked.expand_as(images)].abs().max() == 0
    assert images.grad[~masked.expand_as(images)].abs().min() > 0
    changed = torch.where(masked, torch.full_like(images, 5.0), images)
    assert torch.equal(tokens, model.encode_visible(changed, mask))


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (61, 50), (5, 3)])
@pytest.mark.parametrize(
    "config",
    [
        {},
        dict(SHARED, **WINDOWED),
        dict(WINDOWED, relative_position="decomposed", relative_position_size=64),
        dict(relative_position="bias", relative_position_size=64, layer_scale=1.0),
    ],
)
def test_forward_at_any_size_with_gradients_to_every_parameter(size, config):
    model = conv_vit(learnable_pos_embed=True, **config)
    maps = model(torch.randn(1, 3, *size))
    rows, columns = -(-size[0] // 16), -(-size[1] // 16)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (8, 4 * rows, 4 * columns),
        (16, 2 * rows, 2 * columns),
        (32, rows, columns),
        (32, -(-rows // 2), -(-columns // 2)),
    ]
    sum(m.square().sum() for m in maps).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_a_shared_table_that_no_block_reads_does_not_exist():
    assert conv_vit(**SHARED).window_position is None
    assert conv_vit(**SHARED, window_size=3).global_position is None
    assert conv_vit(**SHARED, window_size=3, global_blocks=(0, 1)).window_position is None


def test_only_the_maps_asked_for():
    images = torch.randn(1, 3, 64, 64)
    everything, last = conv_vit(), conv_vit(out_indices=(2,))
    last.load_state_dict(everything.state_dict())
    (only,) = last(images)
    assert torch.equal(only, everything(images)[2])


def test_shared_positions_are_one_table_each():
    model = conv_vit(**SHARED, **WINDOWED)
    names = [n for n in model.state_dict() if "position" in n]
    assert names == ["global_position.table", "window_position.table"]
    images = torch.randn(1, 3, 64, 64)
    before = model.eval()(images)[2]
    torch.nn.init.normal_(model.window_position.table)  # only block 0 is windowed
    assert not torch.allclose(before, model(images)[2])


@pytest.mark.parametrize("config", [{}, dict(SHARED, **WINDOWED)])
def test_checkpointing_computes_twice_and_keeps_gradients(config):
    images, gradients, calls = torch.randn(2, 3, 64, 64), [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = conv_vit(with_cp=with_cp, out_indices=(2,), **config)
        count = []
        for block in (*model.blocks1, *model.blocks2, *model.blocks3):
            block.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        model(images)[0].square().mean().backward()
        calls.append(len(count))
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert calls == [5, 10]
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, atol=1e-6)


def test_drop_path_grows_over_all_stages():
    model = conv_vit(drop_path_rate=0.4)
    blocks = [*model.blocks1, *model.blocks2, *model.blocks3]
    rates = [block.drop_path.rate for block in blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_layers_are_numbered_for_decay():
    """util/lr_decay.py:63-82: everything before stage 3 has depth 0."""
    model = conv_vit(**SHARED)
    layers = {
        "pos_embed": 0,
        "patch_embed4.weight": 0,
        "blocks1.0.attn.weight": 0,
        "blocks2.1.mlp.fc1.bias": 0,
        "blocks3.0.norm1.weight": 1,
        "blocks3.1.attn.qkv.weight": 2,
        "global_position.table": 3,
    }
    assert {name: model.get_layer_depth(name) for name in layers} == layers


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(arch="gigantic"), r"one of \['base', 'large'.* got 'gigantic'"),
        (dict(arch=dict(depths=(1, 1, 1))), "missing"),
        (dict(img_size=72), "multiple of the stride 16, got 72"),
        (dict(out_indices=(4,)), "among 0, 1, 2 and 3"),
        (dict(out_indices=(0, 1)), "include 2 or 3"),
        (dict(window_size=3, global_blocks=(1, 2)), r"lie in 0\.\.1, got \(1, 2\)"),
        (dict(relative_position="shared", relative_position_size=8), "at least 16 pixels, got 8"),
        (dict(relative_position="rotary"), "got 'rotary'"),
    ],
)
def test_a_wrong_argument_says_what_is_right(kwargs, message):
    with pytest.raises(ValueError, match=message):
        conv_vit(**kwargs)


def test_what_cannot_be_encoded_says_why():
    mask = torch.zeros(1, 16, dtype=torch.bool)
    images = torch.zeros(1, 3, 64, 64)
    for config in (SHARED, WINDOWED, dict(relative_position="decomposed")):
        with pytest.raises(ValueError, match="without windows and relative positions"):
            conv_vit(**config).encode_visible(images, mask)
    with pytest.raises(ValueError, match=r"shape \(1, 16\).*got \(1, 9\)"):
        conv_vit().encode_visible(images, mask[:, :9])
    with pytest.raises(ValueError, match=r"multiple of the patch size 16, got 70x64: resize.*64x64"):
        conv_vit().encode_visible(torch.zeros(1, 3, 70, 64), mask)
    with pytest.raises(ValueError, match="Lower mask_ratio"):
        conv_vit().encode_visible(images, ~mask)


def test_a_model_of_another_type_runs():
    assert conv_vit().double()(torch.randn(1, 3, 64, 64, dtype=torch.float64))[2].dtype == torch.float64


def test_bfloat16_keeps_the_residual_stream_in_float32():
    """Norms and residual sums run in float32, which keeps training finite at high learning rates."""
    model = conv_vit()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stages = model.encode_visible_stages(torch.randn(1, 3, 64, 64), random_mask(1, 16, 8))
    assert [stage.dtype for stage in stages] == [torch.float32] * 3
