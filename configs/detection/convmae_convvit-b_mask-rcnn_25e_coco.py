"""Deprecated name: use `tools/dist_train.sh configs/detection/convvit-b_mask-rcnn_coco.py 8`."""

_base_ = "convvit-b_mask-rcnn_coco.py"
