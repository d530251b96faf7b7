"""MaskAlign: Stare at What You See (arXiv 2211.08887).

ConvViT-B with the teacher CLIP ViT-B/16, ImageNet-1K, 200 epochs, 8 GPUs. The hierarchical student is
ours (not in the paper): the blocks of its third stage are aligned, with the recipe of the ViT.

Teacher:   openai/clip-vit-base-patch16 in checkpoints/clip-vit-base-patch16.pth (docs/maskalign.md)
Command:   tools/dist_train.sh configs/maskalign/convvit-b.py 8
Published: none, the student is ours
Ours:      not run
"""

_base_ = "vit-b.py"

model = dict(
    backbone=dict(_delete_=True, type="ConvViT", arch="base", img_size=224, drop_path_rate=0.1),
)
