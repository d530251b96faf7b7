"""Fine-tuning on ImageNet-1K with ViT-H, 50 epochs, 8 GPUs: the recipe of MAE.

Command:   tools/dist_train.sh configs/classification/vit-h_in1k.py 8 --pretrained CHECKPOINT
Published: from MAE (arXiv 2111.06377), 1600 epochs: top-1 86.9
Ours:      not run
"""

_base_ = "vit-l_in1k.py"

model = dict(
    backbone=dict(arch="huge", patch_size=14, drop_path_rate=0.3),
    neck=dict(channels=1280),
    head=dict(in_channels=1280),
)
