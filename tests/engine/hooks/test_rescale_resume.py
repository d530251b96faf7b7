"""Resuming with another batch size, by mmengine's runner."""

import pytest
import torch
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

EPOCHS = 8


class Rates(Hook):
    """Records the learning rate at the start of each epoch; kills the run at epoch `killed_at`."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at, self.rates, self.iterations = killed_at, {}, {}

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.killed_at:
            raise KeyboardInterrupt
        self.rates[runner.epoch] = runner.optim_wrapper.get_lr()["lr"][0]
        self.iterations[runner.epoch] = runner.iter


@pytest.fixture
def folder(tmp_path):
    for i in range(8):
        Image.effect_noise((20, 20), 40 + i).convert("RGB").save(tmp_path / f"{i}.jpg")
    return tmp_path


def train(folder, work, batch, accumulate, resume=False, killed_at=None) -> Rates:
    cfg = dict(
        default_scope="mmmim",
        work_dir=str(folder / work),
        model=dict(
            type="MAE",
            backbone=dict(
                type="ViT", arch=dict(embed_dims=16, depth=1, num_heads=1), img_size=16, patch_size=4
            ),
            decoder=dict(embed_dims=16, depth=1, num_heads=1),
            data_preprocessor=dict(type="ImgDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3),
        ),
        train_dataloader=dict(
            batch_size=batch,
            num_workers=0,
            sampler=dict(type="EpochSampler"),
            collate_fn=dict(type="default_collate"),
            dataset=dict(
                type="UnlabelledImages",
                data_root=str(folder),
                pipeline=[dict(type="SimpleResizedCrop", size=16)],
            ),
        ),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3), accumulative_counts=accumulate),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, end=2, convert_to_iter_based=True),
            dict(type="CosineAnnealingLR", begin=2, end=8, T_max=6, convert_to_iter_based=True),
        ],
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        custom_hooks=[dict(type="RescaleResumeHook")],
        log_level="ERROR",
        randomness=dict(seed=0),
        resume=resume,
        experiment_name=f"{folder.name}-{work}-{batch}-{killed_at}",
    )
    run, rates = Runner.from_cfg(Config(cfg)), Rates(killed_at)
    run.register_hook(rates)
    try:
        run.train()
    except KeyboardInterrupt:
        assert killed_at
    return rates


@pytest.mark.parametrize(
    ("before", "after"), [((4, 1), (2, 2)), ((2, 2), (4, 1))], ids=["more steps", "fewer steps"]
)
@pytest.mark.parametrize("killed_at", [1, 5])
def test_a_run_goes_on_in_other_batches_at_the_rates_of_its_recipe(folder, before, after, killed_at):
    whole = train(folder, "whole", *after)
    train(folder, "cut", *before, killed_at=killed_at)
    resumed = train(folder, "cut", *after, resume=True)
    epochs = range(killed_at, EPOCHS)
    assert list(resumed.iterations) == list(epochs)
    assert [resumed.iterations[e] for e in epochs] == [whole.iterations[e] for e in epochs]
    # During the warm-up, one step is a large share of the learning rate.
    tolerance = 0.15 if killed_at < 2 else 1e-6
    for epoch in epochs:
        assert resumed.rates[epoch] == pytest.approx(whole.rates[epoch], rel=tolerance)
    assert whole.rates[EPOCHS - 1] < 0.1 * whole.rates[3]


def test_the_same_steps_are_left_alone(folder):
    train(folder, "cut", 4, 1, killed_at=5)
    saved = torch.load(folder / "cut/epoch_5.pth", weights_only=False)["param_schedulers"]
    resumed = train(folder, "cut", 4, 1, resume=True)
    assert resumed.iterations[5] == 10
    assert saved[1]["last_step"] == 10 - 2 * 2
