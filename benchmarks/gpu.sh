#!/usr/bin/env bash
# All cells of the demand on a machine with one GPU and no network, within 14 minutes, its start included.
#
#   benchmarks/gpu.sh pack DATASETS [TINY100]
#                                     here, with a network: what the machine lacks and the images, into .gpu. Not all
#                                     images go at once: mnist,tiny100 first, then fashionmnist, with the machine kept
#                                     (TINY100: folder of that data set's Parquet files)
#   benchmarks/gpu.sh run             there, in a copy of this folder: trains, exports, evaluates until SECONDS_LEFT
#                                     (480 by default) are over, and leaves what came of it under $OUT. Run it once more
#                                     while the machine is kept, and it goes on.
#   benchmarks/gpu.sh try [CELLS]     here, on the CPU, the same with a hundredth of the images
#
# The machine is expected to have python3 (3.11 to 3.13) with torch, torchvision, timm, pytorch-lightning, tensorboard,
# torchmetrics, safetensors, scipy, pyarrow, pillow, onnx, onnx-ir, onnxscript, onnxruntime, matplotlib, psutil, rich,
# attrs and pygments, of the versions that pyproject.toml allows. .gpu/wheels brings the rest, this package with it.
# Files under $OUT are at most 8, of 16 MB: results.tar.xz, weights.tar.0 ... (cat weights.tar.* | tar x).
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
pack=$here/.gpu
lacking="pydantic pydantic_core annotated-types typing-inspection typing_extensions cyclopts docstring_parser rich-rst
    pyzmq torch-pruning"
python=${PYTHON:-python3}

case ${1:-run} in
pack)
    python=${PYTHON:-.venv/bin/python}
    rm -rf "$pack/wheels"
    mkdir -p "$pack/wheels"
    platforms=()
    for version in 17 24 27 28 31 34 35; do platforms+=(--platform "manylinux_2_${version}_x86_64"); done
    for name in $lacking; do
        pinned=$(grep -i "^$name==" constraints.txt)
        "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "${THEIR_PYTHON:-3.12}" \
            --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 -d "$pack/wheels" "$pinned"
    done
    source=$(mktemp -d)
    git archive HEAD | tar -x -C "$source"
    "$python" -m pip wheel -q --no-deps --no-build-isolation -w "$pack/wheels" "$source"
    rm -rf "$source"
    git rev-parse HEAD >"$pack/commit"
    "$python" -m splitplace.benchmarks.gpu_pack pack "$pack" "${2:?name data sets, as mnist,tiny100}" ${3:+"$3"}
    ;;
run)
    out=${OUT:?name a folder for the results in OUT}
    ended=$(($(date +%s) + ${SECONDS_LEFT:-480}))
    scratch=${SCRATCH:-/tmp/splitplace} # beside the copy, which the next call lays anew
    export SPLITPLACE_DATA=$scratch/data SPLITPLACE_COMMIT PYTHONPATH=$scratch/site PYTHONSAFEPATH=1
    SPLITPLACE_COMMIT=$(cat "$pack/commit")
    # Each call anew: what one that was cut short left out comes from no network.
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$PYTHONPATH" "$pack"/wheels/*.whl
    "$python" -m splitplace.benchmarks.gpu_pack unpack "$pack"
    mkdir -p "$out"
    cells=
    for model in mobilenetv2 resnet50v2 inceptionv3; do
        for there in "$SPLITPLACE_DATA"/*/; do cells=$cells,$(basename "$there").$model; done
    done
    cells=${CELLS:-${cells#,}}
    echo "cells: $cells"
    # An interrupt ends it in order; what was made is there, and the results are packed whatever came of it.
    timeout -s INT -k 30 $((ended - $(date +%s))) "$python" -c 'from splitplace.cli import main; main()' \
        bench demand --device gpu --until evaluate --work "$here/runs/demand" --results "$out/kept.json" --cells "$cells" ||
        echo "ended with $?: not all is done"
    "$python" -c 'from splitplace.cli import main; main()' bench demand --device gpu --until evaluate \
        --work "$here/runs/demand" --results "$out/kept.json" --cells "$cells" --status --json >"$out/status.json"
    "$python" -m splitplace.benchmarks.gpu_pack results "$here/runs/demand" "$out"
    ;;
try)
    python=${PYTHON:-.venv/bin/python}
    work=${WORK:-runs/demand-try}
    "$python" -c 'from splitplace.cli import main; main()' bench demand --device cpu --preset demand-gpu --until evaluate \
        --share 0.01 --jobs 2 --work "$work" --cells "${2:-mnist.mobilenetv2}"
    "$python" -m splitplace.benchmarks.gpu_pack results "$work" "${OUT:-$work/out}"
    ;;
*)
    sed -n '2,/^set/p' "$0" | grep '^#' >&2
    exit 2
    ;;
esac
