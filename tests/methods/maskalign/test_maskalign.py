"""MaskAlign: students, options, losses and errors."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F

from mmmim.checkpoints import load_backbone
from mmmim.masking import PatchMask
from mmmim.registry import MODELS
from mmmim.visualization import draw_panels

SMALL = dict(img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2)
NAME = "vit_tiny_patch16_224"
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3)
VIT = dict(
    type="ViT",
    arch=dict(embed_dims=32, depth=2, num_heads=2),
    img_size=32,
    patch_size=8,
    final_norm=False,
)
CONV_VIT = dict(
    type="ConvViT",
    arch=dict(embed_dims=(8, 16, 32), depths=(1, 1, 2), num_heads=2, patch_sizes=(2, 2, 2)),
    img_size=32,
)
MIXMIM = dict(
    type="MixMIMTransformer",
    arch=dict(embed_dims=4, depths=(1, 1, 3, 1), num_heads=(1, 1, 2, 2)),
    img_size=32,
    patch_size=2,
    window_sizes=(8, 8, 4, 2),
    out_indices=(2,),
)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A teacher with a class token and one without, by name."""
    folder = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(0)
    made = {}
    for name, more in (("cls", {}), ("mean", dict(class_token=False, global_pool="avg"))):
        arguments = {**SMALL, **more}
        model = timm.create_model(NAME, num_classes=0, **arguments)
        torch.save(model.state_dict(), folder / f"{name}.pth")
        made[name] = dict(name=NAME, model_args=arguments, checkpoint=str(folder / f"{name}.pth"))
    return made


def build(teacher: dict, **options):
    config = dict(
        type="MaskAlign",
        backbone=VIT,
        teacher=teacher,
        data_preprocessor=PREPROCESSOR,
        layer_weights="top2",
    )
    return MODELS.build(copy.deepcopy({**config, **options}))


STUDENTS = {
    "vit": dict(),
    "vit without class token": dict(backbone=dict(VIT, with_cls_token=False)),
    "deeper vit": dict(backbone=dict(VIT, arch=dict(VIT["arch"], depth=6))),
    "conv vit": dict(backbone=CONV_VIT),
    "mixmim": dict(backbone=MIXMIM, masking="random", mask_ratio=0.5),
}


@pytest.mark.parametrize("teacher", ["cls", "mean"])
@pytest.mark.parametrize("fusion", ["linear", "sum", "simple"])
@pytest.mark.parametrize("student", STUDENTS.values(), ids=STUDENTS)
def test_every_parameter_is_read(student, fusion, teacher, teachers):
    model = build(teachers[teacher], alignment=dict(fusion=fusion), **student)
    output = model(torch.randn(3, 3, 32, 32))
    assert output["loss"] > 0
    output["loss"].backward()
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert set(output) == {"loss", "similarity_layer1", "similarity_layer2"}
    assert not any("teacher" in name for name in model.state_dict())


@pytest.mark.parametrize("student", STUDENTS.values(), ids=STUDENTS)
def test_a_student_learns_its_teacher(student, teachers):
    torch.manual_seed(0)
    model = build(teachers["cls"], **student)
    images = F.interpolate(torch.randn(2, 3, 8, 8), size=(32, 32), mode="bilinear")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    similarities = []
    for _ in range(60):
        output = model(images)
        similarities.append(output["similarity_layer2"].item())
        optimizer.zero_grad()
        output["loss"].backward()
        optimizer.step()
    assert sum(similarities[-5:]) / 5 > sum(similarities[:5]) / 5 + 0.2


def test_tokens_of_a_mixture_learn_from_the_image_that_they_are_of(teachers):
    model = build(teachers["cls"], **STUDENTS["mixmim"])
    images = torch.randn(3, 3, 32, 32)
    states = model.teacher(images)
    mixture = PatchMask.from_tensor(torch.tensor([[True, False, False, True]]))  # patches of 16 pixels
    targets = model.student.targets(states, mixture)[0][:, 1:].unflatten(1, (4, 4))
    whole = states.targets(torch.arange(16).expand(3, -1))[0][:, 1:].unflatten(1, (4, 4))
    assert torch.equal(targets[:, :2, 2:], whole[:, :2, 2:])
    assert torch.equal(targets[:, :2, :2], whole.flip(0)[:, :2, :2])


