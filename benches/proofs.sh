#!/usr/bin/env bash
# What a proof of storage costs a node: latency of a challenge by the size of the blob and bytes read from the disk for
# it, and what challenges do to the retrievals of a client beside them.
#
#   SIZES="4KiB 1MiB 64MiB 1GiB"   blobs that are challenged, one after the other
#   CHALLENGES=400                 challenges of each size, by one client
#   RATE=1000                      challenges per second beside the retrievals, on 4 KiB blobs
#   DURATION=15s                   of each of the three measurements of the retrievals
#   BENCH_DIR, BENCH_BIN           as in compare.sh; about twice the largest size
#
# The page cache is dropped before each size where that is allowed (root), so that reads reach the disk.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=benches/servers.sh
source "$here/servers.sh"

read -ra sizes <<<"${SIZES:-4KiB 1MiB 64MiB 1GiB}"
challenges=${CHALLENGES:-400}
rate=${RATE:-1000}
duration=${DURATION:-15s}
leaves=4

command -v jq >/dev/null || die "jq is missing. Debian: apt-get install jq"
find_programs
make_run_dir proofs "${NEEDED_GIB:-6}"
trap stop_servers EXIT
start_node "$run_dir/node" P2P_ENABLED=false BYTECAVE__PROOF__CHALLENGES_PER_SECOND=1000000 \
    BYTECAVE__PROOF__SCRUB_PERIOD=0s BYTECAVE__STORE__DISK_RESERVE=1GiB MAX_STORAGE_MB=20480 \
    BYTECAVE__HTTP__RATE_LIMIT_PER_SECOND=1000000 BYTECAVE__HTTP__RATE_LIMIT_BURST=1000000

load() {
    "$bin/bytecave-load" --url "$node_url" --server-pid "$node_pid" --json --append "$run_dir/samples.jsonl" "$@" ||
        [[ $? -eq 3 ]]
}
disk_bytes() { awk '$1 == "read_bytes:" { print $2 }' "/proc/$node_pid/io"; }
read_bytes() { awk '$1 == "rchar:" { print $2 }' "/proc/$node_pid/io"; }
drop_caches() { sync; echo 3 2>/dev/null >/proc/sys/vm/drop_caches || true; }

printf '%-10s %12s %12s %14s %16s %16s\n' blob p50 p99 'CPU/challenge' 'read/challenge' 'disk/challenge'
for size in "${sizes[@]}"; do
    # As many as the disk and the patience allow: the cost of one is what is asked.
    load --mode retrieve --sizes "$size" --prepare 1 --blobs "$run_dir/blobs-$size" --concurrency 1 --requests 1 \
        --warm-up 0ms >/dev/null
    drop_caches
    before=$(read_bytes) disk_before=$(disk_bytes)
    sample=$(load --mode prove --sizes "$size" --blobs "$run_dir/blobs-$size" --concurrency 1 \
        --requests "$challenges" --leaves $leaves --warm-up 0ms)
    jq --raw-output --arg size "$size" --argjson read "$(($(read_bytes) - before))" \
        --argjson disk "$(($(disk_bytes) - disk_before))" '
        [$size, .latency.p50Micros, .latency.p99Micros, .server.cpuMicrosPerOperation,
         $read / .operations, $disk / .operations] | @tsv' <<<"$sample" |
        awk -F'\t' '{ printf "%-10s %9.2f ms %9.2f ms %11.2f ms %12.0f KiB %12.0f KiB\n",
            $1, $2 / 1e3, $3 / 1e3, $4 / 1e3, $5 / 1024, $6 / 1024 }'
done

# Alone, beside challenges, and alone again: in one run, so that the machine is the same.
small="$run_dir/blobs-small"
retrieve() {
    load --mode retrieve --sizes 4KiB --prepare 2000 --blobs "$small" --concurrency 4 --rate 400 \
        --duration "$duration" --subject "$1"
}
p99() { jq .latency.p99Micros <<<"$1"; }
alone=$(retrieve alone)
load --mode prove --sizes 4KiB --blobs "$small" --concurrency 8 --rate "$rate" --duration "${DURATION:-15s}" \
    --leaves $leaves >"$run_dir/prove.json" &
proving=$!
beside=$(retrieve beside)
wait "$proving"
again=$(retrieve again)
awk -v a="$(p99 "$alone")" -v b="$(p99 "$beside")" -v c="$(p99 "$again")" \
    -v made="$(jq .operationsPerSecond "$run_dir/prove.json")" 'BEGIN {
    base = (a + c) / 2
    printf "retrievals of 4 KiB, 400 a second: p99 %.2f ms alone, %.2f ms beside %.0f challenges a second, %.2f ms alone again: ratio %.2f\n",
        a / 1e3, b / 1e3, made, c / 1e3, b / base }'
say_how_to_remove
