"""`--epochs` and accumulation rescale what depends on the length of a run."""

import pytest
from mmengine import Config

from mmmim.engine.config import find_config
from mmmim.engine.schedule import scale_steps, set_epochs


def load(name: str) -> Config:
    return Config.fromfile(find_config(name))


def test_another_length_moves_the_cosine_and_keeps_the_warmup():
    cfg = load("mae/vit-b")
    set_epochs(cfg, 300)
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == 40
    assert (cosine.end, cosine.T_max) == (300, 260)
    assert cfg.train_cfg.max_epochs == cfg.epochs == 300
    assert cfg.default_hooks.checkpoint.interval == 5


def test_a_run_shorter_than_twice_the_warmup_keeps_its_share_and_writes_checkpoints():
    cfg = load("mae/vit-b")  # 40 of 1600 epochs
    set_epochs(cfg, 40)
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin == cfg.warmup_epochs == 1
    assert (cosine.end, cosine.T_max) == (40, 39)
    assert cfg.default_hooks.checkpoint.interval == 2


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (2, 1), (79, 2), (80, 40)])
def test_the_shortest_runs_have_a_valid_schedule(epochs, warmup):
    cfg = load("mae/vit-b")
    set_epochs(cfg, epochs)
    *warm, cosine = cfg.param_scheduler
    assert [s.end for s in warm] == [warmup] * bool(warmup)
    assert (cosine.begin, cosine.end, cosine.T_max) == (warmup, epochs, epochs - warmup)


def test_the_recipes_own_length_changes_nothing():
    cfg, same = load("mae/vit-b"), load("mae/vit-b")
    set_epochs(same, cfg.epochs)
    assert same.to_dict() == cfg.to_dict()


def test_iterations_are_rescaled_too():
    cfg = load("detection/vit-b_mask-rcnn_coco")  # 100 epochs, 184,375 iterations
    set_epochs(cfg, 25)
    warmup, steps = cfg.param_scheduler
    assert cfg.train_cfg.max_iters == 46094
    assert warmup.end == 250
    assert list(steps.milestones) == [40972, 44386]
    assert cfg.train_cfg.val_interval == 5000  # counted in iterations, whatever the length


@pytest.mark.parametrize(
    ("name", "epochs", "message"),
    [("segmentation/vit-b_upernet_ade20k", 10, "has none"), ("mae/vit-b", 0, "1 or more, got 0")],
)
def test_a_length_that_cannot_be_is_refused(name, epochs, message):
    with pytest.raises(ValueError, match=message):
        set_epochs(load(name), epochs)


def test_accumulated_steps_lengthen_recipes_that_count_iterations():
    cfg, before = load("detection/vit-b_mask-rcnn_coco"), load("detection/vit-b_mask-rcnn_coco")
    scale_steps(cfg, 4)
    assert cfg.train_cfg.max_iters == 4 * before.train_cfg.max_iters
    assert cfg.train_cfg.val_interval == 4 * before.train_cfg.val_interval
    assert cfg.default_hooks.checkpoint.interval == 4 * before.default_hooks.checkpoint.interval
    for now, then in zip(cfg.param_scheduler, before.param_scheduler, strict=True):
        for key in ("end", "milestones"):
            if key in then:
                assert now[key] == (
                    [4 * m for m in then[key]] if key == "milestones" else 4 * then[key]
                )


def test_accumulation_leaves_recipes_that_count_epochs():
    cfg, before = load("mae/vit-b"), load("mae/vit-b")
    scale_steps(cfg, 4)
    assert cfg.to_dict() == before.to_dict()
