"""Settings that would do nothing or that no run can have, and those that must be accepted."""

import argparse
import copy
import functools
import re
import shlex
from pathlib import Path

import pytest
from mmengine import Config
from mmengine.registry import HOOKS

from mmmim.cli.arguments import add_cfg_options
from mmmim.deprecation import renamed_arguments
from mmmim.engine import RunOptions, load_config
from mmmim.engine import settings as settings_module
from mmmim.engine import steps as steps_module
from mmmim.engine.config import config_folder, find_config
from mmmim.engine.keys import accepted_keys, parameters, top_level_keys
from mmmim.engine.settings import apply_options, check_options, check_settings, fit_workers
from mmmim.experiments.demo import CONTINUE
from tests.engine.configs import config
from tests.smoke.launching import ONE_EPOCH, PRETRAIN
from tests.smoke.test_transfer import TRANSFER

ROOT = Path(__file__).parents[2]
MAE, PIXMIM, PHOTOS = "mae/vit-b", "pixmim/vit-b", "tiny/pixmim_vit_photos"
DETECTOR, SEGMENTER = "detection/vit-b_mask-rcnn_coco", "segmentation/vit-b_upernet_ade20k"
CLASSIFIER = "tiny/classifier_vit_clothing"


@functools.cache
def _recipe(name: str) -> Config:
    return Config.fromfile(find_config(name))


def recipe(name: str) -> Config:
    return copy.deepcopy(_recipe(name))


def parse(*pairs: str) -> dict:
    """Options as the command line gives them."""
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(["--cfg-options", *pairs]).cfg_options


