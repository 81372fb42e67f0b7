#!/usr/bin/env bash
# windows.sh ORRERY FOLDER THREADS [PYTHON PEERS]: records PushT with 224 x 224 frames in the published
# layout (chunks of 100 frames, Blosc LZ4), then reads windows of it as training does: frameskip 5, four
# frames, batches of 64, from the page cache. With an interpreter and the folder of peers the official
# reader does the same between two rounds of ours, shuffled, with as many workers. The same episodes recorded
# without pictures are then drawn as they are read, at 224 and at 96 pixels. Prints a table.
set -euo pipefail
orrery=$1 folder=$2 threads=$3 python=${4:-} peers=${5:-}
file=$folder/windows.h5
mkdir -p "$folder"

# field NAME: a number of the JSON object on standard input
field() { sed -n "s/.*\"$1\": *\([0-9.e+]*\).*/\1/p" | head -n 1; }

recorded=$("$orrery" record --env pusht --policy weak --episodes 150 --seed 1 --threads "$threads" \
  --output "$file" --json)

# ours ORDER BATCHES: windows a second
ours() { "$orrery" data read "$file" --order "$1" --threads "$threads" --batches "$2" --json | field windows_per_s; }
# better A B: the larger one; a neighbour on the machine only slows down
better() { awk -v a="$1" -v b="$2" 'BEGIN { print (a + 0 > b + 0) ? a : b }'; }

# an epoch of 12,300 windows has 192 batches
chunks=$(ours by-chunk 760) random=$(ours shuffled 190)
official=
if [[ -n $python ]]; then
  said=$("$python" "$peers/bench_data.py" "$file" --workers "$threads" --batches 12)
  official=$(sed -n 's/.*, \([0-9]*\) windows\/s.*/\1/p' <<< "$said")
fi
chunks=$(better "$chunks" "$(ours by-chunk 760)")
random=$(better "$random" "$(ours shuffled 190)")

# the same states, whose pictures are made anew for every window
states=$folder/states.h5
packed=$("$orrery" record --env pusht --policy weak --episodes 150 --seed 1 --threads "$threads" \
  --compact --output "$states" --json)
# drawn SIDE: windows a second
drawn() {
  "$orrery" data read "$states" --image-size "$1" --order shuffled --threads "$threads" --batches 190 --json |
    field windows_per_s
}
drawn_224=$(drawn 224) drawn_96=$(drawn 96)
drawn_224=$(better "$drawn_224" "$(drawn 224)")
drawn_96=$(better "$drawn_96" "$(drawn 96)")

row() { printf '%-44s %12.0f%s\n' "$1" "$2" "${3:-}"; }
ratio() { [[ -z $official ]] || awk -v a="$1" -v b="$official" 'BEGIN { printf "   %.0f x", a / b }'; }
echo "PushT, 224 x 224, Blosc LZ4, $threads threads; frameskip 5, 4 frames a window"
row "recording, rows/s" "$(field rows_per_s <<< "$recorded")"
row "bytes a row" "$(field bytes_per_row <<< "$recorded")"
row "by chunk, windows/s" "$chunks" "$(ratio "$chunks")"
row "shuffled, windows/s" "$random" "$(ratio "$random")"
if [[ -n $official ]]; then row "official reader, shuffled, windows/s" "$official"; fi
row "states alone, bytes a row" "$(field bytes_per_row <<< "$packed")"
row "drawn, shuffled, windows/s" "$drawn_224" "$(ratio "$drawn_224")"
row "drawn at 96 x 96, windows/s" "$drawn_96"
rm -f "$file" "$states"
