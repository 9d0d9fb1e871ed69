#!/bin/sh
# Install torch after everything else: torch.sh PYTHON
# With an NVIDIA driver the CUDA build. Without one the CPU build, from a wheel that pip finds here ($TORCH_WHEELS, a
# folder; pip's own find-links), else from PyTorch's CPU index ($TORCH_INDEX); never the CUDA build, of 5.6 GB.
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
elif "$python" -m pip install --quiet --dry-run --no-deps ${TORCH_WHEELS:+--find-links "$TORCH_WHEELS"} "torch==$version+cpu" >/dev/null 2>&1; then
    echo "== torch $version, CPU build at hand"
    install ${TORCH_WHEELS:+--find-links "$TORCH_WHEELS"} "torch==$version+cpu"
elif [ "$(uname -s)" != Linux ]; then # where PyPI's build is for the CPU
    echo "== torch $version"
    install "torch==$version"
elif [ -n "${TORCH_INDEX:-}" ] && install --index-url "$TORCH_INDEX" "torch==$version"; then
    echo "== torch $version, CPU build of $TORCH_INDEX"
else
    echo "torch $version: no CPU build could be had; fetch its wheel for this Python and give its folder, TORCH_WHEELS=FOLDER," \
        "or a mirror of PyTorch's CPU index, TORCH_INDEX=URL; the service alone needs no torch: make install-service" >&2
    exit 2
fi
