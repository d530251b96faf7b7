"""LSMAE (arXiv 2210.07224) on the embedded scenes, laptop size.

MAE's recipe with LSMAE's masks (blocks of 2x2 patches), at the 96 pixels of the scenes.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/lsmae_vit_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = "mae_vit_scenes.py"

model = dict(type="LSMAE", mask_block=2)
