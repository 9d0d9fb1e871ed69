#!/bin/sh
# Train the segmentation network of bundle 0.10.0 again: reproduce.sh PYTHON SPIDER_FOLDER OUT (from the root)
#
# Begins with the weights of 0.9.1, which are 0.9.0's, out of the repository's history. What came before them cannot be
# repeated by a command: older generators, and settings that were changed during a run. The two runs before the last
# one were shortened from 2,200 to 1,700 steps on the way, and their first weights are not recorded: 0.9.0's are taken.
# So the result is a network trained in the same way, not the same weights. Level finder and roots network are copied.
# About four hours on two cores, half an hour of it for 245 phantoms; every step continues where it was stopped.
set -eu
python=$1 spider=$2 out=$3
recipes=$(dirname "$0")
earlier=0c75b2c074bf2e8ef00fe1e86aedc7cff9fd4e9f
bundle=model/bundles/lumbar-l45
train() { OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" "$python" -m training "$@"; }

mkdir -p "$out/0.9.1"
git cat-file -e "$earlier:$bundle" 2>/dev/null || {
	echo "commit $earlier is not in this clone; fetch the complete history: git fetch --unshallow" >&2
	exit 2
}
git archive "$earlier:$bundle" | tar -x -C "$out/0.9.1"

train prepare --out "$out/cases" --phantoms 71 --seed 3000 --spider "$spider"
train prepare --out "$out/cases" --phantoms 170 --seed 4000
train prepare --out "$out/cases" --phantoms 4 --seed 1091

for n in 1 2; do
	train fit --cases "$out/cases" --out "$out/$n" --recipe "$recipes/$n.toml" --start "$out/0.9.1"
done
train export --run "$out/0.9.1" --mean-with "$out/1" --mean-with "$out/2" \
	--level "$bundle/level.safetensors" --out "$out/mean" --version 0.9.1+mean
train fit --cases "$out/cases" --out "$out/3" --recipe "$recipes/3.toml" --start "$out/mean"
train export --run "$out/3" --level "$bundle/level.safetensors" --roots "$bundle" \
	--out "$out/bundle" --version 0.10.0+reproduced
