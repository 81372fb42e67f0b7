#!/usr/bin/env bash
# Remakes this checkpoint from human demonstrations: records, trains, evaluates.
#   models/pusht/train.sh DEMONSTRATIONS [OUTPUT]
# DEMONSTRATIONS is the folder with pusht_cchi_v7_replay.zarr and pusht_keypoint_x356_y356.zarr; OUTPUT is out/pusht.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 DEMONSTRATIONS [OUTPUT]" >&2; exit 2; }
demonstrations=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
output=${2:-out/pusht}
orrery=${ORRERY:-build/release/orrery}
mkdir -p "$output"

# every seventh demonstration, 51 of 357, is kept from training; a recording appears under its name when it is whole
replay=(--env pusht --image-size 96 --policy replay
  --demonstrations "$demonstrations/pusht_cchi_v7_replay.zarr"
  --demonstrations "$demonstrations/pusht_keypoint_x356_y356.zarr")
[ -f "$output/train.h5" ] ||
  "$orrery" record "${replay[@]}" --without-fold 6/7 --episodes 2500 --seed 3072 --output "$output/train.h5"
[ -f "$output/held_out.h5" ] ||
  "$orrery" record "${replay[@]}" --fold 6/7 --episodes 100 --seed 42 --compact --output "$output/held_out.h5"

# the encoder, with a predictor that makes it see what moves; an interrupted run goes on where it stopped
"$orrery" train --data "$output/train.h5" --config models/pusht/training_config.json --output "$output/encoder" \
  --page "$output/curves.html" --resume
# another predictor for that encoder, which now is at rest
"$orrery" train --data "$output/train.h5" --config models/pusht/dynamics_config.json --init-encoder "$output/encoder" \
  --output "$output/run" --page "$output/dynamics.html" --resume
# the published protocol and criterion, then the stricter one
for criterion in published held; do
  "$orrery" eval --env pusht --data "$output/held_out.h5" --model "$output/run" --seeds 42..44 --criterion $criterion
done
