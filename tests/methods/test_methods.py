"""Properties of every method."""

import pytest
import torch

from mmmim.layers.tokens import flatten_pixels, patchify
from mmmim.masking import PatchMask, as_patch_mask, complementary_masks
from mmmim.methods import MAE as MAE_
from mmmim.methods import Method, is_method
from mmmim.registry import MODELS
from mmmim.visualization import draw_panels

BACKBONE = dict(type="ViT", arch=dict(embed_dims=32, depth=2, num_heads=2), img_size=32, patch_size=8)
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3)
MAE = dict(
    type="MAE",
    backbone=BACKBONE,
    decoder=dict(embed_dims=16, depth=1, num_heads=2),
    data_preprocessor=PREPROCESSOR,
)
CONVMAE = dict(
    MAE,
    type="ConvMAE",
    backbone=dict(
        type="ConvViT",
        arch=dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=2, patch_sizes=(2, 2, 2)),
        img_size=32,
    ),
)
FAST = dict(CONVMAE, type="FastConvMAE")
MIXMIM = dict(
    MAE,
    type="MixMIM",
    backbone=dict(
        type="MixMIMTransformer",
        arch=dict(embed_dims=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
        img_size=32,
        patch_size=1,
        window_sizes=(8, 8, 8, 4),
    ),
)
LSMAE = dict(MAE, type="LSMAE")
METHODS = {
    "MAE": MAE,
    "LSMAE": LSMAE,
    "PixMIM-LSMAE": dict(type="PixMIM", method=LSMAE),
    "MixMIM": MIXMIM,
    "PixMIM-MixMIM": dict(type="PixMIM", method=MIXMIM),
    "ConvMAE": CONVMAE,
    "FastConvMAE": FAST,
    "PixMIM": dict(type="PixMIM", method=MAE),
    "PixMIM-ConvMAE": dict(type="PixMIM", method=CONVMAE),
    "PixMIM-FastConvMAE": dict(type="PixMIM", method=FAST),
}

every_method = pytest.mark.parametrize("config", METHODS.values(), ids=METHODS)


@every_method
def test_a_loss_is_positive_seeded_and_reaches_every_parameter(config):
    model = MODELS.build(config)
    images = torch.randn(3, 3, 32, 32)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        losses.append(model(images)["loss"])
    assert losses[0] > 0
    assert torch.equal(*losses)
    losses[0].backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


@every_method
def test_a_loss_compiles_without_a_graph_break(config, check_compiled_loss):
    """This also rules out host-device syncs within the loss."""
    check_compiled_loss(MODELS.build(config), torch.randn(4, 3, 32, 32))


def test_compiled_gradients_are_the_eager_ones():
    """ConvMAE has a custom gradient (`_TakeUniqueRows`)."""
    model, images = MODELS.build(CONVMAE), torch.randn(4, 3, 32, 32)
    torch._dynamo.reset()
    gradients = []
    for loss in (model.loss, torch.compile(model.loss, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(0)
        loss(images)["loss"].backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
        model.zero_grad(set_to_none=True)
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradients[1][name], gradient, rtol=1e-4, atol=1e-6), name


@every_method
def test_modes(config):
    model = MODELS.build(config).eval()
    images = torch.randn(2, 3, 32, 32)
    assert (2, 32, 4, 4) in [tuple(m.shape) for m in model(images, mode="tensor")]
    output = model(images, mode="predict")
    assert output["mask"].shape == (2, 16)
    assert output["mask"].dtype == torch.bool
    assert output["reconstruction"].shape == output["target"].shape == images.shape
    with pytest.raises(ValueError, match="'loss', 'tensor' or 'predict', got 'train'"):
        model(images, mode="train")


@every_method
def test_visible_patches_of_a_reconstruction_are_the_input(config):
    model = MODELS.build(config).eval()
    images = torch.randn(2, 3, 32, 32)
    output = model(images, mode="predict")
    seen = as_patch_mask(output["mask"]).visible_idx
    for i in range(2):
        patches = flatten_pixels(patchify(images, 8))[i, seen[i]]
        drawn = flatten_pixels(patchify(output["reconstruction"], 8))[i, seen[i]]
        assert torch.equal(patches, drawn)


@every_method
def test_a_method_offers_what_tools_need(config):
    assert is_method(config)
    model = MODELS.build(config)
    assert isinstance(model, Method)
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    panels = model.eval().panels(images)
    assert panels[0].caption == "original"
    for panel in panels:
        assert panel.images.shape == images.shape
        assert 0 <= panel.images.min() <= panel.images.max() <= 1
    normalized = model.normalize(images)
    tokens = model.encode(normalized, model.draw_mask(normalized))
    assert tokens.shape[-1] == model.backbone.embed_dims
    assert set(model.timed_parts(normalized)) == ({"filter"} if config["type"] == "PixMIM" else set())


def test_other_models_are_no_methods():
    assert not is_method(BACKBONE)
    assert not is_method(dict(type="mmdet.MaskRCNN"))
    assert not is_method(dict(type="a model that is not registered"))


@MODELS.register_module()
def MadeMAE(**config) -> "MAE_":  # a quoted annotation of a subclass
    return MAE_(**config)


def test_a_function_that_builds_a_method_is_one():
    assert is_method(dict(type="MadeMAE"))
    assert is_method(dict(type=MadeMAE))


def test_a_preprocessor_without_statistics_leaves_pixels_as_they_are():
    model = MODELS.build(dict(MAE, data_preprocessor=dict(type="ImgDataPreprocessor")))
    images = torch.full((1, 3, 32, 32), 51.0)
    assert model.denormalize(images).unique().tolist() == pytest.approx([0.2])
    pixmim = MODELS.build(dict(type="PixMIM", method=dict(MAE, data_preprocessor=None)))
    assert pixmim.target.low_pass.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


@every_method
def test_a_batch_of_one(config):
    assert MODELS.build(config)(torch.randn(1, 3, 32, 32))["loss"].isfinite()


@every_method
def test_another_image_size_than_the_decoders_is_refused(config):
    with pytest.raises(ValueError, match=r"16 patches|32x32"):
        MODELS.build(config)(torch.randn(1, 3, 64, 64))


@every_method
def test_the_encoder_is_named_backbone(config):
    names = MODELS.build(config).state_dict()
    assert any(n.startswith("backbone.") and n.endswith(".attn.qkv.weight") for n in names)
    assert all(n.startswith(("backbone.", "fusion.", "decoder.")) for n in names)


def test_mae_loss_is_the_mean_over_hidden_patches_of_a_full_decoding():
    model = MODELS.build(MAE)
    images = torch.randn(2, 3, 32, 32)
    torch.manual_seed(0)
    loss = model(images)["loss"]
    torch.manual_seed(0)
    mask = model.draw_mask(images)
    prediction = model.decoder(model.backbone.encode_visible(images, mask), mask)
    patches = flatten_pixels(patchify(images, 8))
    normalized = (patches - patches.mean(-1, keepdim=True)) / (
        patches.var(-1, keepdim=True) + 1e-6
    ).sqrt()
    expected = (prediction - normalized[mask.mask].view_as(prediction)).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_mae_learns_to_reconstruct_one_image():
    torch.manual_seed(0)
    model = MODELS.build(MAE)
    images = torch.nn.functional.interpolate(torch.randn(1, 3, 4, 4), size=(32, 32), mode="bilinear")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        losses.append(model(images)["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


def test_lsmae_masks_squares_that_its_patches_hold():
    model = MODELS.build(LSMAE)
    mask = model.draw_mask(torch.randn(5, 3, 32, 32)).mask.view(5, 2, 2, 2, 2)
    squares = mask.permute(0, 1, 3, 2, 4).flatten(3)  # (image, row, column, patches of a square)
    assert torch.equal(squares.all(dim=3), squares.any(dim=3))
    assert squares.any(dim=3).sum(dim=(1, 2)).tolist() == [3] * 5
    with pytest.raises(ValueError, match="squares of 3x3 patches do not divide 4x4 patches"):
        MODELS.build(dict(LSMAE, mask_block=3))


def test_mae_needs_a_class_token():
    with pytest.raises(ValueError, match="with_cls_token=True"):
        MODELS.build(dict(MAE, backbone=dict(BACKBONE, with_cls_token=False)))


def test_convmae_needs_stages_and_mae_needs_none():
    with pytest.raises(ValueError, match="ConvMAE needs a ConvViT, got ViT"):
        MODELS.build(dict(CONVMAE, backbone=BACKBONE))
    with pytest.raises(
        ValueError, match=r"needs a backbone with a class token.*got ConvViT without a class token"
    ):
        MODELS.build(dict(MAE, backbone=CONVMAE["backbone"]))


def test_fastconvmae_is_the_mean_of_one_pass_per_mask():
    model = MODELS.build(FAST)
    images = torch.randn(2, 3, 32, 32)
    torch.manual_seed(0)
    loss = model(images)["loss"]
    torch.manual_seed(0)
    masks = map(PatchMask.from_tensor, complementary_masks(2, 16, 0.75, "cpu").mask.view(4, 2, 16))
    separate = [
        (model.decoder(model.encode(images, mask), mask) - model.target(images, mask)).square().mean()
        for mask in masks
    ]
    assert len(separate) == 4
    assert loss.item() == pytest.approx(sum(separate).item() / 4, rel=1e-6)


@pytest.mark.parametrize(
    ("config", "ratio", "message"),
    [
        (CONVMAE, 0.99, "keeps 0 of 16 patches"),
        (FAST, 0.6, r"0\.6 does not split 16 patches.*0\.5, 0\.75"),
        (FAST, 2 / 3, "does not split 16 patches"),
    ],
)
def test_a_mask_ratio_that_cannot_be_is_refused(config, ratio, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(config, mask_ratio=ratio))(torch.randn(1, 3, 32, 32))


class Precomputed(torch.nn.Module):
    """A method's pixel target of images that were filtered before."""

    def __init__(self, pixels: torch.nn.Module, filtered: torch.Tensor) -> None:
        super().__init__()
        self.pixels, self.filtered = pixels, filtered

    def forward(self, images: torch.Tensor, mask: PatchMask | None = None) -> torch.Tensor:
        return self.pixels(self.filtered, mask)


@pytest.mark.parametrize("host", [MAE, LSMAE, CONVMAE, FAST, MIXMIM], ids=lambda host: host["type"])
def test_pixmim_is_its_host_with_a_filtered_target(host):
    torch.manual_seed(0)
    plain = MODELS.build(host)
    torch.manual_seed(0)
    pixmim = MODELS.build(dict(type="PixMIM", method=host))
    assert type(pixmim) is type(plain)
    assert pixmim.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(3, 3, 32, 32)

    def loss(model: torch.nn.Module) -> torch.Tensor:
        torch.manual_seed(1)
        return model(images)["loss"]

    assert loss(plain) != loss(pixmim)
    plain.target = Precomputed(plain.target, pixmim.target.low_pass(images))
    assert torch.equal(loss(plain), loss(pixmim))


@pytest.mark.parametrize("radius", [0, 17])
def test_pixmim_refuses_a_radius_beyond_the_spectrum(radius):
    with pytest.raises(ValueError, match=rf"radius must be above 0 and at most 16.*got {radius}"):
        MODELS.build(dict(type="PixMIM", method=MAE, radius=radius))


def test_pixmim_scales_its_radius_and_takes_the_statistics_of_its_host():
    low_pass = MODELS.build(dict(type="PixMIM", method=MAE)).target.low_pass
    assert low_pass.mean.flatten().tolist() == pytest.approx([120 / 255] * 3)
    # 40 bins at 224 pixels are 5.71 at 32: columns 0 to 5 are kept, and half of column 6.
    assert low_pass.real.shape[1] == 7


def test_pixmim_refuses_a_host_that_predicts_no_pixels():
    student = dict(BACKBONE, final_norm=False)
    teacher = dict(
        name="vit_tiny_patch16_224",
        model_args=dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2),
        checkpoint="read only when training begins",
    )
    align = dict(type="MaskAlign", backbone=student, teacher=teacher, layer_weights="top1")
    for host in (align, BACKBONE):
        with pytest.raises(ValueError, match="predicts pixels"):
            MODELS.build(dict(type="PixMIM", method=host))


def test_an_unknown_type_names_what_was_asked_for():
    with pytest.raises(KeyError, match="MEA"):
        MODELS.build(dict(MAE, type="MEA"))


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_mixmim_pairs_from_both_ends_and_predicts_every_patch_once(batch):
    """models_mixmim.py:385-425 for any batch size; the middle of an odd batch is its own partner."""
    model = MODELS.build(MIXMIM)
    images = torch.randn(batch, 3, 32, 32)
    torch.manual_seed(0)
    loss = model(images)["loss"]
    torch.manual_seed(0)
    mask = model.draw_mask(images)
    assert mask.num_masked == int(mask.mask.sum()) == 8
    decoder, m = model.decoder, mask.mask[0].float().view(1, -1, 1)
    x = decoder.embed(model.backbone.encode_mixed(images, mask))
    x = torch.cat([x * (1 - m) + decoder.mask_token * m, x * m + decoder.mask_token * (1 - m)])
    x = x + decoder.pos_embed
    for block in decoder.blocks:
        x = block(x)
    own, partner = decoder.pred(decoder.norm(x)).chunk(2)
    unmixed = own * m + partner.flip(0) * (1 - m)
    patches = flatten_pixels(patchify(images, 8))
    target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    assert loss.item() == pytest.approx((unmixed - target).square().mean().item(), rel=1e-5)


def test_mixmim_shows_both_images_of_a_mixture():
    model = MODELS.build(MIXMIM).eval()
    images = torch.randn(4, 3, 32, 32)
    seen = model(images, mode="predict")
    masked = seen["mask"].view(4, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(seen["mixed"], torch.where(masked, images.flip(0), images))
    assert torch.equal(seen["partner"], images.flip(0))
    # The mixture shows the partner where the image is masked.
    partner = torch.where(masked, seen["partner_reconstruction"], seen["partner"])
    assert torch.equal(partner, seen["partner"])
    assert not torch.allclose(seen["partner_reconstruction"], seen["partner"])


def test_mixmim_draws_its_ratio_from_a_range():
    model = MODELS.build(dict(MIXMIM, mask_ratio=0.5, range_mask_ratio=0.4))
    images, counts = torch.zeros(1, 3, 32, 32), []
    for _ in range(2):
        torch.manual_seed(0)
        counts.append([model.draw_mask(images).num_masked for _ in range(60)])
    assert counts[0] == counts[1]  # a resumed run draws the same ratios
    assert set(counts[0]) <= set(range(8, 15))
    assert len(set(counts[0])) > 3


def test_mixmim_needs_its_transformer():
    with pytest.raises(ValueError, match="MixMIM needs a MixMIMTransformer, got ViT"):
        MODELS.build(dict(MIXMIM, backbone=BACKBONE))
    with pytest.raises(ValueError, match=r"keep the backbone's out_indices at \(3,\)"):
        MODELS.build(dict(MIXMIM, backbone=dict(MIXMIM["backbone"], out_indices=(0, 1, 2, 3))))
    with pytest.raises(ValueError, match=r"must be below 1.*got 0\.6 \+ 0\.4"):
        MODELS.build(dict(MIXMIM, mask_ratio=0.6, range_mask_ratio=0.4))


def test_a_picture_of_a_mixture_shows_both_images():
    panels = MODELS.build(MIXMIM).eval().panels(torch.randint(0, 255, (2, 3, 32, 32)))
    assert panels[4].caption == "the partner's reconstruction"
    picture = draw_panels(panels)
    assert picture.shape == (3, 2 * 36 + 4, 6 * 36 + 4)
    one, other = (picture[:, 4 + 36 * i : 36 + 36 * i, 4:36] for i in range(2))
    partner = picture[:, 4:36, 4 + 36 * 5 : 36 + 36 * 5]
    assert (partner.float() - other.float()).abs().max() <= 1
    assert not torch.equal(partner, one)
