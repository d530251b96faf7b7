"""FastConvMAE (Alpha-VL/FastConvMAE) on the embedded scenes, laptop size.

Data:      python tools/make_scenes.py data/scenes
Command:   python tools/train.py configs/tiny/fastconvmae_convvit_scenes.py
Published: none, the recipe is ours
Ours:      not run
"""

_base_ = "convmae_convvit_scenes.py"

epochs = 25  # each shows every image under four masks
warmup_epochs = 2

model = dict(type="FastConvMAE")

param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, end=warmup_epochs, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        begin=warmup_epochs,
        end=epochs,
        T_max=epochs - warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=epochs)
