#!/usr/bin/env bash
# What comparing costs: nodes that keep everything, first with equal sets, then with one of them some blobs short.
#
#   NODES=2            nodes, each of which keeps every shard (2 to 16)
#   FACTOR=NODES       how many of them hold a shard (replication.factor); below NODES only equal sets are measured
#   BLOBS=100000  SIZE=1KiB  SHARDS=1024   what they hold
#   DIFFERENCES="0 1 100"   blobs that node 1 is short of; 0 is what the others are held against
#   INTERVAL=5s        time between two comparisons of a pair, give or take a third
#   WINDOW=60          seconds of a measurement of equal sets, which begins SETTLE=15 seconds after the start
#   AFTER=40           seconds from the start of the node that is short, after which its bytes are counted
#   BENCH_DIR, BENCH_BIN                 as in compare.sh; about 5 GiB
#
# A node is made short by giving it its own data directory as it was before: no list of copies that are still to be
# brought knows of what it lacks then, so only comparing finds it. Bytes are those of the nodes' sockets, encryption and framing
# included. Of equal sets, the bytes of as long a time without comparisons are taken off.
# Needs curl and jq. Quick look: BLOBS=2000 WINDOW=20.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=benches/servers.sh
source "$here/servers.sh"
# shellcheck source=benches/nodes.sh
source "$here/nodes.sh"

nodes=${NODES:-2}
factor=${FACTOR:-$nodes}
shards=${SHARDS:-1024}
blobs=${BLOBS:-100000}
size=${SIZE:-1KiB}
differences=${DIFFERENCES:-0 1 100}
interval=${INTERVAL:-5s}
window=${WINDOW:-60}
after=${AFTER:-40}
settings=(SHARD_COUNT="$shards" BYTECAVE__REPLICATION__FACTOR="$factor"
    BYTECAVE__P2P__REQUESTS_PER_SECOND_PER_PEER=0)
((nodes >= 2 && nodes <= 16)) || die "NODES=$nodes: expected 2 to 16"
((factor >= 2 && factor <= nodes)) || die "FACTOR=$factor: expected 2 to $nodes"

need_tools
find_programs
make_run_dir reconcile "${NEEDED_GIB:-5}"
trap stop_servers EXIT
traffic='bytecave_swarm_traffic_bytes_total'
out="$traffic.*direction=\"out\""
rounds='bytecave_replicator_reconcile_rounds_total'
questions='bytecave_replicator_reconcile_questions_total'
repaired='bytecave_replicator_repaired_blobs_total'
all=()
for ((number = 0; number < nodes; number++)); do all+=("$number"); done

# start_all TIME: with that time between two comparisons.
start_all() {
    for number in "${all[@]}"; do
        start_peer "$number" "${settings[@]}" BYTECAVE__REPLICATION__RECONCILE_INTERVAL="$1"
    done
    wait_until "the nodes to agree on who holds what" agreed "$factor"
}
# store COUNT: at node 0, and waits until all have it.
store() {
    "$bin/bytecave-load" --url "${node_urls[0]}" --mode store --sizes "$size" --concurrency 16 --requests "$1" \
        --warm-up 0ms >&2
    wait_until "the copies" holders_alike "$shards"
}
# over_window: bytes sent by all nodes and comparisons that they ended, during a window. Sets sent and ended.
over_window() {
    # What a new connection brings about is over by then.
    sleep "${SETTLE:-15}"
    local sent_before ended_before
    sent_before=$(counter "$out" "${all[@]}")
    ended_before=$(counter "$rounds" "${all[@]}")
    sleep "$window"
    sent=$(($(counter "$out" "${all[@]}") - sent_before))
    ended=$(($(counter "$rounds" "${all[@]}") - ended_before))
}

start_all 1d
say "storing $blobs blobs"
store "$blobs"
say "all holders have the same blobs, $blobs in all"
over_window
idle=$sent
stop_peers "${all[@]}"
start_all "$interval"
over_window
stop_peers "${all[@]}"
((ended > 0)) || die "no comparison within $window s: set a longer WINDOW"
{
    echo "| nodes | holders of a shard | shards | blobs | comparisons | bytes for each | bytes without comparing, each second and pair |"
    echo "|---|---|---|---|---|---|---|"
    awk -v nodes="$nodes" -v factor="$factor" -v shards="$shards" -v blobs="$blobs" -v sent="$sent" -v idle="$idle" \
        -v ended="$ended" -v window="$window" 'BEGIN {
        printf "| %d | %d | %d | %d | %d | %.0f | %.0f |\n", nodes, factor, shards, blobs, ended,
            (sent - idle) / ended, idle / window / (nodes * (nodes - 1) / 2) }'
} | tee "$run_dir/equal.md"
if ((factor < nodes)); then
    stop_servers
    say_how_to_remove
    exit
fi

{
    echo "| node 1 is short of | alike again | bytes in and out in $after s | more than with equal sets | comparisons | questions | blobs fetched |"
    echo "|---|---|---|---|---|---|---|"
} >"$run_dir/short.md"
equal=
for difference in $differences; do
    # As it was before it got these blobs; nothing is deleted.
    cp --archive "$run_dir/node-1" "$run_dir/node-1.before-$difference"
    if ((difference > 0)); then
        start_all 1d
        store "$difference"
        stop_peers "${all[@]}"
        mv "$run_dir/node-1" "$run_dir/node-1.after-$difference"
        mv "$run_dir/node-1.before-$difference" "$run_dir/node-1"
    fi
    begun=$SECONDS
    start_all "$interval"
    wait_until "the sets to be alike" alike
    took=$((SECONDS - begun))
    ((took < after)) || die "node 1 had its blobs after $took s: set AFTER above that"
    sleep $((after - took))
    bytes=$(counter "$traffic" 1)
    [[ -n $equal ]] || equal=$bytes
    echo "| $difference | ≤ $took s | $bytes | $((bytes - equal)) | $(counter "$rounds" "${all[@]}") |" \
        "$(counter "$questions" "${all[@]}") | $(counter "$repaired" "${all[@]}") |" >>"$run_dir/short.md"
    tail -n 1 "$run_dir/short.md" >&2
    stop_peers "${all[@]}"
done
stop_servers
cat "$run_dir/equal.md" "$run_dir/short.md"
say_how_to_remove
