import torch

from mmmim.registry import MODELS

VIT = dict(
    type="ClassTokenViT",
    arch=dict(embed_dims=16, depth=2, num_heads=2),
    img_size=32,
    patch_size=8,
    drop_path_rate=0.5,
)


def test_a_frozen_backbone_stays_as_it_is():
    model = MODELS.build(dict(type="FrozenBackbone", backbone=VIT)).train()
    assert type(model).__name__ == "ClassTokenViT"
    assert not model.training
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images)[0], model(images)[0])  # no drop path
    assert model.state_dict().keys() == MODELS.build(VIT).state_dict().keys()


def test_the_class_token_is_normed_and_sees_all_patches():
    model = MODELS.build(VIT).eval()
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    (token,) = model(images)
    assert token.shape == (2, 16)
    assert token.mean(dim=1).abs().max() < 1e-5
    token.sin().sum().backward()
    assert (images.grad.abs().amax(dim=1) > 0).all()
