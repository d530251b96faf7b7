"""MaskAlign: Stare at What You See (arXiv 2211.08887).

ViT-L with the teacher CLIP ViT-B/16, ImageNet-1K, 200 epochs, 8 GPUs. The fusion is "sum": the
official "linear" requires a student as deep as the teacher (24 and 12 layers here).

Teacher:   openai/clip-vit-base-patch16 in checkpoints/clip-vit-base-patch16.pth (docs/maskalign.md)
           --teacher clip-l: CLIP ViT-L/14 at 196 pixels, fusion "linear",
           openai/clip-vit-large-patch14 in checkpoints/clip-vit-large-patch14.pth
Command:   tools/dist_train.sh configs/maskalign/vit-l.py 8
Published: ImageNet top-1 86.5 fine-tuned (the authors)
           87.4 fine-tuned with --teacher clip-l (the authors)
Ours:      not run
"""

_base_ = "vit-b.py"

model = dict(
    backbone=dict(arch="large", drop_path_rate=0.2),
    alignment=dict(fusion="sum"),
)
