"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377).

ViT-L, ImageNet-1K, 1600 epochs, 8 GPUs.

Command:   tools/dist_train.sh configs/mae/vit-l.py 8
Published: ImageNet top-1 85.952 fine-tuned, 76.0 linear; COCO 55.5 box AP, 49.2 mask AP
           (ViTDet, 100 epochs)
           85.4 fine-tuned, 73.7 linear with --epochs 800 (mmselfsup)
Ours:      not run
"""

_base_ = "vit-b.py"

batch_per_gpu = 256
accumulate = 2  # the batch stays 4096

model = dict(backbone=dict(arch="large"))

train_dataloader = dict(batch_size=batch_per_gpu)
optim_wrapper = dict(accumulative_counts=accumulate)
