#!/usr/bin/env bash
# Train with several processes, on this machine or on NNODES machines.
#
#   tools/dist_train.sh CONFIG GPUS [flags of tools/train.py]
#
# Environment variables (defaults): NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500).
# Without GPUs, GPUS is the number of processes on the CPU (gloo).
# SIGTERM, SIGINT, SIGUSR1 or SIGHUP: a checkpoint is written, and the exit code is 75, to be continued
# with --resume.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
config=$1 gpus=$2
here=$(dirname "$0")

exec "${PYTHON:-python}" "$here/launch.py" \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$here/train.py" "$config" --launcher pytorch "${@:3}"
