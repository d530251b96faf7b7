"""PixMIM (arXiv 2303.02416) with MAE on the embedded scenes, laptop size.

The recipe of mae_vit_scenes.py with PixMIM's target and crop; nothing else changes.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/pixmim_vit_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = "mae_vit_scenes.py"

model = dict(_delete_=True, type="PixMIM", method={{_base_.model}})
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="SimpleResizedCrop", size={{_base_.image_size}}),
            dict(type="torchvision/RandomHorizontalFlip"),
        ]
    )
)
