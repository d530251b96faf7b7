"""Hooks, in tiny runs of mmengine's runner."""

import re
import shutil
from argparse import Namespace

import pytest
import torch
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from mmmim.engine.hooks import data_wait

BACKBONE = dict(type="ViT", arch=dict(embed_dims=16, depth=1, num_heads=1), img_size=16, patch_size=4)
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3)


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        Image.effect_noise((20, 20), 40 + i).convert("RGB").save(tmp_path / f"{i}.jpg")
    return tmp_path


def runner(folder, hooks, epochs=2, lr=1e-3, workers=0, seed=0) -> Runner:
    dataset = dict(
        type="UnlabelledImages",
        data_root=str(folder),
        pipeline=[dict(type="SimpleResizedCrop", size=16)],
    )
    cfg = dict(
        default_scope="mmmim",
        work_dir=str(folder / "work"),
        model=dict(
            type="MAE",
            backbone=BACKBONE,
            decoder=dict(embed_dims=16, depth=1, num_heads=1),
            data_preprocessor=PREPROCESSOR,
        ),
        train_dataloader=dict(
            batch_size=2,
            num_workers=workers,
            sampler=dict(type="EpochSampler"),
            collate_fn=dict(type="default_collate"),
            dataset=dataset,
        ),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=lr)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        custom_hooks=hooks,
        log_level="ERROR",
        randomness=dict(seed=seed),
        experiment_name=f"{folder.name}-{len(hooks)}-{epochs}-{workers}-{seed}-{id(hooks)}",
    )
    return Runner.from_cfg(Config(cfg))


@pytest.mark.filterwarnings("ignore:skipped")
def test_broken_images_are_counted_and_listed(folder):
    (folder / "2.jpg").write_bytes(b"rubbish")
    run = runner(folder, [dict(type="BrokenImagesHook")], workers=1)
    run.train()
    listed = (folder / "work" / "broken_images.txt").read_text().splitlines()
    assert [line.rsplit("/", 1)[-1] for line in listed] == ["2.jpg"]


