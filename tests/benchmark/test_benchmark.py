"""The counts and ratios of timing and plan, and the parts of `mmmim benchmark`."""

import argparse
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from mmmim.benchmark import plan, timing

ROOT = Path(__file__).parents[2]


def test_operations_and_kept_bytes_are_those_of_a_linear_map():
    linear, x = nn.Linear(8, 16, bias=False), torch.randn(4, 8)
    product = 2 * 4 * 8 * 16
    assert timing.count_flops(lambda: linear(x)) == product
    assert timing.count_flops(lambda: linear(x).sum().backward()) == 2 * product  # x needs no gradient
    assert timing.held_mib(lambda: linear(x)) * 2**20 == x.nbytes


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_convolution_costs_twice_its_forward_pass_backward(kind, groups):
    conv = kind(4, 8, kernel_size=3, padding=1, groups=groups)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    forward = 2 * (2 * 8 * 6 * 6) * (4 // groups * 9)
    assert timing.count_flops(lambda: conv(x)) == forward
    assert timing.count_flops(lambda: conv(x).sum().backward()) == 3 * forward


def test_attention_is_counted_on_a_cpu_too():
    q = torch.randn(1, 2, 10, 4)
    attend = nn.functional.scaled_dot_product_attention
    assert timing.count_flops(lambda: attend(q, q, q)) == 2 * (2 * 2 * 10 * 10 * 4)


def test_all_take_turns_and_the_first_is_compared_with():
    order = []
    works = [timing.Work(name, lambda name=name: order.append(name), 2) for name in "ab"]
    timings = timing.measure(works, repeats=3, device="cpu")
    assert order == ["a", "b"] * (timing.WARM_UP + 3)
    timings[0].seconds, timings[1].seconds = [1.0, 2.0, 4.0], [2.0, 2.0, 4.0]
    timings[0].flops = timings[1].flops = 1e9
    rows = timing.table(timings, peak=(1e9, "it")).splitlines()
    assert rows[2] == "| a | 2000.0 ms (1000.0 to 4000.0) | 1.0 | 1.00 | 50% |"
    assert rows[3].split("|")[4].strip() == "1.00"  # median of the rounds' ratios 2, 1 and 1


def benchmark(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "tools/benchmark.py"), run_name="__main__")


def test_a_step_is_written_down(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for i in range(4):
        Image.new("RGB", (96, 96), (60 * i, 0, 0)).save(tmp_path / f"photos/{i}.jpg")
    step = ["step", ROOT / "configs/tiny/pixmim_vit_scenes.py", "--batch", 2, "--repeats", 1]
    fed = ["--images", tmp_path / "photos", "--workers", 1]
    benchmark(monkeypatch, *step, *fed, "--out", tmp_path / "step")
    assert "share of peak" in capsys.readouterr().out
    ours, filter_, fed = json.loads((tmp_path / "step.json").read_text())["timings"]
    assert (ours["name"], filter_["name"]) == ("ours", "filter of ours")
    assert fed["name"] == "ours, from photos, 1 workers"
    assert ours["flops"] > 1e8
    assert ours["waiting"] is None
    assert 0 < fed["waiting"] < 1
    assert (tmp_path / "step.md").read_text().count("\n| ") == 5


def test_a_loader_reads_as_many_files_as_asked_for(tmp_path, monkeypatch, capsys):
    for i in range(4):
        Image.effect_noise((900, 800), 60 * i).convert("RGB").save(tmp_path / f"{i}.jpg")
    options = ["--limit", 3, "--repeats", 1, "--against", "mmpretrain", "--out", tmp_path / "out/v1.5"]
    benchmark(monkeypatch, "loader", tmp_path, *options)
    timings = json.loads((tmp_path / "out/v1.5.json").read_text())["timings"]
    assert len(timings) == 5
    assert {t["images"] for t in timings} == {3}
    difference = re.search(r"0 to 255: ([\d.]+) over all images", capsys.readouterr().out)
    assert 0 < float(difference[1]) < 5


def test_curves_are_drawn_without_what_a_method_refuses(tmp_path, monkeypatch, capsys):
    names = ("mae_vit", "mixmim", "convmae_convvit", "maskalign_vit")
    files = [ROOT / f"configs/tiny/{name}_scenes.py" for name in names]
    # At 120 pixels the second stage has 20 tokens, which MixMIM's windows of 8 do not divide.
    sizes = ["--sizes", 96, 120, "--batches", 1, 2, "--repeats", 1]
    benchmark(monkeypatch, "curves", *files, *sizes, "--out", tmp_path / "curves")
    assert "skipped tiny mixmim_scenes at 120 pixels" in capsys.readouterr().out
    content = json.loads((tmp_path / "curves.json").read_text())
    assert [(p["size"], len(p["timings"])) for p in content["by_size"]] == [(96, 8), (120, 6)]
    assert [(p["batch"], len(p["timings"])) for p in content["by_batch"]] == [(1, 8), (2, 8)]
    for point in content["by_size"] + content["by_batch"]:
        assert {t["images"] for t in point["timings"].values()} == {point["batch"]}
    assert Image.open(tmp_path / "curves.png").width > 1000


@pytest.mark.parametrize(("gpus", "rate"), [(8, 450), (64, 50)])
def test_a_plan_divides_the_batch_and_counts_the_ring(gpus, rate):
    cost = plan.Cost(images=1024, flops=1e11, weights=100_000_000, kept=1e8)
    options = dict(peak=1000, share=0.5, memory=141, link=450, network=50, loader=500)
    row = plan.plan(cost, gpus, argparse.Namespace(**options))
    compute = 1024 / gpus * 1e11 / 5e14
    transfer = 2 * (gpus - 1) / gpus * 4e8 / (rate * 1e9)
    assert row[1] == f"{1024 // gpus}"
    assert row[3] == f"{compute / max(compute, compute / 3 + transfer):.0%}"
    assert row[6].endswith(f"{1e3 * transfer:.0f} ms")
