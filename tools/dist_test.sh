#!/usr/bin/env bash
# Evaluate with several processes, on this machine or on NNODES machines.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [flags of tools/test.py]
#
# Environment variables (defaults): NNODES (1), NODE_RANK (0), MASTER_ADDR (127.0.0.1), PORT (29500).
# Without GPUs, GPUS is the number of processes on the CPU (gloo).
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
here=$(dirname "$0")

exec "${PYTHON:-python}" "$here/launch.py" \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$here/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
