"""Our MixMIM against the official code (record_mixmim.py), and against mmpretrain run here."""

import pytest
import torch
from torch import nn

from mmmim.checkpoints import convert, load_backbone
from mmmim.checkpoints.formats import export
from mmmim.registry import MODELS
from tests.parity.common import (
    SEED,
    assert_equal_step,
    close_to_summary,
    images,
    load,
    set_weights,
    tensor_summary,
)

NARROW = dict(embed_dims=32, depths=(2, 2, 4, 2), num_heads=(1, 2, 4, 8))
DECODER = dict(embed_dims=64, depth=2, num_heads=4)


def official_names(model: nn.Module) -> dict[str, nn.Parameter]:
    """Official name -> our parameter, for trained parameters."""
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    renamed, left_out = export(trained, "mixmim")
    assert not left_out
    return {n: p for n, p in renamed.items() if isinstance(p, nn.Parameter)}


def test_loss_and_every_gradient_equal_the_official_ones():
    expected = load("mixmim_base")
    model = MODELS.build(dict(type="MixMIM", backbone=dict(type="MixMIMTransformer", arch="base")))
    trained = official_names(model)
    set_weights(trained)

    torch.manual_seed(SEED)
    loss = model(images(3, 224), mode="loss")["loss"]
    loss.backward()
    assert_equal_step(expected, loss, trained)


@pytest.mark.parametrize(
    ("size", "windows"), [(224, (14, 14, 14, 7)), (384, (16, 16, 24, 12))], ids=["224", "384"]
)
def test_maps_from_a_converted_file_equal_the_official_ones(size, windows):
    expected = load(f"mixmim_maps_{size}")
    backbone = MODELS.build(
        dict(
            type="MixMIMTransformer",
            arch=NARROW,
            img_size=size,
            window_sizes=windows,
            out_indices=(0, 1, 2, 3),
        )
    ).eval()
    weights = {n: torch.empty(shape) for n, shape in expected["shapes_of_weights"].items()}
    set_weights(weights)
    converted, left_out = convert({**weights, "absolute_pos_embed": backbone.absolute_pos_embed.data})
    assert not left_out
    state = {name.removeprefix("backbone."): value for name, value in converted.items()}
    missing, unexpected = backbone.load_state_dict(state, strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"norm0", "norm1", "norm2"}

    with torch.no_grad():
        maps = backbone(images(1, size))
    for i, summary in enumerate(expected["maps"]):
        ours = tensor_summary(f"map {i}", maps[i].flatten(2).transpose(1, 2))
        assert ours == close_to_summary(summary)


def test_tables_are_resized_for_384_pixels_as_officially(tmp_path):
    expected = load("mixmim_resizing")
    weights = {n: torch.empty(shape) for n, shape in expected["shapes_of_weights"].items()}
    set_weights(weights)
    small = MODELS.build(dict(type="MixMIMTransformer", arch=NARROW))
    weights["absolute_pos_embed"] = small.absolute_pos_embed.data
    torch.save(weights, tmp_path / "official.pth")
    large = MODELS.build(
        dict(type="MixMIMTransformer", arch=NARROW, img_size=384, window_sizes=(16, 16, 24, 12))
    )
    load_backbone(large, str(tmp_path / "official.pth"))
    resized, _ = export({f"backbone.{n}": v for n, v in large.state_dict().items()}, "mixmim")
    for name, summary in expected["tables"].items():
        assert tensor_summary(name, resized[name]) == close_to_summary(summary), name


def test_equal_to_mmpretrains_on_the_same_weights():
    """mmpretrain's decoder norms have an eps of 1e-6 (mixmim_neck.py); official and ours have 1e-5."""
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS as MMPRETRAIN

    torch.manual_seed(0)
    ours = MODELS.build(
        dict(type="MixMIM", backbone=dict(type="MixMIMTransformer", arch=NARROW), decoder=DECODER)
    )
    for module in ours.decoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        theirs = MMPRETRAIN.build(
            dict(
                type="MixMIM",
                backbone=dict(
                    type="MixMIMPretrainTransformer",
                    arch={k: list(v) if isinstance(v, tuple) else v for k, v in NARROW.items()},
                ),
                neck=dict(
                    type="MixMIMPretrainDecoder",
                    num_patches=49,
                    encoder_stride=32,
                    embed_dim=256,
                    decoder_embed_dim=64,
                    decoder_depth=2,
                    decoder_num_heads=4,
                ),
                head=dict(
                    type="MixMIMPretrainHead",
                    norm_pix=True,
                    loss=dict(type="PixelReconstructionLoss", criterion="L2"),
                ),
            )
        )
    state, left_out = export(ours.state_dict(), "mmpretrain-mixmim")
    assert not left_out
    theirs.load_state_dict(state)
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in convert(theirs.state_dict())[0].items())

    batch, losses = images(4, 224), []
    for loss in (lambda: ours(batch)["loss"], lambda: theirs(batch, mode="loss")["loss"]):
        torch.manual_seed(SEED)
        losses.append(loss())
        losses[-1].backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    gradients = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    converted, _ = convert(gradients)
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            difference = (parameter.grad - converted[name]).norm() / converted[name].norm()
            assert difference < 1e-5, name
