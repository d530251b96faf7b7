import pytest
import torch

from mmmim.registry import MODELS

ARCH = dict(embed_dims=32, depth=3, num_heads=2)
VITDET = dict(
    with_cls_token=False,
    final_norm=False,
    window_size=3,
    global_blocks=(1,),
    relative_position="decomposed",
    relative_position_size=64,
)


def vit(**kwargs):
    return MODELS.build(dict(type="ViT", arch=ARCH, img_size=64, patch_size=8, **kwargs))


def test_all_visible_tokens_are_the_dense_map():
    model = vit().eval()
    images = torch.randn(2, 3, 64, 64)
    tokens = model.encode_visible(images, torch.zeros(2, 64, dtype=torch.bool))
    (dense,) = model(images)
    assert torch.allclose(tokens[:, 1:].transpose(1, 2).unflatten(2, (8, 8)), dense, atol=1e-5)


def test_hidden_patches_have_no_influence():
    model = vit().eval()
    mask = torch.rand(2, 64).argsort(1) >= 16
    images = torch.randn(2, 3, 64, 64)
    changed = images.clone()
    masked = mask.view(2, 1, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed[masked.expand_as(images)] = 5.0
    tokens = model.encode_visible(images, mask)
    assert tokens.shape == (2, 17, 32)
    assert torch.equal(tokens, model.encode_visible(changed, mask))


@pytest.mark.parametrize("size", [(64, 64), (40, 72), (61, 50), (5, 3)])
@pytest.mark.parametrize("config", [{}, VITDET, dict(relative_position="bias", layer_scale=1.0)])
def test_forward_at_any_size_with_gradients_to_every_parameter(size, config):
    model = vit(out_indices=(0, 2), learnable_pos_embed=True, **config)
    maps = model(torch.randn(1, 3, *size))
    assert [m.shape for m in maps] == [(1, 32, -(-size[0] // 8), -(-size[1] // 8))] * 2
    sum(m.square().sum() for m in maps).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without  # DDP raises an error for these


def test_an_image_is_padded_with_zeros_to_whole_patches():
    model = vit().eval()
    images = torch.randn(1, 3, 37, 50)
    padded = torch.nn.functional.pad(images, (0, 6, 0, 3))
    assert torch.equal(model(images)[0], model(padded)[0])


def test_checkpointing_keeps_gradients():
    images, gradients = torch.randn(2, 3, 64, 64), []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = vit(with_cp=with_cp)
        model(images)[0].square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.allclose(plain, checkpointed, atol=1e-6)


def test_drop_path_grows_with_depth():
    model = vit(drop_path_rate=0.2)
    assert [b.drop_path.rate for b in model.blocks] == pytest.approx([0, 0.1, 0.2])


def test_layers_are_numbered_for_decay():
    model = vit()
    names = ["pos_embed", "cls_token", "patch_embed.proj.weight", "blocks.0.norm1.bias", "norm.weight"]
    assert [model.get_layer_depth(n) for n in names] == [0, 0, 0, 1, 4]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(arch="gigantic"), r"one of \['base', 'huge'.* got 'gigantic'"),
        (dict(arch=dict(depth=2)), "missing"),
        (dict(img_size=65), "multiple of patch_size 8, got 65"),
        (dict(window_size=7), "with_cls_token=False"),
        (dict(out_indices=(5,)), "3-block model"),
        (dict(relative_position="rotary"), "got 'rotary'"),
    ],
)
def test_a_wrong_argument_says_what_is_right(kwargs, message):
    config = {"type": "ViT", "arch": ARCH, "img_size": 64, "patch_size": 8, **kwargs}
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


def test_windows_cannot_encode_visible_patches():
    mask = torch.zeros(1, 64, dtype=torch.bool)
    with pytest.raises(ValueError, match="without windows and relative positions"):
        vit(**VITDET).encode_visible(torch.zeros(1, 3, 64, 64), mask)
    with pytest.raises(ValueError, match=r"shape \(1, 64\).*got \(1, 49\)"):
        vit().encode_visible(torch.zeros(1, 3, 64, 64), mask[:, :49])
