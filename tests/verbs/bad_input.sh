#!/bin/sh
# bad_input.sh ORRERY MODEL: verbs on files and values that are no good. Each must end with code 1 and one sentence
# that has the given words, and leave no temporary file.
orrery=$1
model=$2
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failures=0

fail() {
  failures=$((failures + 1))
  echo "FAILED $1"
}

# refused WORDS ARGUMENT...
refused() {
  words=$1
  shift
  "$orrery" "$@" > out 2> err
  code=$?
  grep '^orrery: ' err > sentence
  if [ $code -ne 1 ]; then
    fail "$* ended with code $code"
  elif [ "$(wc -l < sentence)" -ne 1 ] || ! grep -q -e "$words" sentence; then
    fail "$* said: $(cat err), without: $words"
  else
    echo "ok     $*: $(cut -c 1-200 sentence)"
  fi
  left=$(find . -name '*.tmp')
  [ -z "$left" ] || fail "$* left $left"
}

# done_by ARGUMENT...
done_by() {
  "$orrery" "$@" > out 2>&1 || fail "$* said: $(tail -n 1 out)"
}

done_by record --env pusht --policy weak --no-pixels --compact --episodes 4 --max-steps 40 --output drawn.h5
head -c 3000 drawn.h5 > cut.h5
: > empty
echo '{"a": 1}' > other.json
mkdir folder
train="train --config $model/training_config.json --steps 2 --set batch=4 --set validation_every=0 --threads 1"

for file in cut.h5 empty other.json folder nowhere; do
  refused "cannot read $file" probe --model "$model" --data $file
  refused "cannot read $file" distance --model "$model" --data $file
  refused "cannot read $file" $train --data $file --output run
  refused "cannot read $file" record --env pusht --policy replay --compact --demonstrations $file --output a.h5
done
for file in cut.h5 empty other.json; do
  refused "config.json does not exist" convert --model $file --output a.pt
  refused "no line with a number" curves $file --output a.html
  refused "$file is neither" $train --data drawn.h5 --output run_init --init $file
done
refused 'there is no preset ""' train --data drawn.h5 --preset '' --steps 1 --set batch=2 --output run
refused 'foo is not a setting' $train --data drawn.h5 --set foo=1 --output run
refused 'asked of number, an object was needed' $train --data drawn.h5 --set lr.x=1 --output run
refused 'model has no hiden_size' $train --data drawn.h5 --set model.encoder.hiden_size=8 --output run
refused 'the configuration has no model' train --data drawn.h5 --set model.encoder.hidden_size=8 --output run
refused 'lr is "nan"' $train --data drawn.h5 --set lr=nan --output run
refused 'batch is 1000000000000' $train --data drawn.h5 --set batch=1000000000000 --output run
refused 'drawn.h5: it is a file\|drawn.h5: Not a directory' $train --data drawn.h5 --output drawn.h5
for fold in '' 3/3 a/b 1/99999999999999999999; do
  for which in --fold --without-fold; do
    refused "$which: $fold is no fold" record --env pusht --policy replay --compact --demonstrations drawn.h5 \
      $which "$fold" --output a.h5
  done
done
refused 'emptied.html: it is a folder' $train --data drawn.h5 --output run --page "$(mkdir -p emptied.html && echo emptied.html)"
refused 'cannot write no/such/page.html' $train --data drawn.h5 --output run --page no/such/page.html

# A disk that is full, played by a limit on the size of files: half a kilobyte to a block in sh.
done_by $train --data drawn.h5 --output run
refused 'cannot write folder: it is a folder' curves run --output folder
limited() {
  (failures=0 && ulimit -f 2 && refused "$@" && exit $failures)
  failures=$((failures + $?))
}
limited 'cannot write full.h5: File too large' record --env pusht --policy weak --compact --episodes 40 --output full.h5
limited 'cannot write full.pt' convert --model run --output full.pt
limited 'cannot write full.html' curves run --output full.html
limited 'cannot write' $train --data drawn.h5 --output full_run

[ $failures -eq 0 ] || echo "$failures failed"
[ $failures -eq 0 ]
