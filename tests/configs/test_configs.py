"""Every config builds, and takes two training steps at a reduced size."""

import ast
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from mmdet.registry import TASK_UTILS
from mmengine import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from PIL import Image

from mmmim.backbones import conv_vit, vit
from mmmim.engine import LayerDecayOptimWrapperConstructor
from mmmim.engine.distribution import replace_sync_bn
from mmmim.registry import DATASETS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, TRANSFORMS

ROOT = Path(__file__).parents[2]


def is_alias(path: Path) -> bool:
    """Whether a file is a deprecated name: a one-line docstring, and one `_base_` in its folder."""
    tree = ast.parse(path.read_text())
    bases = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "_base_"]
    one_line = "\n" not in (ast.get_docstring(tree, clean=False) or "\n")
    return one_line and len(bases) == 1 and (path.parent / ast.literal_eval(bases[0])).is_file()


FILES = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.parent.name != "_base_")
CONFIGS = [p for p in FILES if not is_alias(p)]
FULL_SIZE = [p for p in CONFIGS if p.parent.name != "tiny"]
# Deprecated name of an earlier README -> its recipe, and its epochs if they differ.
ALIASES = {
    "convmae/convvit-b_1600e.py": ("convmae/convvit-b.py", None),
    "detection/convmae_convvit-b_mask-rcnn_25e_coco.py": (
        "detection/convvit-b_mask-rcnn_coco.py",
        None,
    ),
    "detection/pixmim_vit-b_mask-rcnn_100e_coco.py": ("detection/vit-b_mask-rcnn_coco.py", None),
    "maskalign/vit-b_800e.py": ("maskalign/vit-b.py", 800),
    "pixmim/vit-b_300e.py": ("pixmim/vit-b.py", 300),
    "pixmim/vit-b_800e.py": ("pixmim/vit-b.py", None),
    "segmentation/pixmim_vit-b_upernet_160k_ade20k.py": ("segmentation/vit-b_upernet_ade20k.py", None),
}
IMAGES_PER_EPOCH = 118000  # COCO train2017, as detectron2's schedules count it
each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT)))
SIZE = 64
# Keys that mmengine's Runner reads (runner/runner.py), so that no helper may have these names.
RUNNERS_OWN = {"sync_bn", "compile", "activation_checkpointing", "efficient_conv_bn_eval"}


@each_config
def test_a_config_says_what_it_is(path):
    head = path.read_text().split('"""')[1]
    for word in ("Command:", "Published:", "Ours:"):
        assert word in head
    assert str(path.relative_to(ROOT)) in head  # the command names this file


def test_deprecated_names_are_the_ones_of_the_readme():
    assert {str(p.relative_to(ROOT / "configs")) for p in FILES if p not in CONFIGS} == set(ALIASES)


@pytest.mark.parametrize("alias", ALIASES)
def test_a_deprecated_name_is_its_recipe(alias):
    """It names the command that replaces it, and resolves to the same dict."""
    recipe, epochs = ALIASES[alias]
    head = ast.get_docstring(ast.parse((ROOT / "configs" / alias).read_text()))
    assert f"configs/{recipe} 8`" in head or f"configs/{recipe} 8 --epochs {epochs}`" in head
    expected = Config.fromfile(ROOT / "configs" / recipe)
    if epochs:
        warmup, cosine = expected.param_scheduler
        expected.epochs = expected.train_cfg.max_epochs = cosine.end = epochs
        cosine.T_max = epochs - warmup.end
    assert Config.fromfile(ROOT / "configs" / alias).to_dict() == expected.to_dict()


@pytest.mark.parametrize("path", FULL_SIZE, ids=lambda p: str(p.relative_to(ROOT)))
def test_epochs_agree_with_the_schedule(path):
    """`--epochs` rescales the schedule from the top-level `epochs`."""
    cfg = Config.fromfile(path)
    if path.parent.name == "segmentation":  # 160,000 iterations of 16 images: 126.67 epochs of ADE20K
        assert "epochs" not in cfg
        return
    total = cfg.epochs
    if "max_iters" in cfg.train_cfg:
        total = total * IMAGES_PER_EPOCH // cfg.global_batch * cfg.accumulate
        assert cfg.train_cfg.max_iters == total
    else:
        assert cfg.train_cfg.max_epochs == total
    for scheduler in cfg.param_scheduler:
        if scheduler.type == "CosineAnnealingLR":
            assert scheduler.end == total
            assert scheduler.T_max == total - scheduler.begin
        elif scheduler.type == "MultiStepLR":
            assert max(scheduler.milestones) < total
        else:
            assert scheduler.type == "LinearLR"  # warm-up


