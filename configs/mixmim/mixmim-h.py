"""MixMIM (MixMAE): Mixed and Masked Autoencoder for Hierarchical Transformers (arXiv 2205.13137).

MixMIM-H, ImageNet-1K, 600 epochs, 16 GPUs. The official repository defines this size but has no script
for it; this is the recipe of MixMIM-B.

Command:   NNODES=2 NODE_RANK=... MASTER_ADDR=... tools/dist_train.sh configs/mixmim/mixmim-h.py 8
Published: none in the official repository
Ours:      not run
"""

_base_ = "mixmim-b.py"

model = dict(backbone=dict(arch="huge"))
