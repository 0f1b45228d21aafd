#!/usr/bin/env bash
# Train a config on SLURM, in as many jobs as it needs: sbatch [options of sbatch] tools/slurm.sh CONFIG [options of tools/train.py]
# A run whose time limit is near saves, exits with 85 and is queued again; it resumes exactly (docs/howto/distributed_training.md).
#SBATCH --job-name=poseplug
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000)) PYTHON=${PYTHON:-python}
code=0
srun --kill-on-bad-exit=1 bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  export LOCAL_WORLD_SIZE=${SLURM_NTASKS_PER_NODE:-1}
  exec "$PYTHON" tools/train.py "$@" --auto-resume' train "$@" || code=$?
# 85: saved, to be resumed; 138: the signal came before training had begun
if [ "$code" = 85 ] || [ "$code" = 138 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