def test_metafiles_name_the_recipe_and_its_arguments():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
    assert index == sorted(str(p.relative_to(ROOT)) for p in (ROOT / "configs").rglob("metafile.yml"))
    for path in index:
        for model in yaml.safe_load((ROOT / path).read_text())["Models"]:
            arguments = model.get("Training", "").split()
            epochs = Config.fromfile(ROOT / model["Config"]).epochs
            if "--epochs" in arguments:
                epochs = int(arguments[arguments.index("--epochs") + 1])
            assert model["Metadata"]["Epochs"] == epochs, model["Name"]


@each_config
def test_a_config_builds_as_it_is(path, monkeypatch):
    for name in ("xavier_uniform_", "kaiming_uniform_", "trunc_normal_", "normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)  # for speed
    cfg = Config.fromfile(path)
    assert not RUNNERS_OWN & set(cfg)
    # mmengine removes the oldest checkpoint before it writes the next, and may be killed in between.
    assert cfg.default_hooks.checkpoint.get("max_keep_ckpts") != 1
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) > 1e6
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type="mmmim.LayerDecayOptimWrapperConstructor",
            optim_wrapper_cfg=cfg.optim_wrapper,
            paramwise_cfg=cfg.optim_wrapper.paramwise_cfg,
        )
    )
    assert isinstance(constructor, LayerDecayOptimWrapperConstructor)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert [plan.name for plan in constructor.plan(model)] == trained


def test_coco_is_resized_and_matched_as_by_detectron2():
    cfg = Config.fromfile(ROOT / "configs/detection/vit-b_mask-rcnn_coco.py")
    image = np.random.default_rng(0).integers(0, 255, (1200, 2048, 3), dtype=np.uint8)
    resized = Image.fromarray(image).resize((1024, 600), Image.Resampling.BILINEAR)
    pipelines = [cfg[f"{part}_dataloader"].dataset.pipeline for part in ("train", "val")]
    with DefaultScope.overwrite_default_scope("mmdet"):
        steps = [next(step for step in p if "Resize" in step.type) for p in pipelines]
        steps[0] = {**steps[0], "ratio_range": (1.0, 1.0)}
        for step in map(TRANSFORMS.build, steps):
            found = step(dict(img=image, img_shape=image.shape[:2]))["img"]
            assert np.array_equal(found, np.asarray(resized))
        assigner = TASK_UTILS.build(cfg.model.train_cfg.rpn.assigner)
    anchors = InstanceData(priors=torch.tensor([[0.0, 0, 32, 32], [32, 0, 64, 32]]))
    small = InstanceData(bboxes=torch.tensor([[10.0, 10, 18, 18]]), labels=torch.tensor([0]))
    assert assigner.assign(anchors, small).gt_inds.tolist() == [1, 0]


