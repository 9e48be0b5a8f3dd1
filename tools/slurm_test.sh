#!/usr/bin/env bash
# Tests on a Slurm cluster, one task per GPU:
# tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
#
# GPUS is the total, GPUS_PER_NODE how many of them a machine has (0: CPU tasks), CPUS_PER_TASK the
# cores of each task; SRUN_ARGS are further options of srun.
set -euo pipefail

if (($# < 4)); then
    echo "usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=... PYTHON=python] \\" >&2
    echo "       $0 PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
checkpoint=$4

gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
options=(
    --partition="$partition"
    --job-name="$job_name"
    --ntasks="$gpus"
    --cpus-per-task="${CPUS_PER_TASK:-5}"
    --kill-on-bad-exit=1
)
if ((gpus_per_node > 0)); then
    options+=(--gres="gpu:$gpus_per_node" --ntasks-per-node="$gpus_per_node")
fi
# Split into words on purpose: SRUN_ARGS holds several options.
# shellcheck disable=SC2206
options+=(${SRUN_ARGS:-})

exec srun "${options[@]}" "${PYTHON:-python}" -u "$(dirname "${BASH_SOURCE[0]}")/test.py" \
    "$config" "$checkpoint" --launcher slurm "${@:5}"