def test_a_mixed_students_weights_find_their_place_in_transfer(teachers, tmp_path):
    model = build(teachers["cls"], **STUDENTS["mixmim"])
    backbone = MODELS.build(dict(MIXMIM, out_indices=(0, 1, 2)))
    torch.save(model.state_dict(), tmp_path / "model.pth")
    result = load_backbone(backbone, str(tmp_path / "model.pth"))
    assert set(result.new) == {f"norm{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    assert torch.equal(backbone.norm2.weight, model.backbone.norm2.weight)


def test_the_losses(teachers):
    found = {}
    for loss in ("l1", "l2", "smooth_l1"):
        torch.manual_seed(0)
        model = build(teachers["cls"], loss=loss, layer_weights="mid1", masking="random")
        images = torch.randn(2, 3, 32, 32)
        torch.manual_seed(1)
        found[loss] = model(images)["loss"].item()
        torch.manual_seed(1)
        mask = model.student.draw_mask(images, 0.7, None)
        (student,), (target,) = model.align(images, model.teacher(images), mask)
        distance = (student - target).abs()
        small = distance < 1
        expected = {
            "l1": distance,
            "l2": distance**2,
            "smooth_l1": 2 * torch.where(small, 0.5 * distance**2, distance - 0.5),
        }
        assert found[loss] == pytest.approx(expected[loss].mean().item(), rel=1e-5)
        assert target.mean(dim=-1).abs().max() < 1e-5  # whitened


def test_a_deep_students_layers_are_spread_over_the_teachers(teachers):
    model = build(teachers["cls"], backbone=dict(VIT, arch=dict(VIT["arch"], depth=6)))
    weights = model.alignment.weights.detach()
    assert weights.shape == (2, 6)
    assert weights.argmax(dim=1).tolist() == [3, 5]
    assert weights.max() == pytest.approx(1.01)
    assert weights.min() == pytest.approx(0.01)


def test_initialising_leaves_the_teacher_alone(teachers):
    model = build(teachers["cls"])
    model.init_weights()
    expected = torch.load(teachers["cls"]["checkpoint"])
    state = model.teacher.model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in expected.items())
    assert not model.train().teacher.model.training


def test_the_teacher_is_told_how_images_are_normalised(teachers):
    plain = dict(type="ImgDataPreprocessor")
    seen = []
    for preprocessor in (PREPROCESSOR, plain):
        model = build(teachers["cls"], data_preprocessor=preprocessor)
        model.teacher.load()
        model.teacher.model.patch_embed.register_forward_pre_hook(lambda m, a: seen.append(a[0]))
        torch.manual_seed(0)
        images = torch.randint(0, 255, (1, 3, 32, 32), dtype=torch.uint8)
        model(model.data_preprocessor(dict(inputs=images))["inputs"].float())
    assert torch.allclose(*seen, atol=1e-5)


def test_the_pictures_of_an_alignment(teachers):
    model = build(teachers["cls"]).eval()
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    output = model(images.float(), mode="predict")
    assert output["mask"].sum(dim=1).tolist() == [12, 12]  # int(16 * 0.3) = 4 kept
    assert output["importance"].shape == output["similarity"].shape == (2, 16)
    assert output["similarity"].abs().max() <= 1
    assert draw_panels(model.panels(images)).shape == (3, 2 * 36 + 4, 4 * 36 + 4)
    model = build(teachers["cls"], masking="random").eval()
    assert draw_panels(model.panels(images)).shape == (3, 2 * 36 + 4, 3 * 36 + 4)
    model = build(teachers["cls"], **STUDENTS["mixmim"]).eval()
    assert draw_panels(model.panels(images)).shape == (3, 2 * 36 + 4, 3 * 36 + 4)


def test_what_is_attended_to_is_kept(teachers):
    model = build(teachers["cls"])
    importance = torch.full((1, 16), 1e-6)
    importance[:, [2, 5, 7, 11]] = 1.0
    mask = model.student.draw_mask(torch.randn(1, 3, 32, 32), 0.7, importance).mask
    assert (~mask[0]).nonzero().flatten().tolist() == [2, 5, 7, 11]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(loss="huber"), "loss must be one of l1, l2, smooth_l1, got 'huber'"),
        (dict(masking="block"), "masking must be 'attentive' or 'random', got 'block'"),
        (dict(target_norm="layer"), "target_norm must be 'none', 'l2', 'whiten' or 'bn', got 'layer'"),
        (dict(layer_weights="top4"), "'top1' to 'top3'.*got 'top4'"),
        (dict(alignment=dict(fusion="max")), "fusion must be 'simple', 'linear' or 'sum', got 'max'"),
        (dict(alignment=dict(head="deep")), "head must be 'linear', 'norm_linear', 'mlp' or 'mlp2'"),
        (dict(backbone=dict(VIT, final_norm=True)), "final_norm=False"),
        (dict(backbone=dict(VIT, img_size=64)), r"8x8 in the student and 4x4 in the teacher.*to 64"),
        (dict(backbone=MIXMIM), "needs masking='random'"),
        (
            dict(backbone=dict(MIXMIM, out_indices=(2, 3)), masking="random"),
            r"set the backbone's out_indices to \(2,\)",
        ),
        (
            dict(alignment=dict(fusion="simple"), layer_weights="mid0"),
            "later student layers would not be trained",
        ),
    ],
)
def test_options_are_checked(options, message, teachers):
    with pytest.raises(ValueError, match=message):
        build(teachers["cls"], **options)


def test_another_image_size_and_zero_attention_are_refused(teachers, monkeypatch):
    model = build(teachers["cls"])
    with pytest.raises(ValueError, match="must have 32x32 pixels, got 64x64"):
        model(torch.randn(1, 3, 64, 64))
    broken = torch.ones(1, 16).index_fill(1, torch.tensor(3), 0)
    monkeypatch.setattr("mmmim.methods.maskalign.teacher.TeacherStates.importance", lambda self: broken)
    with pytest.raises(RuntimeError, match="zeros or NaN"):
        model(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("student", STUDENTS)
def test_a_loss_compiles_without_a_graph_break(teachers, student, check_compiled_loss):
    """This includes the teacher, once its weights are loaded."""
    model = build(teachers["cls"], **STUDENTS[student])
    model.teacher.load()
    check_compiled_loss(model, torch.randn(4, 3, 32, 32))
