import pytest

from mmmim.engine import batch
from tests.engine.configs import config


def test_the_arithmetic_of_the_batch_is_told():
    cfg = config(auto_scale_lr=dict(base_batch_size=64))
    assert batch.describe_batch(cfg, 8).startswith("batch: 8 images x 8 processes x 1 accumulated = 64")
    line = batch.describe_batch(cfg, 2)
    assert "meant for a batch of 64" in line
    assert "--keep-batch" in line


def test_fewer_images_a_step_mean_more_iterations():
    cfg = config(auto_scale_lr=dict(base_batch_size=64), train_cfg=dict(max_iters=1000))
    assert "multiply max_iters and the iterations of param_scheduler by 4" in batch.describe_batch(
        cfg, 2
    )


def test_scaling_the_rate_counts_accumulated_images():
    cfg = config(auto_scale_lr=dict(base_batch_size=64))
    cfg.optim_wrapper.accumulative_counts = 2
    batch.set_auto_scale_lr(cfg)
    # mmengine divides the 2 x 8 images of a step by this: 16 / 32 = 32 / 64.
    assert cfg.auto_scale_lr.base_batch_size == 32
    assert batch.describe_batch(cfg, 2).endswith("scaled by 0.5")
    with pytest.raises(ValueError, match="base_batch_size"):
        batch.set_auto_scale_lr(config())


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_batch_norm_on_a_batch_of_one_is_refused_before_it_fails(norm):
    model = dict(type="EncoderDecoder", neck=[dict(norm_cfg=dict(type=norm))])
    cfg = config(model=model, launcher="none", train_dataloader=dict(batch_size=1))
    with pytest.raises(ValueError, match=f"{norm} needs more than one image.*batch-size 2"):
        batch.check_batch_norm(cfg)
    cfg.train_dataloader.batch_size = 2
    batch.check_batch_norm(cfg)
    batch.check_batch_norm(config(launcher="none", train_dataloader=dict(batch_size=1)))  # MAE


def test_the_batch_of_a_recipe_is_kept_by_accumulation():
    cfg = config(auto_scale_lr=dict(base_batch_size=64))
    for processes, accumulated in ((8, 1), (2, 4), (1, 8)):
        batch.set_keep_batch(cfg, processes)
        assert cfg.optim_wrapper.accumulative_counts == accumulated
        assert batch.describe_batch(cfg, processes).split(";")[0].endswith("= 64")
    with pytest.raises(ValueError, match=r"8 images x 3 processes.* a number of processes"):
        batch.set_keep_batch(cfg, 3)
    with pytest.raises(ValueError, match=r"8 images x 16 processes .* divisor of 4"):
        batch.set_keep_batch(cfg, 16)
    with pytest.raises(ValueError, match="does not state its batch"):
        batch.set_keep_batch(config(), 1)


def test_an_epoch_ends_with_an_update(tmp_path):
    cfg = config()
    cfg.train_dataloader.sampler = dict(type="EpochSampler")
    batch.set_whole_updates(cfg)
    assert "multiple" not in cfg.train_dataloader.sampler
    cfg.optim_wrapper.accumulative_counts = 3
    batch.set_whole_updates(cfg)
    assert cfg.train_dataloader.sampler.multiple == 3 * 8
    cfg.optim_wrapper.accumulative_counts, cfg.train_dataloader.drop_last = 1, True
    batch.set_whole_updates(cfg)
    assert cfg.train_dataloader.sampler.multiple == 8
