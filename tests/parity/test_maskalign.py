"""Our MaskAlign against the official code, our teachers against transformers' (record_maskalign.py)."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mmmim.checkpoints import convert
from mmmim.methods.maskalign import Teacher
from mmmim.registry import MODELS
from tests.parity.common import SEED, assert_equal_step, draw, images, load, set_weights, tensor_summary

CLIP = "vit_base_patch16_clip_quickgelu_224.openai"
NARROW = dict(embed_dims=64, depth=12, num_heads=4)
# The same as STEPS of record_maskalign.py.
STEPS = {
    "linear": dict(),
    "sum": dict(alignment=dict(fusion="sum"), loss="l2"),
    "simple": dict(
        alignment=dict(fusion="simple", head="mlp"),
        target_norm="l2",
        loss="l1",
        layer_weights="mean",
    ),
    "batch_norm": dict(
        alignment=dict(head="norm_linear"), target_norm="bn", layer_weights="linear_decay"
    ),
    "middle": dict(
        alignment=dict(fusion="sum", head="mlp2"), target_norm="none", loss="l2", layer_weights="mid3"
    ),
    "random": dict(masking="random", layer_weights="out", loss="l2"),
}


def drawn(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    weights = {name: torch.empty(shape) for name, shape in shapes.items()}
    set_weights(weights)
    return weights


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """File of Hugging Face's CLIP-B/16, with the names of official MaskAlign files."""
    path = tmp_path_factory.mktemp("teacher") / "pytorch_model.bin"
    torch.save(drawn(load("maskalign_steps")["shapes_of_the_teacher"]), path)
    return path


def official_names(model: nn.Module) -> dict[str, nn.Parameter]:
    """Official name -> our parameter, for trained parameters."""
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return {
        n.replace("backbone.", "")
        .replace("alignment.heads", "distill_heads")
        .replace("alignment.weights", "distill_weights"): p
        for n, p in names.items()
    }


@torch.no_grad()
def all_rows(weights: Tensor, layers: tuple[int, ...]) -> Tensor:
    """The mixing weights as in official files, with a row for every layer of the teacher."""
    every = torch.zeros(12, weights.shape[1])
    every[list(layers)] = weights
    return every


@pytest.mark.parametrize("name", STEPS)
def test_loss_and_every_gradient_equal_the_official_ones(name, clip):
    expected = load("maskalign_steps")["steps"][name]
    arch = "base" if name in ("linear", "sum") else NARROW
    model = MODELS.build(
        dict(
            type="MaskAlign",
            backbone=dict(type="ViT", arch=arch, final_norm=False),
            teacher=dict(name=CLIP, checkpoint=str(clip)),
            **STEPS[name],
        )
    )
    trained = official_names(model)
    set_weights({n: p for n, p in trained.items() if n != "distill_weights"})
    if "distill_weights" in trained:
        rows = 0.02 * draw("distill_weights", (12, 12))[list(model.alignment.layers)]
        trained["distill_weights"].data.copy_(rows)

    torch.manual_seed(SEED)
    loss = model(images(2, 224), mode="loss")["loss"]
    loss.backward()
    if "distill_weights" in trained:
        whole = nn.Parameter(torch.zeros(12, 12))
        whole.grad = all_rows(trained["distill_weights"].grad, model.alignment.layers)
        trained["distill_weights"] = whole
    assert_equal_step(expected, loss, trained)


def test_official_files_load_strictly_with_and_without_the_teacher():
    shapes = load("maskalign_steps")["shapes_of_the_teacher"]
    model = MODELS.build(
        dict(
            type="MaskAlign",
            backbone=dict(type="ViT", arch=NARROW, final_norm=False),
            teacher=dict(name=CLIP),
        )
    )
    own = {n: p.detach().clone() for n, p in official_names(model).items()}
    for i in range(12):  # only five heads are trained
        own[f"distill_heads.{i}.weight"] = torch.randn(768, 64)
        own[f"distill_heads.{i}.bias"] = torch.randn(768) * (i >= 7)
    own["distill_weights"] = torch.randn(12, 12)
    own.update({"norm.weight": torch.ones(64), "norm.bias": torch.zeros(64)})
    own["pos_embed"] = model.backbone.pos_embed.data
    for state in (own, {**own, **{n: torch.empty(s) for n, s in shapes.items()}}):
        converted, left_out = convert(state)
        model.load_state_dict(converted)
        assert {"norm.weight", "distill_heads.6.bias"} <= set(left_out)
    assert torch.equal(model.alignment.weights, own["distill_weights"][7:])
    assert torch.equal(model.alignment.heads["11"].weight, own["distill_heads.11.weight"])


MODEL = dict(embed_dim=64, num_heads=4)
TEACHERS = {
    "clip-b16": dict(name=CLIP, model_args=MODEL),
    "clip-l14": dict(
        name="vit_large_patch14_clip_quickgelu_224.openai", img_size=196, model_args=MODEL
    ),
    "dino-b16": dict(
        # transformers has an eps of 1e-12; DINO's code and timm have 1e-6.
        name="vit_base_patch16_224.dino",
        model_args=dict(MODEL, norm_layer=partial(nn.LayerNorm, eps=1e-12)),
    ),
    "dinov2-b14": dict(name="vit_base_patch14_dinov2.lvd142m", img_size=196, model_args=MODEL),
    "dinov2-reg": dict(name="vit_base_patch14_reg4_dinov2.lvd142m", img_size=196, model_args=MODEL),
    "dinov3-b16": dict(name="vit_base_patch16_dinov3_qkvb.lvd1689m", img_size=224, model_args=MODEL),
    "siglip-b16": dict(name="vit_base_patch16_siglip_224.webli", model_args=MODEL),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_equals_transformers_model(name, tmp_path):
    expected = load("teachers")["teachers"][name]
    torch.save(drawn(expected["shapes"]), tmp_path / "model.pth")
    teacher = Teacher(
        **TEACHERS[name],
        checkpoint=str(tmp_path / "model.pth"),
        layer_weights="mean",
        norm="none",
    )
    states = teacher(images(2, 224))
    targets = states.targets(torch.arange(196).expand(2, -1))
    picked = [targets[5], targets[-1]]
    if expected["class_tokens"]:
        for target, summary in zip(picked, expected["class_tokens"], strict=True):
            assert tensor_summary("class", target[:, :1]) == close_to(summary)
    for target, summary in zip(picked, expected["patches"], strict=True):
        assert tensor_summary("patches", target[:, -196:]) == close_to(summary)
    if expected["importance"]:
        assert tensor_summary("importance", states.importance()) == close_to(expected["importance"])


def close_to(summary: list[float]):
    """A recorded `tensor_summary`, with a tolerance of 1e-5 of the norm."""
    return pytest.approx(summary, rel=1e-5, abs=1e-5 * summary[0])
