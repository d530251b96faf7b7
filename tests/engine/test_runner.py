from argparse import Namespace

import pytest
from torch import nn

from mmmim.engine import runner
from mmmim.registry import MODELS
from tests.engine.configs import TINY_VIT, config


def test_an_unknown_type_is_answered_with_what_there_is(tmp_path):
    cfg = config(model=dict(type="PixMiM"), work_dir=str(tmp_path), default_scope="mmmim")
    for key in ("train_dataloader", "optim_wrapper", "train_cfg"):
        cfg.pop(key)
    cfg.launcher = "none"
    with pytest.raises(KeyError, match=r"PixMiM is not in.*has .*'MAE'.*did you mean PixMIM\?"):
        runner.build_runner(cfg)


def test_of_a_method_all_is_compiled_and_of_a_detector_the_backbone():
    method = MODELS.build(dict(type="MAE", backbone=dict(type="ViT", **TINY_VIT)))
    runner.compile_model(Namespace(model=method))
    names = list(method.state_dict())
    assert method._compiled_call_impl is not None
    assert not any("_orig_mod" in name for name in names)
    detector = nn.Module()
    detector.backbone, detector.neck = MODELS.build(dict(type="ViT", **TINY_VIT)), nn.Identity()
    runner.compile_model(Namespace(model=detector))
    assert detector.backbone._compiled_call_impl is not None
    assert detector._compiled_call_impl is None