def test_predictions_are_drawn_and_move_no_random_draw(folder):
    draws = []
    for hooks in ([], [dict(type="PredictionHook", interval=1, images=3)]):
        run = runner(folder, hooks)
        run.train()
        draws.append(torch.rand(3))
    assert torch.equal(*draws)
    pictures = sorted((folder / "work/predictions").glob("*.png"))
    assert [p.name for p in pictures] == ["epoch_1.png", "epoch_2.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (4 + 4 * 20, 4 + 3 * 20)


def test_quick_signals_are_logged_beside_the_loss(folder, tmp_path_factory):
    labelled = tmp_path_factory.mktemp("labelled")
    for split in ("train", "val"):
        for i, name in enumerate(("a", "b")):
            (labelled / split / name).mkdir(parents=True)
            Image.new("RGB", (20, 20), (200 * i, 50, 50)).save(labelled / split / name / "0.jpg")
    for split in ("training", "validation"):
        for kind, mode in (("images", "RGB"), ("annotations", "L")):
            (labelled / kind / split).mkdir(parents=True)
            Image.new(mode, (20, 20), 1).save(labelled / kind / split / "0.png")
    common = dict(data_root=str(labelled), interval=2)
    neighbors = dict(type="KNNEvalHook", **common)
    probe = dict(type="SegmentationProbeHook", num_classes=2, **common)
    seen = []

    def weights_after(hooks: list[dict]) -> torch.Tensor:
        run = runner(folder, hooks, epochs=3, seed=4)
        modes = run.model.backbone.forward
        run.model.backbone.forward = lambda x: seen.append(run.model.training) or modes(x)
        run.train()
        assert run.model.training
        return run.model.backbone.blocks[0].attn.qkv.weight

    assert torch.equal(weights_after([]), weights_after([neighbors, probe]))  # same draws
    assert seen
    assert not any(seen)
    scalars = "".join(p.read_text() for p in (folder / "work").glob("*/vis_data/scalars.json"))
    assert scalars.count("nearest neighbors/top1") == 2  # after epochs 2 and 3, the last
    assert scalars.count("segmentation probe/mIoU") == 2


def test_an_iteration_draws_the_same_masks_whatever_ran_before(folder):
    def masks_after(disturbance: int) -> torch.Tensor:
        run = runner(folder, [dict(type="IterSeedHook")], epochs=1, seed=4)
        torch.rand(disturbance)
        masks, draw = [], run.model.draw_mask
        run.model.draw_mask = lambda images: masks.append(draw(images)) or masks[-1]
        run.train()
        return torch.stack([mask.mask for mask in masks])

    seen = [masks_after(0), masks_after(5)]
    assert torch.equal(*seen)
    assert not torch.equal(seen[0][0], seen[0][1])  # and iterations differ


def test_losses_are_logged_late_and_whole(folder, monkeypatch):
    """The same history as with mmengine's own logging, with fewer host-device syncs."""
    histories, waits, item = [], [], torch.Tensor.item
    for hooks in ([], [dict(type="DeferredLossHook", interval=2)]):
        run = runner(folder, [dict(type="IterSeedHook"), *hooks], epochs=3, seed=4)
        next(h for h in run.hooks if type(h).__name__ == "LoggerHook").interval = 50
        asked = []
        monkeypatch.setattr(torch.Tensor, "item", lambda self, a=asked: a.append(1) or item(self))
        run.train()
        histories.append(run.message_hub.get_scalar("train/loss").data[0].tolist())
        waits.append(len(asked))
    assert len(histories[0]) == 9
    assert histories[0] == pytest.approx(histories[1])
    assert waits[1] <= waits[0] - 9


@pytest.mark.parametrize(("log", "save"), [(3, 0), (4, 0), (5, 3)])
def test_who_reads_losses_finds_the_latest(folder, log, save):
    """Twelve steps in one epoch, logged every `log` and saved every `save` steps."""
    hooks = [dict(type="IterSeedHook"), dict(type="DeferredLossHook", interval=4)]
    if save:
        hooks.append(dict(type="CheckpointHook", by_epoch=False, interval=save))
    read = []

    class Reader(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if self.every_n_inner_iters(batch_idx, log) or (save and (batch_idx + 1) % save == 0):
                losses = runner.message_hub.get_scalar("train/loss").data[0]
                read.append((batch_idx + 1, len(losses)))

    for i in range(6, 24):
        shutil.copy(folder / "0.jpg", folder / f"{i}.jpg")
    run = runner(folder, hooks, epochs=1, seed=10 + log)
    next(h for h in run.hooks if type(h).__name__ == "LoggerHook").interval = log
    run.register_hook(Reader(), "VERY_LOW")
    run.train()
    assert len(read) >= 12 // log
    assert all(step == count for step, count in read)


@pytest.mark.parametrize(
    ("variables", "workers"), [(dict(SLURM_NTASKS_PER_NODE="8"), 8), (dict(LOCAL_WORLD_SIZE="4"), 2)]
)
def test_torchruns_processes_share_cores_and_slurms_have_their_own(monkeypatch, variables, workers):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    loader = Namespace(num_workers=1)
    assert data_wait._cure(Namespace(train_dataloader=loader)).endswith(f"num_workers={workers}")


def test_waiting_for_images_is_said_once_with_the_setting(folder, monkeypatch):
    said = []
    slow = dict(type="DataWaitHook", share=0.0, interval=2)
    run = runner(folder, [slow], epochs=3)
    monkeypatch.setattr(run.logger, "warning", said.append)
    run.train()
    (line,) = (line for line in said if "waiting for" in line)
    assert re.match(r"\d+% of the time is spent waiting for images.*num_workers=\d", line)
    fast = runner(folder, [dict(slow, share=1.0)], epochs=3)
    said.clear()
    monkeypatch.setattr(fast.logger, "warning", said.append)
    fast.train()
    assert not [line for line in said if "waiting for" in line]