REFUSED = [
    # Unknown at the top.
    (MAE, "optim_wraper.optimizer.lr=1", "optim_wrapper"),
    (MAE, "randomnes.seed=3", "randomness"),
    (MAE, "loadfrom=x.pth", "load_from"),
    (MAE, "trian_dataloader.batch_size=2", "train_dataloader"),
    (MAE, "workdir=x", "work_dir"),
    (MAE, "batch_size=2", "train_dataloader.batch_size"),
    (MAE, "max_epochs=2", "train_cfg.max_epochs"),
    (MAE, "seed=2", "randomness.seed"),
    # Variables of the config file.
    (MAE, "lr=1.0", "set optim_wrapper.optimizer.lr"),
    (MAE, "base_lr=1.0", "set optim_wrapper.optimizer.lr"),
    (MAE, "global_batch=4", "auto_scale_lr.base_batch_size, train_dataloader.batch_size"),
    (MAE, "global_batch=4", "--batch-size"),
    (MAE, "batch_per_gpu=4", "set train_dataloader.batch_size"),
    (MAE, "accumulate=4", "set optim_wrapper.accumulative_counts"),
    (MAE, "warmup_epochs=4", "set param_scheduler.0.end, param_scheduler.1.begin"),
    (MAE, "gpus=4", "variable within the config file"),
    (SEGMENTER, "iterations=4", "set train_cfg.max_iters"),
    (
        SEGMENTER,
        "data_root=x",
        "set train_dataloader.dataset.data_root, val_dataloader.dataset.data_root",
    ),
    (CLASSIFIER, "batch=4", "set train_dataloader.batch_size"),
    # Set elsewhere.
    (MAE, "epochs=4", "use --epochs"),
    (MAE, "launcher=pytorch", "use --launcher"),
    (MAE, "custom_imports.imports=x", "write it there"),
    # Unknown below the top.
    (MAE, "model.backbnoe.depth=3", "model.backbone"),
    (MAE, "model.backbone.depth=3", r"ViT\) has no setting `depth`; it has arch, "),
    (MAE, "model.decoder.dept=3", "model.decoder.depth"),
    (MAE, "model.maskratio=0.5", "model.mask_ratio"),
    (PIXMIM, "model.backbone.with_cp=True", "model.method.backbone"),
    (PIXMIM, "model.mask_ratio=0.5", "model.method.mask_ratio"),
    (MAE, "default_hooks.checkpoint.max_keep_ckpt=2", "max_keep_ckpts"),
    (MAE, "default_hooks.chekpoint.interval=2", "default_hooks.checkpoint"),
    (MAE, "custom_hooks.7.intervall=2", "custom_hooks.7.interval"),
    (MAE, "custom_hooks.11.interval=2", r"custom_hooks.8 \(PredictionHook\)"),
    (MAE, "custom_hooks.interval=2", r"is a list, got `interval`"),
    (MAE, "train_cfg.max_epoch=3", "train_cfg.max_epochs"),
    (MAE, "train_cfg.max_iters=3", "has no setting `max_iters`; it has .*max_epochs"),
    (MAE, "optim_wrapper.lr=3", "optim_wrapper.optimizer.lr"),
    (MAE, "optim_wrapper.accumulative_count=3", "accumulative_counts"),
    (MAE, "optim_wrapper.clip_grad.max_nrom=3", "optim_wrapper.clip_grad.max_norm"),
    (MAE, "optim_wrapper.optimizer.wd=3", "it has .*weight_decay"),
    (MAE, "randomness.sed=3", "randomness.seed"),
    (MAE, "env_cfg.cudnn_bench=True", "env_cfg.cudnn_benchmark"),
    (MAE, "auto_scale_lr.base_batchsize=3", "auto_scale_lr.base_batch_size"),
    (MAE, "param_scheduler.0.ends=3", "param_scheduler.0.end"),
    (MAE, "train_dataloader.num_worker=3", "train_dataloader.num_workers"),
    (MAE, "train_dataloader.dataset.dataroot=x", "train_dataloader.dataset.data_root"),
    (MAE, "train_dataloader.dataset.pipeline.0.sise=3", "pipeline.0.size"),
    (MAE, "log_processor.windowsize=3", "log_processor.window_size"),
    (MAE, "visualizer.vis_backend.0.type=x", "visualizer.vis_backends"),
    (DETECTOR, "model.roi_head.bbox_head.num_class=3", "model.roi_head.bbox_head.num_classes"),
    (DETECTOR, "model.test_cfg.rcnn.scor_thr=0.1", "model.test_cfg.rcnn.score_thr"),
    (SEGMENTER, "model.test_cfg.stide=1", "model.test_cfg.stride"),
    (SEGMENTER, "model.backbone.drop_path=0.1", "drop_path_rate"),
    (SEGMENTER, "val_evaluator.iou_metric=x", "val_evaluator.iou_metrics"),
    (CLASSIFIER, "model.hed.num_classes=3", "model.head"),
    # A value in the place of settings, and settings in the place of a value.
    (MAE, "model.backbone=3", "model.backbone.type, model.backbone.arch"),
    (MAE, "custom_hooks=3", "custom_hooks.0.type"),
    (MAE, "load_from.x=3", "`load_from` is None"),
]


@pytest.mark.parametrize(("name", "option", "cure"), REFUSED, ids=[f"{n}:{o}" for n, o, _ in REFUSED])
def test_an_option_that_nothing_reads_is_refused_with_what_to_set(name, option, cure):
    with pytest.raises(ValueError, match=cure) as error:
        check_options(recipe(name), parse(option))
    assert str(error.value).startswith(f"--cfg-options {option.partition('=')[0]}=")


