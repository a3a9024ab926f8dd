#!/usr/bin/env bash
# The most memory that a node ever has resident while many clients upload large blobs at once, all shards in use.
#
#   CLIENTS=16  SIZE=1GiB  SHARDS=1024   what is uploaded at once, and into how many shards
#   WARM=20000         blobs of 4 KiB stored before, so that every shard's family is in use
#   WARM_MIXED=2000    blobs of 4 KiB to 4 MiB stored after these, so that the database's write buffers are full
#   BOUND_MIB=768      the exit code is 1 when the peak is not below this
#   BENCH_DIR, BENCH_BIN                 as in compare.sh; about 18 GiB
#
# Quick look: SIZE=64MiB WARM=4000 WARM_MIXED=100.
set -euo pipefail
# shellcheck source=benches/servers.sh
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

clients=${CLIENTS:-16}
size=${SIZE:-1GiB}
bound_mib=${BOUND_MIB:-768}

find_programs
make_run_dir memory "${NEEDED_GIB:-20}"
trap stop_servers EXIT

peak_mib() { awk '/^VmHWM:/ { printf "%d", $2 / 1024 }' "/proc/$node_pid/status"; }

start_node "$run_dir/node" SHARD_COUNT="${SHARDS:-1024}"
say "peak after the start: $(peak_mib) MiB"
"$bin/bytecave-load" --url "$node_url" --mode store --sizes 4KiB --concurrency 16 --warm-up 0ms \
    --requests "${WARM:-20000}" >&2
say "peak with every shard in use: $(peak_mib) MiB"
"$bin/bytecave-load" --url "$node_url" --mode store --sizes log:4KiB-4MiB --concurrency 16 --warm-up 0ms \
    --requests "${WARM_MIXED:-2000}" >&2
say "peak with full write buffers: $(peak_mib) MiB"
code=0
"$bin/bytecave-load" --url "$node_url" --server-pid "$node_pid" --mode store --sizes "$size" \
    --concurrency "$clients" --requests "$clients" --warm-up 0ms --timeout 30m \
    --append "$run_dir/samples.jsonl" || code=$?
peak=$(peak_mib)
echo "peak memory with $clients uploads of $size at once and ${SHARDS:-1024} shards: $peak MiB (bound $bound_mib MiB)"
stop_servers
say_how_to_remove
((code == 0)) || die "some uploads failed: the peak says little"
((peak < bound_mib))
