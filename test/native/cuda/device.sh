#!/bin/sh
# Builds and runs the comparison with the CPU kernels, and the times, on the GPU of this machine. From anywhere:
#   test/native/cuda/device.sh build [folder] | compare [seed] | sanitize | bench
# Wants nvcc (NVCC) to build, a GPU to run, compute-sanitizer to sanitize, and python3 with torch for the dense times.
set -e
here=$(cd "$(dirname "$0")" && pwd)
native="$here/../../../src/native"
out=${SPEXPAND_DEVICE_DIR:-$here/../../../dist/native/device}
targets='-gencode=arch=compute_80,code=[sm_80,compute_80] -gencode=arch=compute_90,code=sm_90'

build() {
  mkdir -p "$out"
  compile="${NVCC:-nvcc} -std=c++17 -O3 -lineinfo -t 2 $targets -I$native -I$here/.. -I$here"
  $compile -c "$native/cuda/launch.cu" -o "$out/launch.o" &
  $compile -x cu -c "$here/compare.cpp" -o "$out/compare.o"
  $compile -c "$here/bench.cu" -o "$out/bench.o"
  for unit in cuda/error kernels/rows_scalar kernels/rounded_scalar kernels/verify; do
    $compile -c "$native/$unit.cpp" -o "$out/$(basename $unit).o"
  done
  wait
  cpu="$out/error.o $out/rows_scalar.o $out/rounded_scalar.o $out/verify.o"
  ${NVCC:-nvcc} -cudart static $targets "$out/launch.o" "$out/compare.o" $cpu -o "$out/compare"
  ${NVCC:-nvcc} -cudart static $targets "$out/launch.o" "$out/bench.o" $cpu -o "$out/bench"
}

case $1 in
  build) build ;;
  compare) "$out/compare" compare "${2:-1}" && "$out/compare" refuse ;;
  sanitize)
    for tool in memcheck racecheck initcheck synccheck; do
      echo "$tool:"
      compute-sanitizer --tool $tool --error-exitcode 9 "$out/compare" small "${2:-1}"
      compute-sanitizer --tool $tool --error-exitcode 9 "$out/compare" refuse 200
    done
    ;;
  bench) python3 "$here/dense.py" && "$out/bench" ;;
  *) echo "usage: device.sh build | compare [seed] | sanitize [seed] | bench" >&2; exit 2 ;;
esac
