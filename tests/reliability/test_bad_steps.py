"""NaN, infinity and 1e26 in images, loss, gradients and weights: skipped, named and restored."""

import json
import math
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import nn

from mmmim.engine.step_guard import StepGuard, is_healthy
from mmmim.methods.base import unwrap_model
from mmmim.registry import HOOKS
from tests.reliability.runs import losses, pretraining, start, train

BAD = 8  # the step, counted from 0, that goes wrong: the third of the second epoch
VALUES = dict(nan=math.nan, inf=math.inf, huge=1e26)


@HOOKS.register_module()
class Inject(Hook):
    """Puts a value into a step, or leaves out its update.

    Args:
        where: "image", "loss", "gradient", "weight" or "update".
        steps: from 0.
        bfloat16: run the forward passes under autocast.
    """

    priority = "VERY_LOW"

    def __init__(self, where="", value=0.0, steps=(BAD,), bfloat16=False):
        self.where, self.value, self.steps, self.bfloat16 = where, value, steps, bfloat16
        self.now = -1

    def before_train(self, runner):
        self.now = -1
        model, wrapper = unwrap_model(runner.model), runner.optim_wrapper
        loss_of, step = model.loss, wrapper.step

        def loss(images, *more):
            if self.where == "image" and self.now in self.steps:
                images = images.clone()
                images[0, 0, :9] = self.value
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                found = loss_of(images, *more)
            if self.where == "loss" and self.now in self.steps:
                found["loss"] = found["loss"] * self.value
            return found

        model.loss = loss
        parameter = model.backbone.blocks[0].attn.qkv.weight
        if self.where == "gradient":
            parameter.register_hook(lambda g: g + self.value if self.now in self.steps else g)
        if self.where == "update":
            wrapper.step = lambda **kwargs: None if self.now in self.steps else step(**kwargs)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now = runner.iter
        if self.where == "weight" and self.now in self.steps:
            self.steps = [s for s in self.steps if s != self.now]
            with torch.no_grad():
                unwrap_model(runner.model).backbone.blocks[0].attn.qkv.weight[0, 0] = self.value


def with_bad(photos, work_dir, hook=None, **inject):
    cfg = pretraining(photos, work_dir)
    cfg.custom_hooks.append(dict(type="Inject", **inject))
    for settings in cfg.custom_hooks:
        if settings["type"] == "BadStepHook":
            settings.update(hook or {})
    return cfg


@pytest.fixture(scope="module")
def skipped(photos, tmp_path_factory):
    """Losses of runs that leave out one update, in float32 and in bfloat16."""
    folder = tmp_path_factory.mktemp("skipped")
    for bfloat16 in (False, True):
        train(with_bad(photos, folder / str(bfloat16), where="update", bfloat16=bfloat16))
    return {bfloat16: losses(folder / str(bfloat16)) for bfloat16 in (False, True)}


QUICK = (("image", "nan", False), ("gradient", "huge", False), ("loss", "inf", True))
EVERY = [(w, v, b) for w in ("image", "loss", "gradient") for v in VALUES for b in (False, True)]


@pytest.mark.parametrize(
    ("where", "value", "bfloat16"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in EVERY],
)
def test_a_bad_step_does_nothing_and_is_named(photos, tmp_path, skipped, where, value, bfloat16):
    work_dir = tmp_path / "run"
    inject = dict(where=where, value=VALUES[value], bfloat16=bfloat16)
    run = train(with_bad(photos, work_dir, **inject))
    found, expected = losses(work_dir), skipped[bfloat16]
    # The loss of the bad step itself is logged as it was.
    assert {k: v for k, v in found.items() if k != BAD + 1} == {
        k: v for k, v in expected.items() if k != BAD + 1
    }
    (line,) = (work_dir / "skipped_steps.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["step"] == BAD
    assert len(record["files"]) == 4
    assert record["files"][0].endswith(".png")
    assert f"step {BAD} is skipped" in run.text()
    assert f"mmmim replay {work_dir} {BAD}" in run.text()


def test_the_named_images_are_those_of_the_step(photos, tmp_path):
    import mmmim.data.unlabelled as unlabelled

    work_dir = tmp_path / "run"
    cfg = with_bad(photos, work_dir, where="loss", value=math.nan)
    seen = tmp_path / "seen"

    def note():
        real = unlabelled.UnlabelledImages.__getitem__

        def get(self, draw):
            with seen.open("a") as file:
                file.write(f"{self.file(draw % len(self))}\n")
            return real(self, draw)

        unlabelled.UnlabelledImages.__getitem__ = get

    cfg.train_dataloader.num_workers = 0
    cfg.train_dataloader.persistent_workers = False
    train(cfg, before=note)
    read = seen.read_text().splitlines()
    record = json.loads((work_dir / "skipped_steps.jsonl").read_text())
    assert record["files"] == read[4 * BAD : 4 * BAD + 4]


@pytest.mark.parametrize("value", VALUES)
def test_bad_weights_are_replaced_by_the_last_checkpoint(photos, tmp_path, value):
    work_dir = tmp_path / "run"
    hook = dict(patience=3)
    run = train(with_bad(photos, work_dir, hook, where="weight", value=VALUES[value]))
    # A weight of 1e26 leaves loss and gradients finite: the next checkpoint shows it.
    assert re.search(r"epoch_1\.pth' are loaded, and the images of steps 6 to \d+", run.text())
    assert "Went back 1 of at most 3 times" in run.text()
    found = losses(work_dir)
    assert math.isfinite(found[18])
    assert found[18] < found[1]
    for path in work_dir.glob("epoch_*.pth"):
        content = torch.load(path, weights_only=True)
        assert all(v.isfinite().all() for v in content["state_dict"].values())


def test_a_run_that_goes_back_too_often_stops_and_says_what_it_tried(photos, tmp_path):
    cfg = with_bad(
        photos,
        tmp_path / "run",
        dict(patience=2, rollbacks=2),
        where="loss",
        value=math.nan,
        steps=list(range(7, 99)),
    )
    run = start(cfg)
    assert run.wait() == [1]
    last = run.text().splitlines()[-1]
    assert last.startswith("FloatingPointError: 2 updates in a row are not finite, at step")
    assert last.count("back to epoch_1.pth") == 2
    assert "clip_grad" in last


def test_there_is_nothing_to_go_back_to_in_the_first_epoch(photos, tmp_path):
    inject = dict(where="loss", value=math.nan, steps=list(range(99)))
    run = start(with_bad(photos, tmp_path / "run", dict(patience=4), **inject))
    assert run.wait() == [1]
    assert "there is no checkpoint to go back to" in run.text()
    assert not list((tmp_path / "run").glob("*.pth"))


def test_two_ranks_skip_together_and_name_the_bad_ranks_images(photos, tmp_path):
    cfg = with_bad(photos, tmp_path / "run", where="image", value=math.nan)
    cfg.train_dataloader.batch_size = 2

    def only_rank_one():
        import os

        if os.environ["RANK"] == "0":
            Inject.before_train = lambda self, runner: None

    train(cfg, ranks=2, before=only_rank_one)
    record = json.loads((tmp_path / "run/skipped_steps.jsonl").read_text())
    assert record["step"] == BAD
    assert len(record["files"]) == 2
    assert all(math.isfinite(v) for k, v in losses(tmp_path / "run").items() if k != BAD + 1)


def guarded(optimizer, model):
    wrapper = OptimWrapper(optimizer)
    return wrapper, StepGuard(wrapper, model)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adam])
