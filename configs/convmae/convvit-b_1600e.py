"""Deprecated name: use `tools/dist_train.sh configs/convmae/convvit-b.py 8`."""

_base_ = "convvit-b.py"
