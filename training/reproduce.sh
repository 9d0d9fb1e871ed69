#!/bin/sh
# Train and calibrate a bundle like the shipped one from phantoms and SPIDER: reproduce.sh PYTHON SPIDER OUT [cpu|gpu]
#
# Every part begins with random weights: level finder, segmentation, roots; then the shifts of outlines and the model's
# part of the uncertainties, on phantoms that trained nothing. OUT/bundle is the result, OUT/bundle-phantoms.json and
# OUT/bundle-patients.json are its scores, OUT/lumbar-l45-… those of the shipped one. Days on two cores; the same command
# continues where it was stopped.
# SHORT=1 goes the same way in minutes: few small phantoms, two steps each, the shipped weights as a beginning, and the
# shipped shifts, because finding them needs more phantoms.
set -eu
python=$1 spider=$2 out=$3 recipe=$(dirname "$0")/recipes/${4:-cpu}.toml
shipped=model/bundles/lumbar-l45
for needed in "$recipe" "$spider/5.image.nii.gz"; do
	[ -e "$needed" ] || {
		echo "$needed is not there; give cpu or gpu as the recipe, and the folder of SPIDER's volumes" >&2
		exit 2
	}
done
train() { "$python" -m training "$@"; }

if [ "${SHORT:-}" ]; then
	few=2 others=4 slabs=1 unseen=1 level=2 roots=2 size="--slices 64 --matrix 160" start="--start $shipped"
	mkdir -p "$out/spider"
	for patient in 5 11 45 110 200; do
		cp "$spider/$patient".* "$out/spider"
	done
	spider=$out/spider
	sed -e 's/^steps = .*/steps = 2/' -e 's/^learning_rate = .*/learning_rate = 1e-6/' "$recipe" > "$out/short.toml"
	recipe=$out/short.toml
else
	few=240 others=120 slabs=60 unseen=40 level=3000 roots=5000 size="" start=""
fi
kept="--held-out spider-005 --held-out spider-045 --held-out spider-110 --held-out spider-200"

# A stage that ended is not begun again: each writes its name into the folder. $size, $start and $kept are lists of words.
stage() {
	ended=$out/done/$1
	[ -e "$ended" ] && return
	echo "== $1"
	shift
	train "$@"
	mkdir -p "$out/done"
	: > "$ended"
}
stage phantoms prepare --out "$out/cases" --phantoms "$few" --seed 3000 $size --spider "$spider"
stage slabs prepare --out "$out/cases" --lumbar "$slabs" --seed 6000 $size
stage varied prepare --out "$out/cases" --varied "$few" --seed 7000 $size
stage level level --cases "$out/cases" --out "$out/level.pt" --steps "$level" --members 2 --mixed $kept $start
stage fit fit --cases "$out/cases" --out "$out/run" --recipe "$recipe" $kept $start
stage networks export --run "$out/run" --level "$out/level.pt" --out "$out/networks" --version 0.0.1
stage roots roots --cases "$out/cases" --bundle "$out/networks" --out "$out/roots.pt" --steps "$roots" --mixed $kept $start
stage plain export --run "$out/run" --level "$out/level.pt" --roots "$out/roots.pt" --out "$out/plain" --version 0.0.2

stage others prepare --out "$out/others" --phantoms "$others" --seed 13000 $size
if [ "${SHORT:-}" ]; then
	"$python" -c 'import json, sys; print(json.dumps({"outline_shifts": json.load(open(sys.argv[1]))["outline_shifts"]}))' \
		"$shipped/card.json" > "$out/shifts.json"
else
	stage shifts shifts --cases "$out/others" --all --bundle "$out/plain" --out "$out/shifts.json"
fi
stage shifted export --run "$out/plain" --level "$out/level.pt" --roots "$out/plain" --card "$out/shifts.json" \
	--out "$out/shifted" --version 0.0.3
stage errors evaluate --cases "$out/others" --all --unseen --no-baselines --bundle "$out/shifted" --card "$out/errors.json"
stage bundle export --run "$out/shifted" --level "$out/level.pt" --roots "$out/shifted" --card "$out/errors.json" \
	--out "$out/bundle" --version 0.0.4+reproduced

stage unseen prepare --out "$out/unseen" --phantoms "$unseen" --seed 17000 $size
patients="--case spider-005 --case spider-045 --case spider-110 --case spider-200"
for bundle in "$shipped" "$out/bundle"; do
	of=$(basename "$bundle")
	stage "$of-phantoms" evaluate --cases "$out/unseen" --all --unseen --no-baselines --bundle "$bundle" \
		--out "$out/$of-phantoms.json"
	stage "$of-patients" evaluate --cases "$out/cases" $patients --no-baselines --bundle "$bundle" \
		--out "$out/$of-patients.json"
done
