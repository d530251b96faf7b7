#!/usr/bin/env bash
# Train under SLURM, one process per GPU.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [flags of tools/train.py]
#
# Environment variables (defaults): GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (8), SRUN_ARGS (none),
# GRACE (120: seconds before the time limit at which a checkpoint is written).
# Without GPUs, set SRUN_ARGS=--gres=none; GPUS is then the number of processes on the CPU.
# A run that was stopped to be continued (exit code 75) is requeued within a batch job (sbatch
# --requeue), and started again by this script otherwise.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 work_dir=$4
here=$(dirname "$0")
gpus=${GPUS:-8} gpus_per_node=${GPUS_PER_NODE:-8}

resume=()
[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && resume=(--resume)

while true; do
    code=0
    # SRUN_ARGS holds several arguments, so it is split at spaces.
    # shellcheck disable=SC2086
    srun --partition="$partition" --job-name="$job_name" \
        --gres="gpu:$gpus_per_node" --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 --signal="USR1@${GRACE:-120}" \
        ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$here/train.py" "$config" \
        --work-dir="$work_dir" --launcher=slurm ${resume[@]+"${resume[@]}"} "${@:5}" || code=$?
    [ "$code" -eq 75 ] || exit "$code"
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        exec scontrol requeue "$SLURM_JOB_ID"
    fi
    resume=(--resume)
done
