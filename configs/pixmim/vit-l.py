"""PixMIM: Rethinking Pixel Reconstruction in Masked Image Modeling (arXiv 2303.02416), with MAE.

ViT-L, ImageNet-1K, 800 epochs, 8 GPUs. PixMIM's recipe; the size is ours.

Command:   tools/dist_train.sh configs/pixmim/vit-l.py 8
Published: none
Ours:      not run
"""

_base_ = "vit-b.py"

batch_per_gpu = 256
accumulate = 2  # the batch stays 4096

model = dict(method=dict(backbone=dict(arch="large")))

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(accumulative_counts=accumulate)
