"""Deprecated name: use `tools/dist_train.sh configs/detection/vit-b_mask-rcnn_coco.py 8`."""

_base_ = "vit-b_mask-rcnn_coco.py"
