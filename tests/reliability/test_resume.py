"""A run goes on from its newest whole checkpoint, and no other run touches it."""

import os
import re
import shutil
import signal

import numpy as np
import pytest
import torch

from mmmim.checkpoints import DamagedCheckpoint
from mmmim.engine.resume import find_newest_whole
from tests.reliability.runs import losses, pretraining, start, train


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("*.pth*"))


@pytest.fixture(scope="module")
def first_epochs(photos, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("first") / "run"
    train(pretraining(photos, work_dir, epochs=2))
    return work_dir


@pytest.fixture
def two_epochs(first_epochs, tmp_path):
    """A work dir with the checkpoints of two of three epochs."""
    return shutil.copytree(first_epochs, tmp_path / "run")


def refused(cfg, **options) -> str:
    """Run, which must fail before the first step -> its output."""
    run = start(cfg, **options)
    assert run.wait() == [1]
    assert "Epoch(train)" not in run.text()
    return run.text()


def damage(path, how):
    content = path.read_bytes()
    if how == "noise":  # 4 KB within the largest record
        middle = len(content) // 2
        noise = np.random.default_rng(0).bytes(4096)
        content = content[:middle] + noise + content[middle + 4096 :]
    else:
        content = {"empty": b"", "cut": content[: len(content) * 2 // 3], "nul": bytes(len(content))}[
            how
        ]
    path.write_bytes(content)


@pytest.mark.parametrize("pointer", ["lost", "empty", "stale", "moved"])
def test_the_newest_checkpoint_counts_whatever_the_pointer_says(photos, two_epochs, whole, pointer):
    work_dir, file = two_epochs, two_epochs / "last_checkpoint"
    assert file.read_text() == "epoch_2.pth"
    if pointer == "lost":
        file.unlink()
    elif pointer == "empty":
        file.write_text("")
    elif pointer == "stale":
        file.write_text("epoch_1.pth")
    else:
        work_dir = two_epochs.rename(two_epochs.with_name("moved"))
    assert "already holds checkpoints" in refused(pretraining(photos, work_dir))
    run = train(pretraining(photos, work_dir), resume="auto")
    assert "resumed epoch: 2, iter: 12" in run.text()
    assert losses(work_dir) == whole


@pytest.mark.parametrize("how", ["empty", "cut", "nul", "noise"])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(photos, two_epochs, whole, how):
    damage(two_epochs / "epoch_2.pth", how)
    run = train(pretraining(photos, two_epochs), resume="auto")
    assert re.search(r"epoch_2.pth' cannot be read.*renamed to epoch_2.pth.damaged", run.text())
    assert "resumed epoch: 1, iter: 6" in run.text()
    assert losses(two_epochs) == whole
    assert checkpoints(two_epochs) == [
        "epoch_1.pth", "epoch_2.pth", "epoch_2.pth.damaged", "epoch_3.pth",
    ]  # fmt: skip


def test_a_run_without_a_whole_checkpoint_does_not_start_over(photos, two_epochs):
    for name in ("epoch_1.pth", "epoch_2.pth"):
        damage(two_epochs / name, "cut")
    before = checkpoints(two_epochs)
    for _ in range(2):  # a job that always passes --resume
        text = refused(pretraining(photos, two_epochs), resume="auto")
        assert re.search(r"no checkpoint of .* is whole: epoch_2.pth, epoch_1.pth", text)
        assert checkpoints(two_epochs) == before


def test_a_file_that_is_named_is_continued_or_refused(photos, two_epochs, tmp_path):
    damage(two_epochs / "epoch_2.pth", "cut")
    text = refused(pretraining(photos, tmp_path / "other"), resume=str(two_epochs / "epoch_2.pth"))
    assert "epoch_2.pth' cannot be read" in text
    torch.save(dict(state_dict={}), tmp_path / "weights.pth")
    text = refused(pretraining(photos, tmp_path / "other"), resume=str(tmp_path / "weights.pth"))
    assert "holds weights, but no state of a run" in text
    train(pretraining(photos, two_epochs), resume=str(two_epochs / "epoch_1.pth"))


OTHERS = {
    "wider": ({"model.backbone.arch.embed_dims": 64}, r"weights differ: .*\(1, 17, 32\) in the file"),
    "narrower": ({"model.backbone.arch.embed_dims": 16}, r"weights differ"),
    "deeper": ({"model.backbone.arch.depth": 3}, r"blocks\.2.* is missing in the file"),
    "shallower": ({"model.backbone.arch.depth": 1}, r"blocks\.1.* missing in the model"),
    "method": ({"model.type": "LSMAE"}, r"it holds the model MAE, and this config a LSMAE"),
    "optimizer": (
        {"optim_wrapper.optimizer": dict(type="SGD", lr=1e-3, _delete_=True)},
        r"it holds moments of AdamW, and this config trains with SGD",
    ),
    "groups": (
        {"optim_wrapper.paramwise_cfg": dict(layer_decay=0.7)},
        r"its optimizer has \d+ groups",
    ),
    "rate": ({"optim_wrapper.optimizer.lr": 2e-3}, r"learning rate of 0\.001.*sets 0\.002"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_before_anything_is_touched(photos, two_epochs, other):
    changes, message = OTHERS[other]
    before = {path: path.read_bytes() for path in two_epochs.glob("*.pth")}
    text = refused(pretraining(photos, two_epochs, **changes), resume="auto")
    assert re.search(message, text)
    assert "--pretrained" in text
    assert {path: path.read_bytes() for path in two_epochs.glob("*.pth")} == before


def test_another_mask_ratio_on_resume_is_said(photos, two_epochs):
    run = train(pretraining(photos, two_epochs, **{"model.mask_ratio": 0.5}), resume="auto")
    said = run.text()
    assert "resumed with another config" in said
    assert re.search(r"- .*mask_ratio=0\.75", said)
    assert re.search(r"\+ .*mask_ratio=0\.5", said)


def test_infinite_moments_are_refused(photos, two_epochs):
    path = two_epochs / "epoch_2.pth"
    content = torch.load(path, weights_only=True)
    content["optimizer"]["state"][3]["exp_avg_sq"][0] = torch.inf
    torch.save(content, path)
    text = refused(pretraining(photos, two_epochs), resume="auto")
    assert re.search(r"the moment exp_avg_sq of \S+ is not finite", text)


def test_what_is_written_passes_weights_only(two_epochs):
    for path in two_epochs.glob("*.pth"):
        content = torch.load(path, weights_only=True)
        assert content["meta"]["model_type"] == "MAE"


def test_one_checkpoint_is_kept_at_every_moment(photos, tmp_path):
    work_dir = tmp_path / "run"
    cfg = pretraining(photos, work_dir, **{"default_hooks.checkpoint.max_keep_ckpts": 1})

    def watch():
        import mmmim.atomic

        real, seen = mmmim.atomic.os.replace, [False]

        def replace(source, target):  # a kill while writing leaves what is there now
            names = [n for n in os.listdir(work_dir) if n.endswith(".pth")]
            assert names or not seen[0]
            real(source, target)
            seen[0] = seen[0] or str(target).endswith(".pth")

        mmmim.atomic.os.replace = replace

    train(cfg, before=watch)
    assert checkpoints(work_dir) == ["epoch_3.pth"]


def test_a_checkpoint_that_cannot_be_read_back_removes_nothing(photos, tmp_path):
    work_dir = tmp_path / "run"
    cfg = pretraining(photos, work_dir, **{"default_hooks.checkpoint.max_keep_ckpts": 1})

    def break_second():
        import mmmim.engine.hooks.checkpoint as module

        real = module.verify_file

        def verify(path):
            if "epoch_2" in str(path):
                damage(work_dir / "epoch_2.pth", "noise")
            real(path)

        module.verify_file = verify

    run = start(cfg, before=break_second)
    assert run.wait() == [1]
    assert "differs from what was written" in run.text() or "cannot be read" in run.text()
    assert (work_dir / "last_checkpoint").read_text() == "epoch_1.pth"
    assert find_newest_whole(work_dir).path == work_dir / "epoch_1.pth"


def test_checkpoints_by_iteration_resume_exactly(photos, tmp_path, whole):
    by_iteration = {
        "default_hooks.checkpoint": dict(
            type="CheckpointHook", by_epoch=False, interval=4, max_keep_ckpts=2, _delete_=True
        )
    }
    cfg = pretraining(photos, tmp_path / "run", **by_iteration)
    run = start(slow(cfg))
    run.wait_for("Epoch(train) [2][4/6]")
    run.signal(signal.SIGKILL)
    run.wait()
    assert checkpoints(tmp_path / "run") == ["iter_4.pth", "iter_8.pth"]
    train(pretraining(photos, tmp_path / "run", **by_iteration), resume="auto")
    assert losses(tmp_path / "run") == whole


def slow(cfg, seconds=0.15):
    cfg.custom_hooks.append(dict(type="mmmim.SlowSteps", seconds=seconds))
    return cfg


def test_accumulated_updates_resume_exactly(photos, tmp_path):
    changes = {"optim_wrapper.accumulative_counts": 2, "train_dataloader.batch_size": 2}
    train(pretraining(photos, tmp_path / "whole", **changes))
    run = start(slow(pretraining(photos, tmp_path / "run", **changes)))
    run.wait_for("Epoch(train) [1][ 5/12]")
    run.signal(signal.SIGTERM)
    assert run.wait() == [75]
    (name,) = checkpoints(tmp_path / "run")
    assert int(re.findall(r"\d+", name)[0]) % 2 == 0
    train(pretraining(photos, tmp_path / "run", **changes), resume="auto")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_second_run_is_refused_while_the_first_lives(photos, tmp_path):
    first = start(slow(pretraining(photos, tmp_path / "run")))
    first.wait_for("Epoch(train) [1][2/6]")
    for resume in (None, "auto"):
        text = refused(pretraining(photos, tmp_path / "run"), resume=resume)
        assert re.search(rf"a run is using .*process {first.pids[0]} on ", text)
    first.signal(signal.SIGKILL)
    first.wait()
    train(pretraining(photos, tmp_path / "run"), resume="auto")


def test_a_full_disk_keeps_the_checkpoints_and_names_the_file(photos, tmp_path):
    work_dir = tmp_path / "run"

    def fill_at_second():
        import errno

        import mmmim.atomic

        real = mmmim.atomic.os.fsync

        def fsync(descriptor):
            if "epoch_2" in os.readlink(f"/proc/self/fd/{descriptor}"):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        mmmim.atomic.os.fsync = fsync

    run = start(pretraining(photos, work_dir), before=fill_at_second)
    assert run.wait() == [1]
    assert re.search(
        r"cannot write '.*epoch_2.pth': No space left on device\. \d+ MB are free", run.text()
    )
    assert checkpoints(work_dir) == ["epoch_1.pth"]
    assert not list(work_dir.glob("*.partial"))


def test_the_best_checkpoint_is_replaced_after_the_new_one_is_written(tmp_path):
    from mmmim.engine.hooks.checkpoint import _RemovesLater

    class Backend:
        def isfile(self, path):
            return True

    later = _RemovesLater(Backend())
    later.remove("best_1.pth")
    assert later.isfile("x")
    assert later.later == ["best_1.pth"]


def test_files_of_other_names_are_left_alone(two_epochs):
    torch.save(dict(state_dict={}), two_epochs / "pretrained_9.pth")
    shutil.copy(two_epochs / "epoch_1.pth", two_epochs / "best_epoch_7.pth")
    torch.save(torch.ones(3), two_epochs / "features.pth")
    assert find_newest_whole(two_epochs).path == two_epochs / "epoch_2.pth"
    (two_epochs / "epoch_1.pth").unlink()
    damage(two_epochs / "epoch_2.pth", "cut")
    with pytest.raises(DamagedCheckpoint, match=r"is whole: epoch_2\.pth\. "):
        find_newest_whole(two_epochs)


def test_an_older_checkpoint_sets_the_newer_ones_aside(photos, two_epochs, whole):
    train(pretraining(photos, two_epochs, epochs=1), resume=str(two_epochs / "epoch_1.pth"))
    assert checkpoints(two_epochs) == ["epoch_1.pth", "epoch_2.pth.abandoned"]
    train(pretraining(photos, two_epochs), resume="auto")
    assert losses(two_epochs) == whole


def test_names_of_ones_own_are_found(photos, tmp_path, whole):
    named = {"default_hooks.checkpoint.filename_tmpl": "m_{}_x.pth"}
    train(pretraining(photos, tmp_path / "run", epochs=2, **named))
    (tmp_path / "run/epoch_9.pth.1a2b3c4d.partial").touch()
    run = train(pretraining(photos, tmp_path / "run", **named), resume="auto")
    assert "resumed epoch: 2, iter: 12" in run.text()
    assert losses(tmp_path / "run") == whole
    assert not list((tmp_path / "run").glob("*.partial"))  # left by a kill


def test_a_signal_does_not_remove_the_regular_checkpoint_of_its_step(photos, tmp_path):
    every_step = dict(type="CheckpointHook", by_epoch=False, interval=1, _delete_=True)
    changes = {"default_hooks.checkpoint": every_step}
    run = start(slow(pretraining(photos, tmp_path / "run", **changes)))
    run.wait_for("Epoch(train) [1][2/6]")
    run.signal(signal.SIGTERM)
    assert run.wait() == [75]
    before = checkpoints(tmp_path / "run")
    train(pretraining(photos, tmp_path / "run", **changes), resume="auto")
    assert set(before) <= set(checkpoints(tmp_path / "run"))


@pytest.mark.slow
def test_sharded_runs_stop_and_resume(photos, tmp_path):
    half = {"train_dataloader.batch_size": 2}
    train(pretraining(photos, tmp_path / "whole", **half), ranks=2, fsdp=True)
    run = start(slow(pretraining(photos, tmp_path / "run", **half)), ranks=2, fsdp=True)
    run.wait_for("Epoch(train) [1][3/6]")
    run.signal(signal.SIGTERM)
    assert run.wait() == [75, 75]
    train(pretraining(photos, tmp_path / "run", **half), ranks=2, fsdp=True, resume="auto")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_disk_that_fails_sets_nothing_aside(two_epochs, monkeypatch):
    import errno

    from mmmim.checkpoints import io

    def fail(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(io, "read_zip", fail)
    with pytest.raises(OSError, match=r"epoch_2\.pth' cannot be read: Input/output error"):
        find_newest_whole(two_epochs)
    assert checkpoints(two_epochs) == ["epoch_1.pth", "epoch_2.pth"]