PRETRAINING = """
    model.backbone.with_cp=True model.backbone.layer_scale=0.1 model.backbone.arch=large
    model.mask_ratio=0.6 model.norm_pix=False model.decoder.num_heads=8 model.init_cfg.type=Pretrained
    model.data_preprocessor.pad_value=0 model.backbone.init_cfg.type=mmmim.PretrainedBackbone
    train_cfg.max_epochs=3 train_cfg.val_interval=2 train_cfg.val_begin=1 resume=True load_from=x.pth
    work_dir=here experiment_name=first log_level=WARNING find_unused_parameters=True compile=True
    randomness.seed=3 randomness.deterministic=True randomness.diff_rank_seed=True
    optim_wrapper.clip_grad.max_norm=1.0 optim_wrapper.clip_grad.type=value optim_wrapper.dtype=float16
    optim_wrapper.loss_scale=512. optim_wrapper.accumulative_counts=2
    optim_wrapper.optimizer.fused=False optim_wrapper.optimizer.betas=(0.9,0.99)
    optim_wrapper.paramwise_cfg.layer_decay=0.9
    optim_wrapper.paramwise_cfg.custom_keys.norm=0.0 optim_wrapper.paramwise_cfg.norm_decay_mult=0.0
    train_dataloader.timeout=60 train_dataloader.prefetch_factor=4 train_dataloader.batch_size=4
    train_dataloader.num_workers=0 train_dataloader.num_batch_per_epoch=3 train_dataloader.shuffle=False
    train_dataloader.multiprocessing_context=spawn train_dataloader.worker_init_fn.type=some_function
    train_dataloader.dataset.data_root=2024 train_dataloader.dataset.data_prefix=
    auto_scale_lr.enable=True
    train_dataloader.dataset.extensions=(.tif,) train_dataloader.collate_fn.type=pseudo_collate
    train_dataloader.dataset.pipeline.0.ratio=(0.5,2) train_dataloader.sampler.seed=3
    default_hooks.checkpoint.save_best=auto default_hooks.checkpoint.interval=2
    default_hooks.checkpoint.filename_tmpl=e{}.pth default_hooks.checkpoint.backend_args=None
    default_hooks.checkpoint.priority=LOW default_hooks.logger.interval=1 default_hooks.logger=None
    default_hooks.timer=None default_hooks.runtime_info=None default_hooks.logger.ignore_last=False
    custom_hooks.8.interval=5 custom_hooks.7.share=0.5 custom_hooks.7.priority=LOW custom_hooks=None
    env_cfg.resource_limit=4096 env_cfg.dist_cfg.backend=gloo env_cfg.mp_cfg.opencv_num_threads=1
    visualizer.vis_backends.0.type=TensorboardVisBackend visualizer.vis_backends.0.save_dir=here
    visualizer.name=mine log_processor.num_digits=3
    param_scheduler.0.end=3 param_scheduler.1.eta_min=1e-5
    param_scheduler.1.eta_min_ratio=0.01 param_scheduler.0.verbose=True param_scheduler=None
    model_wrapper_cfg.type=MMDistributedDataParallel data_preprocessor.type=ImgDataPreprocessor
    activation_checkpointing=[backbone] train_dataloader._delete_=True tta_model.type=X
"""
DETECTION = """
    model.test_cfg.rcnn.score_thr=0.1 model.test_cfg.rcnn.nms.iou_threshold=0.6
    model.roi_head.bbox_head.norm_cfg.type=BN model.roi_head.bbox_head.norm_cfg.requires_grad=False
    model.train_cfg.rpn_proposal.max_per_img=500 model.roi_head.bbox_head.num_classes=3
    model.roi_head.mask_head.num_classes=3 model.roi_head.bbox_head.loss_cls.loss_weight=2.0
    model.roi_head.bbox_head.reg_class_agnostic=True
    model.rpn_head.loss_bbox.loss_weight=2.0 model.roi_head.mask_head=None
    model.rpn_head.anchor_generator.ratios=[0.5,1.0] model.backbone.window_size=7
    train_dataloader.dataset.indices=100 train_dataloader.dataset.filter_cfg.min_size=1
    train_dataloader.dataset.metainfo.classes=(a,b) train_dataloader.dataset.data_prefix.img=2024
    train_dataloader.dataset.backend_args.backend=local train_dataloader.dataset.ann_file=a.json
    train_dataloader.dataset.pipeline.1.with_mask=False
    train_dataloader.dataset.pipeline.3.interpolation=area
    val_evaluator.classwise=True val_evaluator.metric=[bbox] val_evaluator.format_only=True
    val_evaluator.metric_items=[mAP] val_dataloader=None val_cfg=None val_cfg.fp16=True
    val_dataloader.dataset.test_mode=True custom_hooks.0.type=EMAHook default_hooks.ema.type=EMAHook
    train_dataloader.batch_sampler.type=AspectRatioBatchSampler env_cfg.cudnn_benchmark=True
"""
SEGMENTATION = """
    model.decode_head.num_classes=3 model.decode_head.loss_decode.loss_weight=0.5
    model.decode_head.dropout_ratio=0.2 model.decode_head.ignore_index=0 model.auxiliary_head=None
    model.decode_head.norm_cfg.requires_grad=False model.data_preprocessor.size=(512,512)
    model.decode_head.sampler.type=OHEMPixelSampler model.test_cfg.crop_size=(256,256)
    train_dataloader.dataset.reduce_zero_label=False train_dataloader.dataset.img_suffix=.png
    val_evaluator.iou_metrics=[mIoU,mDice] val_evaluator.nan_to_num=0 val_evaluator.output_dir=out
    train_cfg.max_iters=1e4 train_cfg.val_interval=10 train_cfg.dynamic_intervals=[(1,2)]
    test_evaluator.prefix=x train_dataloader.dataset.pipeline.3.crop_size=(256,256)
    model.train_cfg.anything=1 model.pretrained=None
"""
CLASSIFICATION = """
    model.head.num_classes=3 model.head.topk=(1,5) model.head.loss.label_smooth_val=0.2
    model.train_cfg.augments=None model.data_preprocessor.to_onehot=True val_evaluator.topk=(1,5)
    train_dataloader.dataset.classes=[a,b] train_dataloader.dataset.data_prefix=train
    train_dataloader.dataset.ann_file=meta.txt train_dataloader.dataset.pipeline.1.backend=cv2
    model.backbone.drop_path_rate=0.2 model.head.init_cfg.std=0.02
"""
ACCEPTED = [
    (name, option)
    for name, options in (
        (MAE, PRETRAINING),
        (DETECTOR, DETECTION),
        (SEGMENTER, SEGMENTATION),
        (CLASSIFIER, CLASSIFICATION),
    )
    for option in options.split()
]


