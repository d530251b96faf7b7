"""The weights that the demo continues from."""

from pathlib import Path

import numpy as np
import torch
from mmengine import Config

import mmmim
from mmmim.checkpoints import read_checkpoint, to_mmmim
from mmmim.data.scenes import draw_scene
from mmmim.registry import MODELS

WEIGHTS = Path(mmmim.__file__).parent / "weights/pixmim_vit_scenes.pth"
CONFIG = Path(__file__).parents[1] / "configs/tiny/pixmim_vit_scenes.py"


def test_shipped_weights_are_small_fit_and_reconstruct():
    assert WEIGHTS.stat().st_size < 8e6
    method = MODELS.build(Config.fromfile(CONFIG).model)
    scenes = [draw_scene(np.random.default_rng(1000 + i), 96).image for i in range(8)]
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in scenes])
    inputs = method.data_preprocessor(dict(inputs=images))["inputs"]
    losses = []
    for trained in (False, True):
        if trained:
            state, left_out = to_mmmim(read_checkpoint(WEIGHTS))
            assert not left_out
            method.load_state_dict(state)
        torch.manual_seed(0)
        losses.append(method(inputs)["loss"].item())
    assert losses[1] < 0.5 * losses[0]