@each_config
def test_every_width_is_the_backbones(path, monkeypatch):
    """`shrink` overwrites the widths of necks and heads, so the two steps cannot find a wrong one."""
    cfg = Config.fromfile(path)
    if cfg.default_scope == "mmmim":
        return
    for name in ("xavier_uniform_", "kaiming_uniform_", "trunc_normal_", "normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)  # for speed
    backbone = MODELS.build(cfg.model.backbone)
    dims = (*getattr(backbone, "stage_dims", (backbone.embed_dims,) * 4), backbone.embed_dims)
    is_vit = not hasattr(backbone, "stage_dims")
    widths = [dims[0] if is_vit else dims[i] for i in backbone.out_indices]
    neck = cfg.model.get("neck")
    kind = neck.type.removeprefix("mmmim.") if neck else None
    if kind == "FPN":
        assert neck.in_channels == widths
    elif kind == "SimpleFeaturePyramid":
        assert neck.in_channels == widths[-1]
    elif kind == "Feature2Pyramid":
        assert {neck.embed_dim} == set(widths)
    elif kind == "AppendDownsampled":
        assert neck.in_channels == widths[-1]
        widths.append(widths[-1])
    if "head" in cfg.model:
        assert cfg.model.head.in_channels == widths[-1]
        assert cfg.model.neck.get("channels", widths[-1]) == widths[-1]
        assert cfg.model.neck.get("input_features", widths[-1]) == widths[-1]
    if "decode_head" in cfg.model:
        head, auxiliary = cfg.model.decode_head, cfg.model.get("auxiliary_head")
        assert head.in_channels in (widths, widths[-1])
        assert auxiliary is None or auxiliary.in_channels == widths[auxiliary.in_index]


@each_config
def test_the_learning_rate_is_meant_for_the_batch(path):
    cfg = Config.fromfile(path)
    batch = cfg.train_dataloader.batch_size * cfg.optim_wrapper.get("accumulative_counts", 1)
    gpus = cfg.get("gpus", 1)
    assert cfg.auto_scale_lr.base_batch_size == batch * gpus
    if "base_lr" in cfg:
        assert cfg.optim_wrapper.optimizer.lr == cfg.base_lr * batch * gpus / 256


@each_config
def test_images_are_copied_to_the_gpu_while_it_works(path):
    """A blocking copy would wait for the step before."""
    cfg = Config.fromfile(path)
    if cfg.default_scope == "mmmim" and cfg.train_dataloader.dataset.type == "UnlabelledImages":
        assert cfg.model.get("method", cfg.model).data_preprocessor.non_blocking
        assert cfg.train_dataloader.num_workers == 1 or cfg.train_dataloader.pin_memory


@each_config
def test_no_layer_ends_faster_than_it_began(path):
    """`eta_min` is an absolute rate; layers with a tiny learning rate would rise to it."""
    cfg = Config.fromfile(path)
    rules = cfg.optim_wrapper.get("paramwise_cfg") or {}
    for scheduler in cfg.param_scheduler:
        assert not scheduler.get("eta_min") or rules.get("layer_decay", 1.0) == 1.0
        if "eta_min_ratio" in scheduler:
            assert scheduler.eta_min_ratio * cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-6)


