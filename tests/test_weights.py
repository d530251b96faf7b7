"""The shipped weights: those that the demo continues from, and a teacher."""

from pathlib import Path

import numpy as np
import torch
from mmengine import Config

import mmmim
from mmmim.checkpoints import convert, read_checkpoint
from mmmim.data.synthetic import draw_scene
from mmmim.registry import MODELS

FOLDER = Path(mmmim.__file__).parent / "weights"
WEIGHTS = FOLDER / "pixmim_vit_scenes.pth"
TINY = Path(__file__).parents[1] / "configs/tiny"
CONFIG = TINY / "pixmim_vit_scenes.py"


def test_shipped_weights_are_small_fit_and_reconstruct():
    assert WEIGHTS.stat().st_size < 8e6
    method = MODELS.build(Config.fromfile(CONFIG).model)
    scenes = [draw_scene(np.random.default_rng(1000 + i), 96).image for i in range(8)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in scenes])
    inputs = method.data_preprocessor(dict(inputs=images))["inputs"]
    losses = []
    for trained in (False, True):
        if trained:
            state, left_out = convert(read_checkpoint(WEIGHTS))
            assert not left_out
            method.load_state_dict(state)
        torch.manual_seed(0)
        losses.append(method(inputs)["loss"].item())
    assert losses[1] < 0.5 * losses[0]


def test_the_shipped_teacher_fits_and_attends_to_objects():
    config = Config.fromfile(TINY / "maskalign_vit_scenes.py").model
    config.teacher.checkpoint = str(FOLDER / "teacher_scenes.pth")
    method = MODELS.build(config)
    scenes = [draw_scene(np.random.default_rng(1000 + i), 96) for i in range(16)]
    images = torch.stack([torch.from_numpy(scene.image).permute(2, 0, 1) for scene in scenes])
    inputs = method.data_preprocessor(dict(inputs=images))["inputs"]
    importance = method.teacher(inputs).importance()
    objects = torch.stack([torch.from_numpy(scene.semantic() > 1).float() for scene in scenes])
    share = torch.nn.functional.avg_pool2d(objects[:, None], 8).flatten(1)
    on_objects = (importance * share).sum() / share.sum()
    beside = (importance * (1 - share)).sum() / (1 - share).sum()
    assert on_objects > 1.5 * beside
