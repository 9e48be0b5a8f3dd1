#!/usr/bin/env bash
# Tests with several processes:
# tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
#
# One process per GPU, or per group of CPU cores where there is no GPU. Over several machines, run it
# on each with NNODES, NODE_RANK and MASTER_ADDR set.
set -euo pipefail

if (($# < 3)); then
    echo "usage: [NNODES=n NODE_RANK=i MASTER_ADDR=host PORT=p PYTHON=python] \\" >&2
    echo "       $0 CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]" >&2
    exit 2
fi
config=$1
checkpoint=$2
processes=$3

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --nproc-per-node="$processes" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    "$(dirname "${BASH_SOURCE[0]}")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
