#!/usr/bin/env bash
# Does a node with a million blobs cost more than one with a thousand? At each count: percentiles and server CPU
# of /health and of a store, memory, and the time to open again after a clean stop and after kill -9.
#
#   COUNTS="1000 10000 100000 1000000"   blobs stored when each line is measured
#   SIZE=4KiB          their size
#   DURATION=5s        length of each measurement
#   BENCH_DIR, BENCH_BIN                 as in compare.sh; about 8 GiB for a million blobs of 4 KiB
#
# Blobs are put in with durability "batched", which is quicker; stores are measured with "strict", the default.
# Quick look: COUNTS="100 1000" DURATION=1s.
set -euo pipefail
# shellcheck source=benches/servers.sh
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

counts=${COUNTS:-1000 10000 100000 1000000}
size=${SIZE:-4KiB}
duration=${DURATION:-5s}
command -v jq >/dev/null || die "jq is missing; it takes the figures out of the results. Debian: apt-get install jq"

find_programs
make_run_dir scale "${NEEDED_GIB:-10}"
trap stop_servers EXIT
data=$run_dir/node

load() {
    "$bin/bytecave-load" --url "$node_url" --server-pid "$node_pid" --json --append "$run_dir/samples.jsonl" "$@" ||
        [[ $? -eq 3 ]]
}
blobs() {
    # /health says it from its counters, which are refreshed once a second at most.
    exec 3<>"/dev/tcp/127.0.0.1/${node_url##*:}"
    printf 'GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
    sed -n 's/.*"storedBlobs":\([0-9]*\).*/\1/p' <&3
    exec 3>&-
}

{
    echo "| blobs | /health p50 / p99 | CPU | store p50 / p99 | stores/s | CPU | RSS | peak | open after stop | open after kill -9 |"
    echo "|---|---|---|---|---|---|---|---|---|---|"
} >"$run_dir/table.md"

stored=0
start_node "$data" BYTECAVE__STORE__DURABILITY=batched
for count in $counts; do
    # Failed requests store nothing, so what is missing is asked for again.
    while stored=$(blobs) && ((stored < count)); do
        say "$stored blobs, storing up to $count"
        load --mode store --sizes "$size" --concurrency 32 --warm-up 0ms --requests $((count - stored)) >/dev/null
        sleep 1.2
    done
    stop_node
    start_node "$data"
    say "$count blobs: measuring"
    health=$(load --mode path --path /health --concurrency 1 --duration "$duration")
    store=$(load --mode store --sizes "$size" --concurrency 16 --duration "$duration")
    stop_node
    # From the start of the program to its first success on /ready.
    after_stop=$(date +%s%N)
    start_node "$data"
    after_stop=$((($(date +%s%N) - after_stop) / 1000000))
    # Killed in the middle of stores: the log has to be replayed.
    load --mode store --sizes "$size" --concurrency 16 --warm-up 0ms --duration 3s --timeout 5s >/dev/null 2>&1 &
    writers=$!
    sleep 2
    stop_node KILL
    wait "$writers" || true
    after_kill=$(date +%s%N)
    start_node "$data"
    after_kill=$((($(date +%s%N) - after_kill) / 1000000))
    jq --null-input --raw-output --argjson health "$health" --argjson store "$store" --arg count "$count" \
        --arg stop "$after_stop" --arg kill "$after_kill" '
        def micros: if . < 1000 then "\(. | round) µs" else "\(. / 10 | round / 100) ms" end;
        def mib: "\(. / 1048576 | round) MiB";
        "| \($count) | \($health.latency.p50Micros | micros) / \($health.latency.p99Micros | micros)" +
        " | \($health.server.cpuMicrosPerOperation | micros)" +
        " | \($store.latency.p50Micros | micros) / \($store.latency.p99Micros | micros)" +
        " | \($store.operationsPerSecond | round) | \($store.server.cpuMicrosPerOperation | micros)" +
        " | \($store.server.rssBytes | mib) | \($store.server.peakRssBytes | mib) | \($stop) ms | \($kill) ms |"
    ' >>"$run_dir/table.md"
    tail -n 1 "$run_dir/table.md" >&2
    stop_node
    start_node "$data" BYTECAVE__STORE__DURABILITY=batched
done
stop_servers
cat "$run_dir/table.md"
say_how_to_remove
