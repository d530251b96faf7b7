import pytest
import torch

from mmmim.masking import PatchMask
from mmmim.registry import MODELS

ARCH = dict(embed_dims=8, depths=(1, 2, 2, 1), num_heads=(1, 2, 2, 4))


def transformer(**kwargs):
    config = dict(arch=ARCH, img_size=64, patch_size=2, window_sizes=(8, 8, 8, 4))
    return MODELS.build({"type": "MixMIMTransformer", **config, **kwargs})


def mask_of(num_masked, length=16):
    mask = torch.zeros(1, length, dtype=torch.bool)
    mask[0, torch.randperm(length)[:num_masked]] = True
    return mask


def masked_attention(model, images, mask):
    """models_mixmim.py:65-92: full attention, with the logits of the other image at -1e30."""
    size = [images.shape[2] // 2, images.shape[3] // 2]
    coarse = mask.view(images.shape[2] // 16, -1)
    tokens = model.patch_embed(images).flatten(1, 2)
    fine = coarse.repeat_interleave(8, 0).repeat_interleave(8, 1).flatten()
    tokens = torch.where(fine[:, None], tokens.flip(0), tokens) + model._patch_pos_embed(tuple(size))
    for i, stage in enumerate(model.layers):
        partner = coarse.repeat_interleave(8 // 2**i, 0).repeat_interleave(8 // 2**i, 1).float()
        window = min(model.window_sizes[i], max(size)) if i == 3 else model.window_sizes[i]
        for block in stage.blocks:
            tokens = tokens + attend(block, tokens, partner, size, window)
            tokens = tokens + block.mlp(block.norm2(tokens))
        if i < 3:
            tokens = stage.downsample(tokens.unflatten(1, size)).flatten(1, 2)
            size = [side // 2 for side in size]
    return model.norm(tokens)


def attend(block, tokens, partner, size, window):
    def windows(x):
        x = x.reshape(len(x), size[0] // window, window, size[1] // window, window, -1)
        return x.transpose(2, 3).reshape(-1, window * window, x.shape[-1])

    x = windows(block.norm1(tokens))
    same = windows(partner.view(1, *size, 1)).repeat(len(tokens), 1, 1)
    other = (same != same.transpose(1, 2)).unsqueeze(1).float()
    heads = block.attn.num_heads
    query, key, value = block.attn.qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    logits = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    logits = logits + block.attn.relative_position.bias((window, window)) - 1e30 * other
    out = block.attn.proj((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))
    out = out.view(len(tokens), size[0] // window, size[1] // window, window, window, -1)
    return out.transpose(2, 3).reshape(tokens.shape)


@pytest.mark.parametrize(
    ("batch", "num_masked", "size"),
    [(1, 8, (64, 64)), (2, 1, (64, 64)), (3, 15, (64, 64)), (2, 9, (64, 128))],
)
def test_groups_and_shared_masks_are_the_masked_attention(batch, num_masked, size):
    model, length = transformer().eval(), size[0] * size[1] // 256
    images, mask = torch.randn(batch, 3, *size), mask_of(num_masked, length)
    tokens = model.encode_mixed(images, mask)
    assert tokens.shape == (batch, length, 64)
    assert torch.allclose(tokens, masked_attention(model, images, mask), atol=1e-4)
    draw = PatchMask.from_draw(mask, length - num_masked)
    assert torch.equal(tokens, model.encode_mixed(images, draw))


def test_a_map_that_is_one_window_need_not_be_square():
    """4 x 2 tokens in a window of 4: two groups, which read the middle of the bias table."""
    model, mask = transformer(window_sizes=(8, 8, 8, 4)).eval(), mask_of(3, 8)
    images = torch.randn(2, 3, 64, 32)
    tokens = model.encode_mixed(images, mask)
    changed = images.clone()
    changed[1] = torch.randn(3, 64, 32)
    own = ~mask[0]
    assert torch.equal(tokens[0, own], model.encode_mixed(changed, mask)[0, own])
    alone = torch.zeros(1, 8, dtype=torch.bool)
    assert not torch.allclose(tokens[0, own], model.encode_mixed(images, alone)[0, own])


def test_bfloat16_keeps_the_residual_stream_in_float32():
    model, seen = transformer(), []
    for stage in model.layers:
        for block in stage.blocks:
            block.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.encode_mixed(torch.randn(2, 3, 64, 64), mask_of(8))
    assert set(seen) == {torch.float32}


def test_images_of_a_mixture_never_meet():
    """The patches of the partner do not influence the image's own tokens."""
    model, mask = transformer().eval(), mask_of(8)
    images = torch.randn(2, 3, 64, 64)
    changed = images.clone()
    changed[1] = torch.randn(3, 64, 64)
    before, after = (model.encode_mixed(x, mask)[0] for x in (images, changed))
    assert torch.equal(before[~mask[0]], after[~mask[0]])
    assert not torch.allclose(before[mask[0]], after[mask[0]])


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (61, 50), (5, 3), (130, 20)])
def test_forward_at_any_size_with_gradients_to_every_parameter(size):
    model = transformer(out_indices=(0, 1, 2, 3))
    maps = model(torch.randn(1, 3, *size))
    side = [-(-s // 2) for s in size]
    for i, m in enumerate(maps):
        assert tuple(m.shape[1:]) == (8 * 2**i, *side)
        side = [-(-s // 2) for s in side]
    sum(m.square().sum() for m in maps).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_every_map_is_normed():
    for m in transformer(out_indices=(0, 1, 2, 3))(torch.randn(2, 3, 64, 64)):
        assert m.mean(1).abs().max() < 1e-5
        assert torch.allclose(m.var(1, unbiased=False), torch.ones(1), atol=1e-2)


def test_what_no_map_needs_does_not_exist():
    assert all(not n.startswith(("norm0", "norm1", "norm2")) for n in transformer().state_dict())
    assert not any(
        n.startswith(("layers.2", "norm.")) for n in transformer(out_indices=(1,)).state_dict()
    )


def test_checkpointing_computes_twice_and_keeps_gradients():
    images, mask, gradients, calls = torch.randn(2, 3, 64, 64), mask_of(8), [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = transformer(with_cp=with_cp)
        count = []
        for stage in model.layers:
            for block in stage.blocks:
                block.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        model.encode_mixed(images, mask).square().mean().backward()
        calls.append(len(count))
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert calls == [6, 12]
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, atol=1e-6)


def test_layers_are_numbered_for_decay():
    """util/lr_decay.py:61-77: a downsampling has the depth of the block that follows it."""
    model = transformer()
    layers = {
        "absolute_pos_embed": 0,
        "patch_embed.norm.weight": 0,
        "layers.0.blocks.0.attn.qkv.weight": 1,
        "layers.0.downsample.reduction.weight": 2,
        "layers.1.blocks.1.norm1.bias": 3,
        "layers.3.blocks.0.mlp.fc1.weight": 6,
        "norm.weight": 6,
    }
    assert {name: model.get_layer_depth(name) for name in layers} == layers
    assert model.num_layers == 6


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(arch="gigantic"), r"one of \['base', 'huge'.* got 'gigantic'"),
        (dict(arch=dict(depths=(1, 1, 1, 1))), "missing"),
        (dict(img_size=72), "multiple of the stride 16, got 72"),
        (dict(out_indices=(4,)), "among 0, 1, 2 and 3"),
        (dict(window_sizes=(8, 8, 4)), r"one side per stage.*got \(8, 8, 4\)"),
    ],
)
def test_a_wrong_argument_says_what_is_right(kwargs, message):
    with pytest.raises(ValueError, match=message):
        transformer(**kwargs)


def test_what_cannot_be_mixed_says_why():
    images = torch.zeros(2, 3, 64, 64)
    with pytest.raises(ValueError, match="multiple of the stride 16, got 70x64: resize or crop"):
        transformer().encode_mixed(torch.zeros(2, 3, 70, 64), mask_of(8))
    with pytest.raises(ValueError, match=r"shape \(1, 16\), one for the whole batch, got \(2, 16\)"):
        transformer().encode_mixed(images, mask_of(8).repeat(2, 1))
    with pytest.raises(ValueError, match=r"stage 1 has 32x32 tokens.*windows of 7.*window_sizes\[0\]"):
        transformer(window_sizes=(7, 8, 8, 4)).encode_mixed(images, mask_of(8))