@pytest.mark.parametrize(("name", "option"), ACCEPTED)
def test_an_option_that_is_read_is_accepted(name, option):
    apply_options(recipe(name), parse(option))


@pytest.mark.parametrize(
    "options",
    [
        ("model.rpn_head.loss_bbox.type=SmoothL1Loss", "model.rpn_head.loss_bbox.beta=0.1"),
        (
            "model.backbone.type=mmdet.ResNet",
            "model.backbone.depth=50",
            "model.backbone.frozen_stages=1",
        ),
        ("train_dataloader.dataset.type=RepeatDataset", "train_dataloader.dataset.times=2"),
        ("train_dataloader.dataset.type=mmdet.MultiImageMixDataset",),
        ("default_hooks.ema.type=EMAHook", "default_hooks.ema.momentum=0.1"),
        ("train_cfg._delete_=True", "train_cfg.type=IterBasedTrainLoop", "train_cfg.max_iters=3"),
        ("optim_wrapper.optimizer.type=SGD", "optim_wrapper.optimizer.momentum=0.9"),
        ("optim_wrapper.constructor=DefaultOptimWrapperConstructor",),
        (
            "visualizer.vis_backends.0.type=WandbVisBackend",
            "visualizer.vis_backends.0.init_kwargs.project=p",
        ),
    ],
)
def test_options_of_a_new_type_are_those_of_that_type(options):
    apply_options(recipe(DETECTOR), parse(*options))
    with pytest.raises(ValueError, match="momentum"):
        check_options(recipe(MAE), parse("optim_wrapper.optimizer.momentum=0.9"))


