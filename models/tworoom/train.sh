#!/usr/bin/env bash
# Remakes this checkpoint from nothing: records episodes, trains, and puts the result into OUTPUT (default out/tworoom).
#   models/tworoom/train.sh [OUTPUT]
set -euo pipefail
cd "$(dirname "$0")/../.."
output=${1:-out/tworoom}
orrery=${ORRERY:-build/release/orrery}
mkdir -p "$output"

# 2,000 episodes of the scripted expert with the published noise, about 115,000 frames
if [ ! -f "$output/episodes.h5" ]; then
  "$orrery" record --env tworoom --policy expert --noise 2.0 --episodes 2000 --seed 3072 --image-size 64 \
    --output "$output/episodes.h5"
fi

# an interrupted run goes on where it stopped
"$orrery" train --data "$output/episodes.h5" --config models/tworoom/training_config.json --output "$output/run" --resume

# judged on episodes recorded with seeds that training never saw
for seed in 42 43 44; do
  "$orrery" eval --env tworoom --model "$output/run" --episodes 50 --seed "$seed"
done
