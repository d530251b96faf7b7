"""The order of the steps from a recipe to the config that runs, and what depends on it."""

import pytest
from mmengine import Config

from mmmim.engine import TEST_STEPS, TRAIN_STEPS, RunOptions, prepare
from mmmim.engine import steps as steps_module
from mmmim.engine.config import find_config
from mmmim.methods.maskalign import TEACHERS
from tests.engine.configs import TINY_VIT, config


def names(steps) -> list[str]:
    return [step.__name__ for step in steps]


def test_the_order_is_the_documented_one():
    assert names(TRAIN_STEPS) == [
        "check_settings",
        "choose_teacher",
        "choose_epochs",
        "choose_start",
        "choose_precision",
        "make_reliable",
        "shard_weights",
        "drop_validation",
        "choose_batch",
        "check_batch",
        "check_train_data",
        "take_image_size",
        "complete_updates",
        "wrap_for_processes",
    ]
    assert names(TEST_STEPS) == [
        "check_test_settings",
        "choose_checkpoint",
        "keep_predictions",
        "check_test_data",
        "wrap_for_processes",
    ]


def test_every_step_says_what_it_does():
    for step in {*TRAIN_STEPS, *TEST_STEPS}:
        assert step.__doc__, step.__name__


def training(tmp_path, **changes) -> Config:
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    recipe = dict(
        work_dir=str(tmp_path / "work"),
        launcher="none",
        epochs=800,
        model=dict(type="MAE", backbone=dict(type="ViT", **TINY_VIT)),
        train_cfg=dict(max_epochs=800),
        train_dataloader=dict(
            batch_size=8,
            sampler=dict(type="EpochSampler"),
            dataset=dict(type="UnlabelledImages", data_root=str(data)),
        ),
        val_dataloader=dict(dataset=dict(type="CocoDataset", data_root="nowhere/")),
        param_scheduler=[dict(type="CosineAnnealingLR", end=800, T_max=800)],
        default_hooks=dict(checkpoint=dict(interval=5)),
        auto_scale_lr=dict(base_batch_size=32),
    )
    return config(**{**recipe, **changes})


def test_epochs_are_set_before_steps_are_multiplied_and_batches_before_updates(tmp_path):
    cfg = training(tmp_path)
    prepare(cfg, RunOptions(epochs=400, batch_size=4, validate=False), TRAIN_STEPS)
    assert cfg.train_cfg.max_epochs == 400
    assert cfg.optim_wrapper.accumulative_counts == 8  # 32 images of the recipe in steps of 4
    assert cfg.train_dataloader.sampler.multiple == 8 * 4


def test_data_that_is_not_read_need_not_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere/"):
        prepare(training(tmp_path), RunOptions(), TRAIN_STEPS)
    prepare(training(tmp_path), RunOptions(validate=False), TRAIN_STEPS)


def test_a_work_dir_with_checkpoints_is_refused_before_its_data_are_looked_for(tmp_path):
    cfg = training(tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/epoch_1.pth").touch()
    (tmp_path / "work/last_checkpoint").write_text(str(tmp_path / "work/epoch_1.pth"))
    with pytest.raises(FileExistsError, match="--resume"):
        prepare(cfg, RunOptions(), TRAIN_STEPS)


def test_a_smaller_batch_is_accumulated_or_the_rate_is_scaled(tmp_path):
    cfg = training(tmp_path)
    steps_module.choose_batch(cfg, RunOptions(batch_size=2, auto_scale_lr=True))
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.auto_scale_lr.enable
    assert "accumulative_counts" not in cfg.optim_wrapper


@pytest.mark.parametrize("option", ["epochs", "batch_size"])
def test_zero_is_refused_and_not_taken_for_unset(tmp_path, option):
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')}.* 0"):
        prepare(training(tmp_path), RunOptions(validate=False, **{option: 0}), TRAIN_STEPS)


@pytest.mark.parametrize("own", [dict(type="CocoMetric"), [dict(type="CocoMetric")]])
def test_predictions_are_kept_beside_the_metrics_of_the_recipe(own):
    cfg = config(test_evaluator=own)
    steps_module.keep_predictions(cfg, RunOptions(out="out.pkl"))
    assert [metric.type for metric in cfg.test_evaluator] == ["CocoMetric", "DumpResults"]


@pytest.mark.parametrize(
    ("recipe", "teacher", "fusion"),
    [
        ("maskalign/vit-b", "dino-b", "linear"),
        ("maskalign/vit-b", "clip-l", "sum"),
        ("maskalign/vit-l", "clip-b", "sum"),
        ("maskalign/vit-l", "clip-l", "linear"),
    ],
)
def test_a_teacher_by_name_brings_its_file_size_and_fusion(recipe, teacher, fusion, monkeypatch):
    monkeypatch.delenv("TEACHER", raising=False)
    cfg = Config.fromfile(find_config(recipe))
    steps_module.choose_teacher(cfg, RunOptions(teacher=teacher))
    expected, _ = TEACHERS[teacher]
    assert cfg.model.teacher == expected
    assert cfg.model.alignment.fusion == fusion


def test_the_variable_teacher_names_another_file_and_other_methods_have_none(monkeypatch):
    monkeypatch.setenv("TEACHER", "elsewhere.pth")
    cfg = Config.fromfile(find_config("maskalign/vit-b"))
    steps_module.choose_teacher(cfg, RunOptions(teacher="dinov2-b"))
    assert cfg.model.teacher.checkpoint == "elsewhere.pth"
    with pytest.raises(ValueError, match="MAE has no teacher"):
        steps_module.choose_teacher(
            Config.fromfile(find_config("mae/vit-b")), RunOptions(teacher="clip-b")
        )


def test_a_pretraining_config_cannot_be_tested():
    with pytest.raises(ValueError, match=r"nothing to evaluate.*mmmim visualize"):
        prepare(config(launcher="none"), RunOptions(checkpoint="x.pth"), TEST_STEPS)