def test_an_unknown_type_takes_anything():
    cfg = config(model=dict(type="NotThere", part=dict(type="nowhere.Neither")), default_scope="absent")
    apply_options(cfg, {"model.x": 1, "model.part.y": 2})
    assert (cfg.model.x, cfg.model.part.y) == (1, 2)


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Config and options of every command in the docs that has --cfg-options."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text().replace("\\\n", " ")
        for line in text.splitlines():
            name = re.search(r"configs/(\w+/[\w-]+)\.py", line)
            if name and (options := line.partition("--cfg-options ")[2]):
                words = [word for word in shlex.split(options) if "=" in word]
                found.append((name[1], tuple(words)))
    return found


def test_the_docs_have_commands_with_options():
    assert len(commands()) >= 6


@pytest.mark.parametrize(("name", "options"), commands())
def test_the_options_of_the_docs_are_accepted(name, options):
    load_config(name, parse(*options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (SEGMENTER, "optim_wrapper.optimizer.lr=8e-5 optim_wrapper.paramwise_cfg.layer_decay=0.8"),
        (DETECTOR, "train_dataloader.batch_size=8 auto_scale_lr.base_batch_size=64"),
        (MAE, "load_from=x.pth optim_wrapper.optimizer.lr=1e-4 optim_wrapper.clip_grad.max_norm=1.0"),
        (MAE, "model.backbone.with_cp=True train_dataloader.num_workers=3"),
        (
            PIXMIM,
            "model.method.backbone.with_cp=True train_dataloader.dataset.data_root=/path/to/images",
        ),
        ("maskalign/vit-b", "model.teacher.checkpoint=x.pth model.teacher.model_args.embed_dim=16"),
        (CLASSIFIER, "model.head.num_classes=10"),
    ],
)
def test_the_options_of_messages_and_of_the_heads_of_configs_are_accepted(name, options):
    load_config(name, parse(*options.split()))


TESTED = [
    ("tiny/pixmim_vit_scenes", PRETRAIN),
    ("tiny/pixmim_vit_scenes", CONTINUE),
    ("tiny/mae_vit_scenes", ONE_EPOCH),
    *((name.removeprefix("configs/").removesuffix(".py"), case[0]) for name, case in TRANSFER.items()),
]


@pytest.mark.parametrize(("name", "options"), TESTED)
def test_the_options_of_the_demo_and_of_the_tests_are_accepted(name, options):
    cfg = load_config(name, parse(*options))
    check_settings(cfg)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("train_dataloader.dataset.data_root=2024", "2024"),
        ("train_dataloader.dataset.data_root=/my photos/a,b", "/my photos/a,b"),
        ("train_dataloader.dataset.data_root=1e5", "1e5"),
        ("train_dataloader.dataset.data_root=photos (1", "photos (1"),
        ("train_dataloader.dataset.data_root=(1) my photos", "(1) my photos"),
        ("train_dataloader.dataset.data_prefix=007", "007"),
        ("load_from=/a b/c.pth", "/a b/c.pth"),
        ("load_from=None", None),
        ("experiment_name=my run", "my run"),
        ("default_hooks.checkpoint.interval=5", 5),
        ("resume=True", True),
        ("optim_wrapper.loss_scale=512.", 512.0),
        ("optim_wrapper.optimizer.betas=(0.9, 0.99)", (0.9, 0.99)),
        ("train_dataloader.dataset.extensions=[.tif, .png]", [".tif", ".png"]),
    ],
)
def test_a_path_is_the_text_of_the_command_line_and_a_number_a_number(option, value):
    cfg = recipe(MAE)
    apply_options(cfg, parse(option))
    for name in option.partition("=")[0].split("."):
        cfg = cfg[name]
    assert cfg == value
    assert type(cfg) is type(value)


