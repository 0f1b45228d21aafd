#!/usr/bin/env bash
# Train, test and draw a small convolutional pose machine in about five minutes on two cores.
#   bash demo/quickstart.sh               fine-tunes the installed model on the embedded data set, made on the spot
#   bash demo/quickstart.sh PATH_TO_LSP   trains from scratch on Leeds Sports Pose (the folder with joints.mat)
set -euo pipefail
data=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."
. demo/environment.sh
environment core
exec "$PYTHON" demo/quickstart.py ${data:+"$data"}
