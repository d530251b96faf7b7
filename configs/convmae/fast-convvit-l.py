"""FastConvMAE (Alpha-VL/FastConvMAE): ConvMAE (arXiv 2205.03892) with four complementary masks.

ConvViT-L, ImageNet-1K, 200 epochs, 8 GPUs. The recipe of ConvViT-B.

Command:   tools/dist_train.sh configs/convmae/fast-convvit-l.py 8
Published: none for pixels (with another target: 86.7 fine-tuned, 54.5 mIoU)
Ours:      not run
"""

_base_ = "fast-convvit-b.py"

epochs = 200

model = dict(backbone=dict(arch="large"))

train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=epochs, T_max=epochs - _base_.warmup_epochs),
]
