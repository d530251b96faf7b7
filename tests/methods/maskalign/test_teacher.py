"""Teachers compute only what is read, and the same as timm's whole model."""

import copy

import pytest
import timm
import torch
from mmengine import Config
from safetensors.torch import save_file

from mmmim.methods.maskalign import Teacher
from mmmim.methods.maskalign.teacher import get_layer_weights

SMALL = dict(img_size=32, embed_dim=32, depth=3, num_heads=2)
VIT = dict(name="vit_tiny_patch16_224", model_args=dict(SMALL, patch_size=8))
KINDS = {
    "vit": VIT,
    "no class token": dict(
        VIT, model_args=dict(VIT["model_args"], class_token=False, global_pool="avg")
    ),
    "layer scale, registers": dict(
        VIT, model_args=dict(VIT["model_args"], init_values=0.5, reg_tokens=2)
    ),
    "dinov3": dict(name="vit_small_patch16_dinov3_qkvb", model_args=dict(SMALL, patch_size=8)),
    "mixed rope": dict(name="vit_small_patch16_rope_mixed_224", model_args=dict(SMALL, patch_size=8)),
    "eva, separate query": dict(
        name="eva02_tiny_patch14_224", model_args=dict(SMALL, patch_size=8, qkv_fused=False)
    ),
}


