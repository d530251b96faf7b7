"""LSMAE: Exploring Long-Sequence Masked Autoencoders (arXiv 2210.07224).

ViT-L, 448 pixels, masks in blocks of 2x2 patches, ImageNet-1K, 1600 epochs, 8 GPUs. The authors also
pretrain on COCO's train2017 and unlabeled2017, repeated five times (long_seq_mae DATA.md).

Command:   tools/dist_train.sh configs/lsmae/vit-l.py 8
Published: none with the code for this configuration, nor with --epochs 800
Ours:      not run
"""

_base_ = "vit-b.py"

model = dict(
    backbone=dict(arch="large"),
    decoder=dict(embed_dims=512, num_heads=16),
)