def test_values_from_python_are_taken_as_they_are():
    cfg = recipe(MAE)
    apply_options(cfg, {"train_dataloader.dataset.data_root": "a b", "train_dataloader.num_workers": 2})
    assert (cfg.train_dataloader.dataset.data_root, cfg.train_dataloader.num_workers) == ("a b", 2)


def test_an_option_without_a_value_is_an_error_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        parse("model.mask_ratio")
    assert "expected KEY=VALUE, got 'model.mask_ratio'" in capsys.readouterr().err


VALUES = [
    ({"train_cfg.max_epochs": 0}, r"train_cfg\.max_epochs must be an integer of 1 or more, got 0"),
    ({"train_cfg.max_epochs": 1.5}, "got 1.5"),
    ({"train_cfg.val_interval": 0}, "--no-validate"),
    ({"optim_wrapper.accumulative_counts": 0}, "accumulative_counts must be an integer of 1 or more"),
    ({"optim_wrapper.accumulative_counts": 2.0}, r"got 2\.0"),
    ({"optim_wrapper.accumulative_counts": True}, "got True"),
    ({"optim_wrapper.optimizer.lr": 0}, "lr must be a number above 0, got 0"),
    ({"optim_wrapper.optimizer.lr": float("nan")}, "got nan"),
    ({"optim_wrapper.optimizer.lr": "1e-3x"}, "got '1e-3x'"),
    ({"optim_wrapper.clip_grad.max_norm": 0}, "clip_grad=None"),
    ({"default_hooks.checkpoint.interval": 0}, "or -1 for never, got 0"),
    ({"default_hooks.checkpoint.max_keep_ckpts": 0}, "or -1 for all, got 0"),
    ({"default_hooks.logger.interval": 0}, "default_hooks.logger.interval"),
    ({"custom_hooks.8.interval": 0}, r"custom_hooks\.8\.interval"),
    ({"train_dataloader.batch_size": 0}, "train_dataloader.batch_size"),
    ({"train_dataloader.num_workers": -1}, "train_dataloader.num_workers"),
    ({"auto_scale_lr.base_batch_size": 0}, "images per update"),
    ({"randomness.seed": "x"}, "randomness.seed"),
    ({"model.mask_ratio": 1.0}, "model.mask_ratio must be a number between 0 and 1"),
    (
        {"param_scheduler.0.end": 1601},
        r"param_scheduler\.0\.end=1601: .* longer than .*max_epochs=1600",
    ),
]


@pytest.mark.parametrize(("options", "message"), VALUES)
def test_a_value_that_no_run_can_have_is_refused_before_the_other_steps(options, message):
    cfg = recipe(MAE)
    apply_options(cfg, options)
    with pytest.raises(ValueError, match=message):
        steps_module.prepare(cfg, RunOptions(), steps_module.TRAIN_STEPS)


@pytest.mark.parametrize(
    "options",
    [
        {"train_cfg.max_epochs": 1e2},
        {"default_hooks.checkpoint.interval": -1, "default_hooks.checkpoint.max_keep_ckpts": -1},
        {"randomness.seed": None},
        {"optim_wrapper.clip_grad": None},
        {"param_scheduler.0.end": 1600},
        {"default_hooks.logger": None, "custom_hooks": None, "param_scheduler": None},
    ],
)
def test_unusual_values_are_accepted(options):
    cfg = recipe(MAE)
    apply_options(cfg, options)
    check_settings(cfg)


def test_a_warm_up_longer_than_a_recipe_cut_short_is_noted(monkeypatch):
    """A trial of a few epochs is no mistake."""
    notes = []
    monkeypatch.setattr(settings_module, "print_log", lambda message, **_: notes.append(message))
    cfg = recipe(MAE)
    apply_options(cfg, {"train_cfg.max_epochs": 2})
    check_settings(cfg)
    assert "--epochs N shortens both" in notes[0]


