"""ConvMAE: Masked Convolution Meets Masked Autoencoders (arXiv 2205.03892).

ConvViT-L (the size of MCG-NJU/MixFormer's weights), ImageNet-1K, 800 epochs, 8 GPUs. The authors give
no recipe for this size; this is the recipe of ConvViT-B.

Command:   tools/dist_train.sh configs/convmae/convvit-l.py 8
Published: none
Ours:      not run
"""

_base_ = "convvit-b.py"

epochs = 800

model = dict(backbone=dict(arch="large"))

train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=epochs, T_max=epochs - _base_.warmup_epochs),
]
