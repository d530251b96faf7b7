import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine import Config
from torch import nn

from mmmim import launch
from mmmim.data.roots import check_data_roots
from mmmim.registry import MODELS

TINY_VIT = dict(arch=dict(embed_dims=16, depth=1, num_heads=2), img_size=32, patch_size=8)


def config(**kwargs):
    base = dict(
        work_dir="unused",
        train_cfg=dict(max_epochs=1),
        model=dict(type="MAE", backbone=dict(type="ViT")),
        train_dataloader=dict(batch_size=8, dataset=dict(type="UnlabelledImages", data_root=".")),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.001)),
    )
    return Config({**base, **kwargs})


def test_results_are_not_written_over(tmp_path):
    cfg = config(work_dir=str(tmp_path))
    launch.set_resume(cfg, None)  # an empty work dir is fine
    cfg.load_from = "weights.pth"
    launch.set_resume(cfg, "auto")  # there is nothing to go on from
    assert cfg.load_from == "weights.pth"
    assert not cfg.get("resume")
    (tmp_path / "epoch_1.pth").touch()
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))
    with pytest.raises(FileExistsError, match=r"--resume.*another --work-dir"):
        launch.set_resume(cfg, None)
    launch.set_resume(cfg, "auto")
    assert cfg.resume
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        launch.set_resume(cfg, "nowhere.pth")