def test_a_warm_up_in_another_unit_is_not_compared():
    check_settings(config(param_scheduler=[dict(type="LinearLR", by_epoch=False, end=500)]))
    with pytest.raises(ValueError, match="end to 10 or less"):
        check_settings(
            config(
                train_cfg=dict(type="IterBasedTrainLoop", max_iters=10),
                param_scheduler=[dict(type="LinearLR", by_epoch=False, end=500)],
            )
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", max_keep_ckpt=2))),
            r"`default_hooks.checkpoint` \(CheckpointHook\) has no setting `max_keep_ckpt`",
        ),
        (dict(custom_hooks=[dict(type="mmmim.DataWaitHook", intervall=2)]), "custom_hooks.0.interval"),
        (dict(randomness=dict(sed=2)), "randomness.seed"),
        (dict(auto_scale_lr=dict(base_batchsize=2)), "auto_scale_lr.base_batch_size"),
        (dict(extra=dict(f=[lambda x: x])), r"extra\.f\.0 is the Python object <lambda>"),
    ],
)
def test_keys_and_objects_of_a_config_file_are_checked_too(change, message):
    with pytest.raises(ValueError, match=message):
        check_settings(config(**change))


def test_a_hook_of_the_user_may_take_anything_that_it_reads():
    @HOOKS.register_module(name="AnyHook", force=True)
    class AnyHook:
        def __init__(self, **kwargs):
            self.kwargs = kwargs

    check_settings(config(custom_hooks=[dict(type="AnyHook", priority="LOW", whatever=1)]))


def test_without_workers_torch_gets_no_settings_of_workers():
    loader = dict(num_workers=0, persistent_workers=True, prefetch_factor=2)
    cfg = config(train_dataloader=loader, val_dataloader=dict(num_workers=1, persistent_workers=True))
    fit_workers(cfg)
    assert cfg.train_dataloader == dict(num_workers=0)
    assert cfg.val_dataloader.persistent_workers


FILES = sorted(p for p in config_folder().glob("*/*.py") if p.parent.name != "_base_")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_packaged_configs_pass_and_stay_as_they_are(path):
    cfg = Config.fromfile(path)
    before = cfg.to_dict()
    check_settings(cfg)
    assert cfg.to_dict() == before


def test_a_key_of_every_dict_of_the_packaged_configs_is_accepted():
    """No packaged setting would be refused if it were an option."""
    for name in (MAE, PIXMIM, PHOTOS, DETECTOR, SEGMENTER, CLASSIFIER, "mixmim/mixmim-b"):
        cfg = recipe(name)
        for path, node in _dicts("", {k: v for k, v in cfg.items() if k in top_level_keys()}):
            known = accepted_keys(path, node, cfg.default_scope) if path else None
            assert known is None or set(node) <= known, (name, path)


def _dicts(path, node):
    if isinstance(node, dict):
        yield path, node
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        if isinstance(value, (dict, list)):
            yield from _dicts(f"{path}.{key}".removeprefix("."), value)


class Parent:
    def __init__(self, size, **kwargs):
        self.size, self.more = size, kwargs.pop("more", 1)


class Child(Parent):
    def __init__(self, depth, **kwargs):
        super().__init__(kwargs.pop("width"), **kwargs)
        self.depth = depth


class Renamed:
    @renamed_arguments(old="new")
    def __init__(self, new):
        self.new = new


def build(size, **rest):
    return Child(size, **rest)


def keep(**rest):
    return rest


def test_parameters_follow_the_keywords_that_are_passed_on():
    assert parameters(Renamed) == {"new", "old"}
    assert parameters(Parent) == {"size", "more"}
    assert parameters(Child) == {"depth", "width", "size", "more"}
    assert parameters(build) == {"depth", "width", "size", "more"}
    assert parameters(keep) is None