@each_config
def test_two_steps_at_a_reduced_size(path, tmp_path):
    cfg = Config.fromfile(path)
    torch.manual_seed(0)
    model = MODELS.build(shrink(cfg, tmp_path)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        data = model.data_preprocessor(batch_for(cfg), training=True)
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without  # find_unused_parameters is not needed


@each_config
def test_pipelines_build_and_end_in_a_sample(path, tmp_path):
    """Runs on one random image, in the layout of the config's data set."""
    cfg = Config.fromfile(path)
    if cfg.default_scope != "mmmim":
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            dataset = loader.dataset
            dataset = dataset.dataset if "dataset" in dataset else dataset
            assert dataset.pipeline[0].type == "mmmim.LoadLabelledImage"
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                steps = [TRANSFORMS.build(step) for step in dataset.pipeline]
            if cfg.default_scope == "mmpretrain":
                draw_image(tmp_path / "image.png")
                sample = dict(img_path=str(tmp_path / "image.png"), gt_label=1)
                for step in steps:
                    sample = step(sample)
                size = cfg.model.backbone.get("backbone", cfg.model.backbone).get("img_size", 224)
                assert sample["inputs"].shape == (3, size, size)
                assert sample["data_samples"].gt_label == 1
        return
    draw_image(tmp_path / "image.png")
    dataset = {**cfg.train_dataloader.dataset, "data_root": str(tmp_path), "data_prefix": ""}
    size = cfg.model.get("method", cfg.model).backbone.img_size
    assert DATASETS.build(dataset)[0]["inputs"].shape == (3, size, size)


def draw_image(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def shrink(cfg: Config, folder: Path) -> dict:
    """The model of a config, 16 channels wide, for SIZE pixels; a teacher is written to `folder`."""
    model = cfg.model
    method = model.get("method", model)
    backbone = method.backbone.get("backbone", method.backbone)  # of a FrozenBackbone
    kind = backbone.type.removeprefix("mmmim.")
    backbone.update(img_size=SIZE, **NARROW[kind](backbone))
    widths = WIDTHS.get(kind, (16,) * 4)
    if backbone.get("relative_position"):
        backbone.relative_position_size = SIZE
    if "decoder" in method:
        method.decoder.update(embed_dims=16, num_heads=1)
        if "radius" in model:
            model.radius = None
    if "teacher" in model:
        shrink_teacher(model.teacher, backbone.get("patch_size", 8), folder)
    for key in ("in_channels", "embed_dim"):
        if key in (model.get("neck") or {}):
            width = model.neck[key]
            model.neck[key] = list(widths[-len(width) :]) if isinstance(width, list) else widths[-1]
    if "roi_head" in model:
        model.data_preprocessor.pad_size_divisor = SIZE
        model.train_cfg.rpn_proposal.max_per_img = 16
        stages = model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 16
    if "head" in model:
        model.head.in_channels = widths[-1]
        for key in {"channels", "input_features"} & set(model.neck):
            model.neck[key] = widths[-1]
    if "decode_head" in model:
        is_list = isinstance(model.decode_head.in_channels, list)
        model.decode_head.update(in_channels=list(widths) if is_list else widths[-1], channels=16)
        if "auxiliary_head" in model:
            model.auxiliary_head.update(in_channels=widths[model.auxiliary_head.in_index])
        model.data_preprocessor.size = (SIZE, SIZE)
    replace_sync_bn(model)
    return model


def shrink_teacher(teacher: dict, patch_size: int, folder: Path) -> None:
    """Make the teacher narrow, at full depth, with random weights and the student's patches."""
    arguments = {**teacher.get("model_args", {}), "embed_dim": 16, "num_heads": 1}
    arguments.update(img_size=SIZE, patch_size=patch_size)
    teacher.update(model_args=arguments, checkpoint=str(folder / "teacher.pth"), img_size=SIZE)
    weights = timm.create_model(teacher.name, num_classes=0, **arguments).state_dict()
    torch.save(weights, teacher.checkpoint)


def narrow_vit(backbone: dict) -> dict:
    arch = vit.SIZES[backbone.arch] if isinstance(backbone.arch, str) else backbone.arch
    patch = 8 if SIZE // backbone.patch_size < 8 else backbone.patch_size
    return dict(arch=dict(embed_dims=16, depth=arch["depth"], num_heads=1), patch_size=patch)


def narrow_conv_vit(backbone: dict) -> dict:
    arch = backbone.get("arch", "base")
    depths = (conv_vit.SIZES[arch] if isinstance(arch, str) else arch)["depths"]
    dims, patches = (16, 16, 16), (2, 2, 2)  # the last stage has 8 x 8 tokens
    return dict(arch=dict(embed_dims=dims, depths=depths, num_heads=1, patch_sizes=patches))


def narrow_mixmim(backbone: dict) -> dict:
    """With patches of 2 pixels the last stage has 4 x 4 tokens."""
    arch = dict(embed_dims=16, depths=(1, 1, 2, 1), num_heads=(1, 1, 1, 1))
    return dict(arch=arch, patch_size=2, window_sizes=(8, 8, 8, 4))


NARROW = {
    "ViT": narrow_vit,
    "ClassTokenViT": narrow_vit,
    "ConvViT": narrow_conv_vit,
    "MixMIMTransformer": narrow_mixmim,
}
# Widths of the maps, if they are not all 16.
WIDTHS = {"MixMIMTransformer": (16, 32, 64, 128)}


def batch_for(cfg: Config) -> dict:
    images = torch.randint(0, 255, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    if cfg.default_scope == "mmmim":
        return dict(inputs=images)
    return dict(inputs=list(images), data_samples=[sample(cfg) for _ in images])


def sample(cfg: Config):
    """Annotations of one rectangular object of class 1."""
    meta = dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE))
    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[:, 8:40, 16:56] = 1
    if cfg.default_scope == "mmpretrain":
        from mmpretrain.structures import DataSample

        return DataSample(metainfo=meta).set_gt_label(1)
    if cfg.default_scope == "mmseg":
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        segmentation = SegDataSample(metainfo=meta)
        segmentation.gt_sem_seg = PixelData(data=torch.from_numpy(mask).long())
        return segmentation
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    detection = DetDataSample(metainfo=meta)
    detection.gt_instances = InstanceData(
        bboxes=torch.tensor([[16.0, 8, 56, 40]]),
        labels=torch.tensor([1]),
        masks=BitmapMasks(mask, SIZE, SIZE),
    )
    return detection