def test_no_state_of_any_optimizer_changes(kind, fused):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    more = dict(momentum=0.9) if kind is torch.optim.SGD else {}
    wrapper, guard = guarded(
        kind(model.parameters(), lr=0.1, weight_decay=0.1, fused=fused, **more), model
    )
    for scale, is_bad in ((1.0, False), (math.nan, True), (1.0, False), (1e26, True), (math.inf, True)):
        state = {**model.state_dict(), **moments(wrapper.optimizer)}
        before = {name: value.clone() for name, value in state.items()}
        wrapper.update_params(model(torch.randn(4, 3)).square().sum() * scale)
        after = {**model.state_dict(), **moments(wrapper.optimizer)}
        same = all(torch.equal(before[name], after[name]) for name in before)
        assert same == is_bad
        assert bool(guard.skipped) == is_bad
    assert is_healthy(model, wrapper.optimizer)


def moments(optimizer):
    return {
        f"{index}.{name}": value
        for index, state in enumerate(optimizer.state.values())
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def test_good_steps_are_those_without_a_guard():
    def trained(guard):
        torch.manual_seed(0)
        model = nn.Linear(3, 3)
        wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1, fused=True))
        if guard:
            StepGuard(wrapper, model)
        for _ in range(5):
            wrapper.update_params(model(torch.randn(4, 3)).square().sum())
        return model.weight

    assert torch.equal(trained(True), trained(False))


def test_clipping_does_not_hide_an_infinite_norm():
    model = nn.Linear(3, 3)
    wrapper = OptimWrapper(
        torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1), clip_grad=dict(max_norm=1.0)
    )
    StepGuard(wrapper, model)
    before = model.weight.clone()
    wrapper.update_params(model(torch.ones(1, 3)).sum() * 1e26)
    assert torch.equal(model.weight, before)


def test_a_loss_that_leaves_its_band_is_noticed():
    hook = HOOKS.build(dict(type="mmmim.BadStepHook", band=3.0))
    hook._losses.extend([1.0 + 0.1 * (i % 5) for i in range(300)])
    assert hook._leaves_band() is None
    hook._losses.extend([5.0] * 20)
    assert hook._leaves_band().startswith("the loss of 20 steps is 5, and was 1.2 before")


def test_averages_and_weights_both_go_back(photos, tmp_path):
    cfg = with_bad(photos, tmp_path / "run", dict(patience=2), where="weight", value=math.nan)
    cfg.custom_hooks.append(dict(type="EMAHook"))
    train(cfg)
    content = torch.load(tmp_path / "run/epoch_3.pth", weights_only=True)
    for name in ("state_dict", "ema_state_dict"):
        assert all(v.isfinite().all() for v in content[name].values() if v.is_floating_point())
    raw, averaged = (
        content[n][k]
        for n, k in (
            ("ema_state_dict", "module.decoder.pred.weight"),
            ("state_dict", "decoder.pred.weight"),
        )
    )
    assert not torch.equal(raw, averaged)


def test_a_bad_part_of_an_accumulated_update_does_not_spoil_the_log(photos, tmp_path):
    cfg = with_bad(photos, tmp_path / "run", where="loss", value=math.nan, steps=[4])
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.train_dataloader.batch_size = 2
    train(cfg)
    assert all(math.isfinite(value) for value in losses(tmp_path / "run").values())
    record = json.loads((tmp_path / "run/skipped_steps.jsonl").read_text())
    assert record["step"] == 5
    assert len(record["files"]) == 4


def test_a_mask_of_infinities_among_the_buffers_is_no_fault():
    model = nn.Linear(3, 3)
    model.register_buffer("mask", torch.full((3,), -math.inf))
    assert is_healthy(model, torch.optim.SGD(model.parameters(), lr=0.1))
