#!/usr/bin/env bash
# training.sh ORRERY THREADS [PYTHON PEERS]: a training step of the published model on 8 windows, in f32 and
# bf16, with the most memory of a process that does nothing else. With an interpreter and the folder of
# peers PyTorch takes the same step (bf16: autocast) between two rounds of ours. Prints a table.
set -euo pipefail
orrery=$1 threads=$2 python=${3:-} peers=${4:-}
here=$(dirname "$0")

# field NAME: a number of the JSON object on standard input
field() { sed -n "s/.*\"$1\": *\([0-9.e+]*\).*/\1/p" | head -n 1; }
lower() { awk -v a="$1" -v b="$2" 'BEGIN { print (a + 0 < b + 0) ? a : b }'; }
ours() { "$orrery" bench "$1" --threads "$threads" --runs 3 --json; }

printf '%-28s %10s %10s %8s %12s %12s\n' step ours peer ratio memory "of the peer"
for precision in f32 bf16; do
  figure=train_step/8
  [[ $precision == f32 ]] || figure=train_step/bf16/8
  said=$(ours "$figure")
  time=$(field median <<< "$said") memory=$(field peak_memory_mb <<< "$said")
  peer='' peer_memory='' ratio=''
  if [[ -n $python ]]; then
    other=$("$python" "$here/torch_training.py" "$peers" --precision "$precision" --threads "$threads" 2> /dev/null)
    peer=$(field median_ms <<< "$other") peer_memory=$(field peak_mb <<< "$other")
    time=$(lower "$time" "$(ours "$figure" | field median)")
    ratio=$(awk -v a="$peer" -v b="$time" 'BEGIN { printf "%.2f", a / b }')
  fi
  printf '%-28s %7.0f ms %7s ms %8s %9.0f MB %9s MB\n' "$figure" "$time" "${peer%.*}" "$ratio" "$memory" "$peer_memory"
done
