"""PixMIM (arXiv 2303.02416) over LSMAE, in the size of a laptop, on the embedded scenes.

LSMAE's recipe (lsmae_vit_scenes.py) with PixMIM's target and crop, and nothing else changed.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/pixmim_lsmae_scenes.py
Published: none, the recipe is ours
Ours:      docs/results.md
"""

_base_ = "lsmae_vit_scenes.py"

model = dict(_delete_=True, type="PixMIM", host={{_base_.model}})
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="SimpleResizedCrop", size={{_base_.image_size}}),
            dict(type="torchvision/RandomHorizontalFlip"),
        ]
    )
)
