#!/bin/sh
# Install torch after everything else: torch.sh PYTHON
# With an NVIDIA driver the CUDA build; without one the CPU build: a wheel that pip finds here, else
# PyTorch's own CPU index ($TORCH_INDEX), else whatever pip takes by default.
# Torch carries no hash here, because its CPU and CUDA builds are different files of one version.
set -eu
python=$1
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
version=2.13.0
install() { "$python" -m pip install --quiet -c "$here/accelerators.txt" "$@"; }

if "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$version')" 2>/dev/null; then
    exit 0
fi
if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then
    echo "== torch $version for the NVIDIA driver found here"
    install "torch==$version"
elif "$python" -m pip install --quiet --dry-run --no-deps "torch==$version+cpu" >/dev/null 2>&1; then
    echo "== torch $version, CPU build at hand"
    install "torch==$version+cpu"
elif [ -n "${TORCH_INDEX:-}" ] && install --index-url "$TORCH_INDEX" "torch==$version"; then
    echo "== torch $version, CPU build of $TORCH_INDEX"
else
    echo "== torch $version: no CPU build could be had, taking the default (large)"
    install "torch==$version"
fi
