#!/bin/sh
# Print the accelerator packages of the locked torch as a constraints file: accelerators.sh UV
set -eu
echo "# Accelerator packages of torch on Linux; constraints only, nothing here is installed by itself."
echo "# Written by \`make lock\`."
version=$(sed -n 's/^ *"torch==\([0-9.]*\)".*/\1/p' pyproject.toml | head -n 1)
# --no-config: the override in pyproject.toml exists to keep these packages out.
echo "torch==$version" | "$1" pip compile - --no-config --universal --python-version 3.11 \
    --no-header --no-annotate --quiet | grep -E '^(nvidia-|cuda-|triton)'