def make(tmp_path, kind, seed=0, **options) -> Teacher:
    torch.manual_seed(seed)
    arguments = {**VIT["model_args"], **kind["model_args"], "num_classes": 0}
    model = timm.create_model(kind["name"], **arguments)
    torch.nn.init.normal_(
        next(
            p
            for n, p in model.named_parameters()
            if n.endswith("qkv.weight") or n.endswith("q_proj.weight")
        ),
        std=0.3,
    )
    torch.save(model.state_dict(), tmp_path / f"teacher{seed}.pth")
    given = {k: v for k, v in kind.items() if k != "name"}
    return Teacher(kind["name"], str(tmp_path / f"teacher{seed}.pth"), **{**given, **options})


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_states_and_importance_are_the_whole_models(kind, images, tmp_path, monkeypatch):
    teacher = make(tmp_path, kind, layer_weights="mean", norm="none")
    patches = torch.tensor([[0, 3, 9], [1, 2, 15]])
    states = teacher(images)
    found, importance = states.targets(patches), states.importance()

    model, inputs = teacher.model, images * teacher.scale + teacher.shift
    outputs = []
    hooks = [b.register_forward_hook(lambda m, a, out: outputs.append(out)) for b in model.blocks]
    attended = []
    product = torch.nn.functional.scaled_dot_product_attention

    def record(query, key, value, **kwargs):
        attended.append((query, key))
        return product(query, key, value, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", record)
    model.forward_features(inputs)
    prefix = model.num_prefix_tokens
    for state, output in zip(found, outputs, strict=True):
        expected = torch.stack([output[i, prefix + patches[i]] for i in range(2)])
        assert torch.allclose(state[:, -3:], expected, atol=1e-5)
        if teacher.with_cls_token:
            assert torch.allclose(state[:, 0], output[:, 0], atol=1e-5)
    query, key = attended[-1]
    query = query[:, :, :1] if teacher.with_cls_token else query.mean(dim=2, keepdim=True)
    weights = (query @ key.transpose(-2, -1) * key.shape[-1] ** -0.5).softmax(dim=-1)
    assert torch.allclose(importance, weights[:, :, 0, prefix:].mean(dim=1), atol=1e-6)
    assert importance.std() > 1e-4  # not uniform
    for hook in hooks:
        hook.remove()


def test_nothing_is_computed_that_nobody_reads(images, tmp_path):
    calls = []
    teacher = make(tmp_path, VIT, layer_weights="mid0", attentive=False)
    for i, block in enumerate(teacher.model.blocks):
        block.register_forward_hook(lambda m, a, out, i=i: calls.append(i))
    states = teacher(images)
    states.targets(torch.arange(16).expand(2, -1))
    assert calls == [0]
    assert states.last is None

    calls.clear()
    teacher = make(tmp_path, VIT, layer_weights="out")
    mlp = []
    for i, block in enumerate(teacher.model.blocks):
        block.register_forward_hook(lambda m, a, out, i=i: calls.append(i))
        block.mlp.register_forward_hook(lambda m, a, out: mlp.append(out.shape[1]))
    teacher(images).targets(torch.tensor([[0, 3], [1, 2]]))
    assert calls == [0, 1]  # the last block is only run in part
    assert mlp == [17, 17, 3]  # the last: class token and two patches


def test_importance_is_float32_under_autocast(images, tmp_path):
    teacher = make(tmp_path, VIT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = teacher(images)
        importance = states.importance()
        query = states.last._query(states.last.normed[:, :1], None, rotate=False)
    scale = teacher.model.blocks[-1].attn.scale
    weights = (query.float() * scale @ states.last.key.float().mT).softmax(dim=-1)
    assert importance.dtype == torch.float32
    assert torch.allclose(importance, weights[:, :, 0, 1:].mean(dim=1), atol=1e-7)


def test_targets_have_no_gradient_and_the_teacher_stays_in_evaluation_mode(images, tmp_path):
    teacher = make(tmp_path, VIT, layer_weights="mean").train()
    assert not teacher.model.training
    assert not list(teacher.parameters())
    assert not teacher.state_dict()
    targets = teacher(images).targets(torch.arange(16).expand(2, -1))
    assert not any(t.requires_grad for t in targets)
    assert teacher.double().model.pos_embed.dtype == torch.float64  # the model follows


def test_its_own_input_statistics_and_size(tmp_path):
    kind = dict(VIT, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    teacher = make(
        tmp_path,
        kind,
        norm="none",
        layer_weights="out",
        images_mean=(10.0, 20, 30),
        images_std=(5.0, 6, 7),
    )
    seen = []
    teacher.model.patch_embed.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    pixels = torch.rand(2, 3, 48, 48)
    mean, std = torch.tensor([10.0, 20, 30]).view(3, 1, 1), torch.tensor([5.0, 6, 7]).view(3, 1, 1)
    teacher((pixels * 255 - mean) / std)
    small = torch.nn.functional.interpolate(pixels, (32, 32), mode="bicubic")
    own_mean, own_std = (torch.tensor(kind[k]).view(3, 1, 1) for k in ("mean", "std"))
    assert torch.allclose(seen[0], (small - own_mean) / own_std, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("mean", {0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25}),
        ("out", {3: 1.0}),
        ("top2", {2: 0.5, 3: 0.5}),
        ("mid0", {0: 1.0}),
        ("linear_decay", {1: 1 / 6, 2: 2 / 6, 3: 3 / 6}),
    ],
)
def test_layer_weights(kind, weights):
    assert get_layer_weights(kind, 4) == weights


@pytest.mark.parametrize("kind", ["top0", "top5", "mid4", "last", "top", ""])
def test_layer_weights_that_do_not_exist_are_refused(kind):
    with pytest.raises(ValueError, match=f"'top1' to 'top4'.*got '{kind}'"):
        get_layer_weights(kind, 4)


@pytest.mark.parametrize(
    ("checkpoint", "message"), [(None, "no checkpoint is set"), ("x.pth", "no file 'x.pth'")]
)
def test_a_missing_file_says_how_to_get_one(checkpoint, message, images):
    teacher = Teacher("vit_tiny_patch16_224", checkpoint)
    with pytest.raises(FileNotFoundError, match=rf"{message}.*pretrained=True.*checkpoint=PATH"):
        teacher(images)
    with pytest.raises(FileNotFoundError, match="no released weights: the docstring of the config"):
        Teacher(**VIT, checkpoint=checkpoint)(images)


def test_the_teacher_in_the_package_is_found_from_any_folder(tmp_path, monkeypatch):
    cfg = Config.fromfile("configs/tiny/maskalign_vit_scenes.py")
    monkeypatch.chdir(tmp_path)
    teacher = Teacher(**cfg.model.teacher)
    teacher(torch.zeros(1, 3, 96, 96))
    assert teacher.sha256


def test_another_models_file_is_refused(images, tmp_path):
    make(tmp_path, dict(VIT, model_args=dict(VIT["model_args"], embed_dim=16)))
    with pytest.raises(ValueError, match="does not hold the weights of the teacher 'vit_tiny_patch16"):
        Teacher(**VIT, checkpoint=str(tmp_path / "teacher0.pth")).load()
    for depth in (2, 4):
        make(tmp_path, dict(VIT, model_args=dict(VIT["model_args"], depth=depth)))
        with pytest.raises(ValueError, match=r"missing \[.*unexpected \["):
            Teacher(**VIT, checkpoint=str(tmp_path / "teacher0.pth")).load()
    (tmp_path / "rubbish.pth").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        Teacher(**VIT, checkpoint=str(tmp_path / "rubbish.pth")).load()


def test_patches_of_another_size_are_refused(tmp_path):
    make(tmp_path, dict(VIT, model_args=dict(VIT["model_args"], patch_size=16)))
    with pytest.raises(ValueError, match="patches of 16 pixels, the model of 8"):
        Teacher(**VIT, checkpoint=str(tmp_path / "teacher0.pth")).load()


def run_weights(state: dict) -> dict:
    return {k: v for k, v in state.items() if not k.startswith(("norm.", "head", "fc_norm."))}


def openai(state: dict) -> dict:
    swaps = (
        ("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"),
        ("blocks.", "transformer.resblocks."), ("norm_pre", "ln_pre"), ("norm1", "ln_1"),
        ("norm2", "ln_2"), ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("cls_token", "class_embedding"),
    )  # fmt: skip
    renamed = {"text_projection": torch.ones(2, 2), "logit_scale": torch.ones(())}
    for name, value in run_weights(state).items():
        for ours, theirs in swaps:
            name = name.replace(ours, theirs)
        value = value.flatten() if name == "class_embedding" else value
        renamed[f"visual.{name}"] = value[0] if name == "positional_embedding" else value
    return renamed


def original_dinov3(state: dict) -> dict:
    renamed = {"mask_token": torch.ones(1, 32), "rope_embed.periods": torch.ones(4)}
    for name, value in run_weights(state).items():
        if name.endswith("v_bias"):
            continue
        if name.endswith("q_bias"):
            zero, values = torch.zeros_like(value), state[name.replace("q_bias", "v_bias")]
            renamed[name.replace("q_bias", "qkv.bias")] = torch.cat([value, zero, values])
            continue
        name = name.replace("reg_token", "storage_tokens")
        renamed[name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")] = value
    return renamed


CLIP = dict(name="vit_base_patch16_clip_quickgelu_224.openai", model_args=dict(SMALL, patch_size=8))
FILES = {
    "timm": (CLIP, dict),
    "OpenAI's": (CLIP, openai),
    "mmpretrain's classifier": (
        VIT,
        lambda state: dict(state_dict={f"model.{k}": v for k, v in state.items()}),
    ),
    "DINO's training": (
        VIT,
        lambda state: dict(student={}, teacher={f"module.backbone.{k}": v for k, v in state.items()}),
    ),
    "original DINOv3": (KINDS["dinov3"], original_dinov3),
    "DeiT": (
        dict(name="deit_tiny_distilled_patch16_224", model_args=dict(SMALL, patch_size=8)),
        dict,
    ),
}


@pytest.mark.parametrize(("kind", "foreign"), FILES.values(), ids=FILES)
def test_a_file_fills_every_weight_that_is_run(kind, foreign, tmp_path):
    source = make(tmp_path, kind)
    source.load()
    expected = source.model.state_dict()
    for parameter in expected.values():
        parameter.copy_(torch.randn_like(parameter))
    torch.save(foreign(expected), tmp_path / "foreign.pth")
    teacher = Teacher(**kind, checkpoint=str(tmp_path / "foreign.pth"))
    teacher.load()
    for name, value in run_weights(teacher.model.state_dict()).items():
        assert torch.equal(value, expected[name]), name


def test_biases_that_the_model_lacks_must_be_zero(tmp_path):
    source = make(tmp_path, KINDS["dinov3"])
    source.load()
    state = original_dinov3(source.model.state_dict())
    plain = dict(KINDS["dinov3"], name="vit_small_patch16_dinov3")
    torch.save(state, tmp_path / "foreign.pth")
    Teacher(**plain, checkpoint=str(tmp_path / "foreign.pth")).load()
    state["blocks.1.attn.qkv.bias"] += 1
    torch.save(state, tmp_path / "foreign.pth")
    with pytest.raises(ValueError, match="is not zero, but the model has no such bias"):
        Teacher(**plain, checkpoint=str(tmp_path / "foreign.pth")).load()


def test_half_precision_and_safetensors_under_any_name(tmp_path):
    """Positions are resized in float32, whatever the precision of the file."""
    source = make(tmp_path, VIT)
    source.load()
    state = {k: v.half() for k, v in source.model.state_dict().items()}
    save_file(state, tmp_path / "half.pth")
    torch.save({k: v.float() for k, v in state.items()}, tmp_path / "whole.pth")
    larger = dict(VIT, model_args=dict(VIT["model_args"], img_size=48))
    tables = []
    for name in ("half", "whole"):
        teacher = Teacher(**larger, checkpoint=str(tmp_path / f"{name}.pth"))
        teacher.load()
        tables.append(teacher.model.pos_embed)
    assert torch.equal(*tables)


def test_a_copy_shares_the_frozen_model(tmp_path):
    teacher = make(tmp_path, VIT)
    other = copy.deepcopy(torch.nn.ModuleDict(dict(a=teacher)))["a"]
    assert other.model is teacher.model
    assert other.scale is not teacher.scale


def test_what_is_no_plain_vit_is_refused():
    with pytest.raises(ValueError, match=r"VisionTransformer or Eva model.*got ResNet"):
        Teacher("resnet18")
    with pytest.raises(ValueError, match="got VisionTransformer with ParallelScalingBlock"):
        Teacher("vit_base_patch16_xp_224", model_args=SMALL)
    with pytest.raises(ValueError, match="got VisionTransformer with Block and DiffAttention"):
        Teacher("vit_dwee_patch16_reg1_gap_256")
    with pytest.raises(ValueError, match="timm has no model 'vit_nowhere"):
        Teacher("vit_nowhere_patch16")


def test_a_seed_of_another_file_has_another_identity(tmp_path):
    one, other = make(tmp_path, VIT), make(tmp_path, VIT, seed=1)
    assert one.identity()["name"] == other.identity()["name"] == VIT["name"]
    assert one.identity()["sha256"] != other.identity()["sha256"]