def test_pretrained_reaches_the_backbone_also_of_a_host(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(FileNotFoundError, match=r"weights\.pth"):
        launch.set_pretrained(config(), str(path))
    path.touch()
    cfg = config(model=dict(type="PixMIM", host=dict(type="MAE", backbone=dict(type="ViT"))))
    launch.set_pretrained(cfg, str(path))
    assert cfg.model.host.backbone.init_cfg.checkpoint == str(path)
    with pytest.raises(ValueError, match="needs a model with a backbone"):
        launch.set_pretrained(config(model=dict(type="Other")), str(path))


def test_missing_data_roots_are_named_with_their_variable(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COCO", "no/coco")
    for name in ("ADE20K", "SCENES"):
        monkeypatch.delenv(name, raising=False)
    dataset = dict(type="RepeatDataset", dataset=dict(type="CocoDataset", data_root="no/coco/"))
    ade = "data/ade/ADEChallengeData2016/"
    cfg = config(
        train_dataloader=dict(dataset=dataset),
        val_dataloader=dict(dataset=dict(type="ADE20KDataset", data_root=ade)),
        test_dataloader=dict(dataset=dict(type="CocoDataset", data_root="data/scenes/coco/")),
    )
    with pytest.raises(FileNotFoundError, match=r"no/coco/.*COCO=(.|\n)*data/ade/.*ADE20K="):
        check_data_roots(cfg, ("train_dataloader", "val_dataloader"))
    with pytest.raises(FileNotFoundError, match=r"no/coco/") as error:
        check_data_roots(cfg, ("train_dataloader",))
    assert "data/ade/" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"SCENES=.*python tools/make_scenes\.py data/scenes"):
        check_data_roots(cfg, ("test_dataloader",))


def test_the_arithmetic_of_the_batch_is_told():
    cfg = config(auto_scale_lr=dict(base_batch_size=64))
    assert launch.describe_batch(cfg, 8).startswith(
        "batch: 8 images x 8 processes x 1 accumulated = 64"
    )
    line = launch.describe_batch(cfg, 2)
    assert "meant for a batch of 64" in line
    assert "accumulative_counts=4" in line


def test_fewer_images_a_step_mean_more_iterations():
    cfg = config(auto_scale_lr=dict(base_batch_size=64), train_cfg=dict(max_iters=1000))
    assert "multiply max_iters and the iterations of param_scheduler by 4" in launch.describe_batch(
        cfg, 2
    )


def test_recipes_of_one_name_do_not_share_a_work_dir():
    dirs = {launch.default_work_dir(f"configs/{m}/vit-b_800e.py") for m in ("mae", "pixmim")}
    assert dirs == {"work_dirs/mae/vit-b_800e", "work_dirs/pixmim/vit-b_800e"}


def test_scaling_the_rate_counts_accumulated_images():
    cfg = config(auto_scale_lr=dict(base_batch_size=64))
    cfg.optim_wrapper.accumulative_counts = 2
    launch.set_auto_scale_lr(cfg)
    # mmengine compares 2 x 8 images of a step with this: 16 / 32 = 32 / 64.
    assert cfg.auto_scale_lr.base_batch_size == 32
    assert launch.describe_batch(cfg, 2).endswith("scaled by 0.5")
    with pytest.raises(ValueError, match="base_batch_size"):
        launch.set_auto_scale_lr(config())


def test_a_missing_config_says_where_configs_are():
    args = Namespace(config="configs/nothing.py", cfg_options=None, launcher="none")
    with pytest.raises(FileNotFoundError, match="below configs/"):
        launch.load_config(args)


def test_under_mpi_a_process_takes_the_gpu_that_mpi_gives_it(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "")
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_RANK", "3")
    tiny = Path(__file__).parents[1] / "configs/tiny/mae_vit_scenes.py"
    launch.load_config(
        Namespace(config=tiny, cfg_options=None, launcher="mpi", work_dir=None, local_rank=0)
    )
    assert os.environ["LOCAL_RANK"] == "3"


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_without_a_gpu_mpi_launches_nothing():
    with pytest.raises(ValueError, match=r"dist_train\.sh.*slurm_train\.sh.*got 'mpi'"):
        launch.fit_to_cpu(config(launcher="mpi"))


def test_sync_bn_is_replaced_wherever_it_stands():
    model = dict(head=[dict(norm_cfg=dict(type="SyncBN", requires_grad=True))], neck=dict(type="FPN"))
    assert launch.replace_sync_bn(model)
    assert model["head"][0]["norm_cfg"] == dict(type="BN", requires_grad=True)
    assert not launch.replace_sync_bn(model)


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_batch_norm_on_a_batch_of_one_is_refused_before_it_fails(norm):
    model = dict(type="EncoderDecoder", neck=[dict(norm_cfg=dict(type=norm))])
    cfg = config(model=model, launcher="none", train_dataloader=dict(batch_size=1))
    with pytest.raises(ValueError, match=f"{norm} needs more than one image.*batch_size=2"):
        launch.check_batch_norm(cfg)
    cfg.train_dataloader.batch_size = 2
    launch.check_batch_norm(cfg)
    launch.check_batch_norm(config(launcher="none", train_dataloader=dict(batch_size=1)))  # MAE


def test_an_unknown_type_is_answered_with_what_there_is(tmp_path):
    cfg = config(model=dict(type="PixMiM"), work_dir=str(tmp_path), default_scope="mmmim")
    for key in ("train_dataloader", "optim_wrapper", "train_cfg"):
        cfg.pop(key)
    cfg.launcher = "none"
    with pytest.raises(KeyError, match=r"PixMiM is not in.*has .*'MAE'.*did you mean PixMIM\?"):
        launch.build_runner(cfg)


def test_an_encoder_is_not_taken_for_a_detector(tmp_path):
    detector = nn.Module()
    detector.backbone = MODELS.build(dict(type="ViT", **TINY_VIT))
    run = Namespace(model=detector, cfg=Config(dict(default_scope="mmdet")))
    for prefix in ("", "backbone."):
        path = tmp_path / f"{prefix}weights.pth"
        torch.save({prefix + k: v for k, v in detector.backbone.state_dict().items()}, path)
        run.cfg.load_from = str(path)
        if prefix:
            launch.start_method(run)
        else:
            with pytest.raises(ValueError, match=r"from scratch: .* --pretrained"):
                launch.start_method(run)


@pytest.fixture
def wide_table(tmp_path):
    """A ViT whose table of positions was made for 8 x 8 patches."""
    tiny = dict(embed_dims=16, depth=1, num_heads=2)
    vit = MODELS.build(dict(type="ViT", arch=tiny, img_size=128))
    path = tmp_path / "epoch_3.pth"
    torch.save({"state_dict": {f"backbone.{n}": v for n, v in vit.state_dict().items()}}, path)
    return path


def detector(backbone: dict, **changes) -> Config:
    return config(
        default_scope="mmdet",
        launcher="none",
        model=dict(type="MaskRCNN", backbone=backbone),
        **changes,
    )


def test_a_vit_without_image_size_takes_that_of_the_weights_to_come(wide_table, monkeypatch):
    cfg = detector(dict(type="mmmim.ViT"))
    launch.set_pretrained(cfg, str(wide_table))
    tested = detector(dict(type="mmmim.ViT", init_cfg=dict(checkpoint="gone.pth")))
    launch.set_tested(tested, str(wide_table))
    assert tested.model.backbone == dict(type="mmmim.ViT", img_size=128)
    resumed = detector(dict(type="mmmim.ViT"), resume=True, load_from=None)
    resumed.work_dir = str(wide_table.parent)
    (wide_table.parent / "last_checkpoint").write_text(str(wide_table))
    monkeypatch.setattr(launch.runner.Runner, "from_cfg", lambda cfg: cfg)
    for source in (cfg, resumed):
        assert launch.build_runner(source).model.backbone.img_size == 128
    listed = detector(dict(type="mmmim.ViT", init_cfg=[dict(type="Xavier", layer="Linear")]))
    assert "img_size" not in launch.build_runner(listed).model.backbone


def test_an_image_size_that_is_named_stays(wide_table):
    for backbone in (dict(type="mmmim.ViT", img_size=64), dict(type="mmmim.ConvViT")):
        cfg = detector(dict(backbone))
        launch.take_image_size(cfg, str(wide_table))
        assert cfg.model.backbone == backbone
    pretraining = config(model=dict(type="MAE", backbone=dict(type="ViT")), default_scope="mmmim")
    launch.take_image_size(pretraining, str(wide_table))
    assert "img_size" not in pretraining.model.backbone


def test_the_batch_of_a_recipe_is_kept_by_accumulation():
    cfg = config(auto_scale_lr=dict(base_batch_size=64))
    for processes, accumulated in ((8, 1), (2, 4), (1, 8)):
        launch.set_keep_batch(cfg, processes)
        assert cfg.optim_wrapper.accumulative_counts == accumulated
        assert launch.describe_batch(cfg, processes).split(";")[0].endswith("= 64")
    with pytest.raises(
        ValueError, match=r"8 images x 3 processes do not divide .* a number of them that"
    ):
        launch.set_keep_batch(cfg, 3)
    with pytest.raises(ValueError, match=r"8 images x 16 processes .* divisor of 4"):
        launch.set_keep_batch(cfg, 16)
    with pytest.raises(ValueError, match="counts iterations"):
        launch.set_keep_batch(
            config(auto_scale_lr=dict(base_batch_size=64), train_cfg=dict(max_iters=5)), 1
        )
    with pytest.raises(ValueError, match="needs auto_scale_lr"):
        launch.set_keep_batch(config(), 1)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, 1), (dict(WORLD_SIZE="16"), 16), (dict(SLURM_NTASKS="64"), 64)],
)
def test_the_number_of_processes_is_the_launchers(monkeypatch, variables, expected):
    for name in ("WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch.launched_processes() == expected


def test_of_a_method_all_is_compiled_and_of_a_detector_the_backbone():
    method = MODELS.build(dict(type="MAE", backbone=dict(type="ViT", **TINY_VIT)))
    launch.compile_model(Namespace(model=method))
    names = list(method.state_dict())
    assert method._compiled_call_impl is not None
    assert not any("_orig_mod" in name for name in names)
    detector = nn.Module()
    detector.backbone, detector.neck = MODELS.build(dict(type="ViT", **TINY_VIT)), nn.Identity()
    launch.compile_model(Namespace(model=detector))
    assert detector.backbone._compiled_call_impl is not None
    assert detector._compiled_call_impl is None


def test_an_epoch_ends_with_an_update(tmp_path):
    cfg = config()
    cfg.train_dataloader.sampler = dict(type="EpochSampler")
    launch.set_whole_updates(cfg)
    assert "multiple" not in cfg.train_dataloader.sampler
    cfg.optim_wrapper.accumulative_counts = 3
    launch.set_whole_updates(cfg)
    assert cfg.train_dataloader.sampler.multiple == 3 * 8
    cfg.optim_wrapper.accumulative_counts, cfg.train_dataloader.drop_last = 1, True
    launch.set_whole_updates(cfg)
    assert cfg.train_dataloader.sampler.multiple == 8


FSDP = dict(
    launcher="pytorch",
    custom_hooks=[dict(type="mmmim.PredictionHook"), dict(type="LossLogHook")],
    default_hooks=dict(teacher=dict(type="TeacherHook"), alignment=dict(type="AlignmentHook")),
)


def test_shared_out_weights_are_not_looked_at_on_the_way():
    cfg = config(**FSDP, load_from="epoch_3.pth", resume=True)  # --resume PATH
    launch.set_fsdp(cfg)
    assert cfg.runner_type == "FlexibleRunner"
    assert [hook["type"] for hook in cfg.custom_hooks] == ["LossLogHook"]
    assert list(cfg.default_hooks) == ["teacher"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(launcher="none"), "dist_train"),
        (dict(load_from="weights.pth"), "--pretrained"),
        (dict(optim_wrapper=dict(clip_grad=dict(max_norm=1.0))), "does not clip.*max_norm"),
    ],
)
def test_what_shared_out_weights_do_not_go_with(changes, words):
    with pytest.raises(ValueError, match=words):
        launch.set_fsdp(config(**{**FSDP, **changes}))
