from argparse import Namespace

import pytest
import torch
from mmengine import Config
from torch import nn

from mmmim.engine import RunOptions, steps, weights
from mmmim.registry import MODELS
from tests.engine.configs import TINY_VIT, config, detector


def test_results_are_not_written_over(tmp_path):
    cfg = config(work_dir=str(tmp_path))
    weights.set_resume(cfg, None)  # an empty work dir is fine
    cfg.load_from = "weights.pth"
    weights.set_resume(cfg, "auto")  # there is nothing to resume
    assert cfg.load_from == "weights.pth"
    assert not cfg.get("resume")
    torch.save(dict(state_dict={}, meta=dict(iter=3, epoch=1)), tmp_path / "epoch_1.pth")
    with pytest.raises(FileExistsError, match=r"--resume.*another --work-dir"):
        weights.set_resume(cfg, None)
    weights.set_resume(cfg, "auto")
    assert cfg.resume
    assert cfg.load_from == str(tmp_path / "epoch_1.pth")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        weights.set_resume(cfg, "nowhere.pth")


def test_pretrained_reaches_the_backbone_also_of_a_host(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(FileNotFoundError, match=r"weights\.pth"):
        weights.set_pretrained(config(), str(path))
    path.touch()
    cfg = config(model=dict(type="PixMIM", method=dict(type="MAE", backbone=dict(type="ViT"))))
    weights.set_pretrained(cfg, str(path))
    assert cfg.model.method.backbone.init_cfg.checkpoint == str(path)
    with pytest.raises(ValueError, match="--pretrained needs a model with a `backbone`"):
        weights.set_pretrained(config(model=dict(type="Other")), str(path))


def test_an_encoder_is_not_taken_for_a_detector(tmp_path):
    detector = nn.Module()
    detector.backbone = MODELS.build(dict(type="ViT", **TINY_VIT))
    run = Namespace(model=detector, cfg=Config(dict(default_scope="mmdet")))
    for prefix in ("", "backbone."):
        path = tmp_path / f"{prefix}weights.pth"
        torch.save({prefix + k: v for k, v in detector.backbone.state_dict().items()}, path)
        run.cfg.load_from = str(path)
        if prefix:
            weights.load_method(run)
        else:
            with pytest.raises(ValueError, match=r"from scratch: .* --pretrained"):
                weights.load_method(run)


@pytest.fixture
def wide_table(tmp_path):
    """Checkpoint of a ViT whose position table has 8 x 8 patches."""
    tiny = dict(embed_dims=16, depth=1, num_heads=2)
    vit = MODELS.build(dict(type="ViT", arch=tiny, img_size=128))
    path = tmp_path / "epoch_3.pth"
    torch.save({"state_dict": {f"backbone.{n}": v for n, v in vit.state_dict().items()}}, path)
    return path


def test_a_vit_without_image_size_takes_that_of_the_weights_to_come(wide_table):
    cfg = detector(dict(type="mmmim.ViT"))
    weights.set_pretrained(cfg, str(wide_table))
    tested = detector(dict(type="mmmim.ViT", init_cfg=dict(checkpoint="gone.pth")))
    weights.prepare_test(tested, str(wide_table))
    assert tested.model.backbone == dict(type="mmmim.ViT", img_size=128)
    resumed = detector(dict(type="mmmim.ViT"), resume=True, load_from=str(wide_table))
    for source in (cfg, resumed):
        steps.take_image_size(source, RunOptions())
        assert source.model.backbone.img_size == 128
    listed = detector(dict(type="mmmim.ViT", init_cfg=[dict(type="Xavier", layer="Linear")]))
    steps.take_image_size(listed, RunOptions())
    assert "img_size" not in listed.model.backbone


def test_a_model_without_a_backbone_trains_and_refuses_pretrained(wide_table, tmp_path):
    cfg = config(model=dict(type="mmdet.SemiBaseDetector", detector=dict(type="X")))
    cfg.work_dir = str(tmp_path)
    steps.take_image_size(cfg, RunOptions())
    weights.prepare_test(cfg, str(wide_table))
    assert cfg.model == dict(type="mmdet.SemiBaseDetector", detector=dict(type="X"))
    with pytest.raises(ValueError, match=r"--pretrained needs .*'detector'.*init_cfg"):
        weights.set_pretrained(cfg, str(wide_table))


def test_an_image_size_that_is_named_stays(wide_table):
    for backbone in (dict(type="mmmim.ViT", img_size=64), dict(type="mmmim.ConvViT")):
        cfg = detector(dict(backbone))
        weights.take_image_size(cfg, str(wide_table))
        assert cfg.model.backbone == backbone
    pretraining = config(model=dict(type="MAE", backbone=dict(type="ViT")), default_scope="mmmim")
    weights.take_image_size(pretraining, str(wide_table))
    assert "img_size" not in pretraining.model.backbone
