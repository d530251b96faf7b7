"""MixMIM (MixMAE): Mixed and Masked Autoencoder for Hierarchical Transformers (arXiv 2205.13137).

MixMIM-L (197M parameters), ImageNet-1K, 600 epochs, 16 GPUs. The official repository has a script for
MixMIM-B only; this is the same recipe.

Command:   NNODES=2 NODE_RANK=... MASTER_ADDR=... tools/dist_train.sh configs/mixmim/mixmim-l.py 8
Published: ImageNet top-1 85.9 fine-tuned (86.9 at 384 pixels)
Ours:      not run
"""

_base_ = "mixmim-b.py"

model = dict(backbone=dict(arch="large"))
