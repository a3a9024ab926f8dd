#!/usr/bin/env bash
# Copies between nodes on loopback, beside the bare line and the bare stream between two tasks, in the same alternated
# rounds; medians over the rounds. Three parts:
#
#   retrieve   a GET at a node that does not keep the shard, so that each comes from the other node, beside the same GET
#              at the node that does
#   store      a store at a node that does not keep the shard, which hands the blob on, beside a store at the node
#              that does
#   copies     how long a store takes that waits for one, two or three durable copies, among three nodes that keep
#              everything; what is still to be copied afterwards is waited for before the next measurement
#
#   PARTS="retrieve store copies"        what is measured
#   ROUNDS=3           rounds of everything
#   SIZES="64KiB 1MiB 16MiB 256MiB 1GiB" blobs of the first two parts, one at a time
#   DURATION=4s        length of a measurement of reads, and of stores of 4 KiB
#   VOLUME=256MiB      bytes stored in a measurement of the second part; at least one blob
#   LIMIT_VOLUME=1GiB  bytes over the bare line and the bare stream; at least one blob
#   COPY_SIZES="4KiB 64KiB 1MiB"  COPY_CLIENTS="1 16"  COPY_VOLUME=128MiB   the same for the third part
#   SHARDS=1024        shards of the networks; the node that hands on keeps the last one, into which few blobs fall
#   BENCH_DIR, BENCH_BIN                 as in compare.sh; about 12 GiB for each round with the values above
#
# Limits on what one peer may ask for are off, since one peer asks for everything here. Needs curl and jq.
# Quick look: ROUNDS=1 SIZES="1MiB 16MiB" DURATION=1s VOLUME=32MiB COPY_VOLUME=16MiB.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=benches/servers.sh
source "$here/servers.sh"
# shellcheck source=benches/nodes.sh
source "$here/nodes.sh"

parts=${PARTS:-retrieve store copies}
rounds=${ROUNDS:-3}
sizes=${SIZES:-64KiB 1MiB 16MiB 256MiB 1GiB}
duration=${DURATION:-4s}
volume=${VOLUME:-256MiB}
limit_volume=${LIMIT_VOLUME:-1GiB}
copy_sizes=${COPY_SIZES:-4KiB 64KiB 1MiB}
copy_clients=${COPY_CLIENTS:-1 16}
copy_volume=${COPY_VOLUME:-128MiB}
shards=${SHARDS:-1024}

need_tools
find_programs
make_run_dir network "${NEEDED_GIB:-$((rounds * 12))}"
trap stop_servers EXIT
results=$run_dir/network.jsonl
: >"$results"

kib_of() {
    case $1 in
    *GiB) echo $((${1%GiB} << 20)) ;;
    *MiB) echo $((${1%MiB} << 10)) ;;
    *KiB) echo "${1%KiB}" ;;
    *) die "a size of $1: expected a whole number of KiB, MiB or GiB, such as 64KiB" ;;
    esac
}
# blobs_of SIZE VOLUME LEAST MOST
blobs_of() {
    local count=$(($(kib_of "$2") / $(kib_of "$1")))
    ((count >= $3)) || count=$3
    ((count <= $4)) || count=$4
    echo "$count"
}

load() {
    sync
    "$bin/bytecave-load" --append "$results" "$@" >&2 || [[ $? -eq 3 ]] # Failed requests are named below the table.
}
limit() {
    "$bin/bytecave-bench-network" limit "$1" --size "$2" --volume "$limit_volume" --append "$results" |
        jq --raw-output '"\(.subject) limit \(.size)\n  throughput  \(.bytesPerSecond / 1e6 | round) MB/s"' >&2
}
with_pids() {
    local number
    for number in "${!node_pids[@]}"; do echo "--server-pid ${node_pids[number]}"; done
}

# Node 0 keeps all shards, node 1 the last one.
keeper=0 passer=1
start_two() {
    start_peer $keeper "${unlimited[@]}" SHARD_COUNT="$shards"
    start_peer $passer "${unlimited[@]}" SHARD_COUNT="$shards" \
        NODE_SHARDS="[{\"start\":$((shards - 1)),\"end\":$((shards - 1))}]"
    wait_until "the nodes to know each other" acquainted 1
}
unlimited=(BYTECAVE__P2P__REQUESTS_PER_SECOND_PER_PEER=0)

# retrieve peer|local SIZE
retrieve() {
    local number=$keeper
    [[ $1 == local ]] || number=$passer
    # shellcheck disable=SC2046
    load --url "${node_urls[number]}" $(with_pids) --subject "$1" --mode retrieve --sizes "$2" --concurrency 1 \
        --blobs "$run_dir/blobs-$2" --duration "$duration" --warm-up 500ms
}
# store peer|local SIZE
store() {
    local number=$keeper
    [[ $1 == local ]] || number=$passer
    # shellcheck disable=SC2046
    load --url "${node_urls[number]}" $(with_pids) --subject "$1" --mode store --sizes "$2" --concurrency 1 \
        --requests "$(blobs_of "$2" "$volume" 1 1000000)" --warm-up 0ms
}
# beside OPERATION SIZE ROUND: a figure, the same without the other node, and the limits. The order changes, so that
# none always finds the machine as the same other left it.
beside() {
    local who order=(tcp stream peer local)
    (($3 % 2)) || order=(local peer stream tcp)
    for who in "${order[@]}"; do
        case $who in
        tcp | stream) limit "$who" "$2" ;;
        *) "$1" "$who" "$2" ;;
        esac
    done
}
# copies COUNT SIZE CLIENTS
copies() {
    local extent=(--duration "$duration") entry=2
    [[ $2 == 4KiB ]] || extent=(--requests "$(blobs_of "$2" "$copy_volume" "$3" 1000000)")
    # shellcheck disable=SC2046
    load --url "${node_urls[entry]}" $(with_pids) --subject "copies-$1" --mode store --sizes "$2" --concurrency "$3" \
        --replicas "$1" --warm-up 0ms "${extent[@]}"
    # The node says it at most once a second.
    sleep 1.2
    wait_until "copies of what was stored" outbox_empty $entry
}

if [[ $parts == *retrieve* || $parts == *store* ]]; then
    say "== from node to node =="
    start_two
    if [[ $parts == *retrieve* ]]; then
        for size in $sizes; do
            "$bin/bytecave-load" --url "${node_urls[keeper]}" --mode retrieve --sizes "$size" --concurrency 1 --requests 1 \
                --prepare "$(blobs_of "$size" 256MiB 1 256)" --blobs "$run_dir/blobs-$size" --warm-up 0ms >/dev/null
        done
    fi
    for ((round = 1; round <= rounds; round++)); do
        say "-- round $round of $rounds --"
        for operation in retrieve store; do
            [[ $parts == *$operation* ]] || continue
            for size in $sizes; do
                beside "$operation" "$size" "$round"
            done
        done
    done
    forget_peers
fi

if [[ $parts == *copies* ]]; then
    say "== stores that wait for copies =="
    for number in 2 3 4; do start_peer $number "${unlimited[@]}" SHARD_COUNT="$shards"; done
    wait_until "the nodes to agree on who holds what" agreed 3
    for ((round = 1; round <= rounds; round++)); do
        say "-- round $round of $rounds --"
        for size in $copy_sizes; do
            for clients in $copy_clients; do
                if ((round % 2)); then order=(1 2 3); else order=(3 2 1); fi
                for count in "${order[@]}"; do
                    copies "$count" "$size" "$clients"
                done
            done
        done
    done
fi
stop_servers

"$bin/bytecave-bench-table" --network "$results" | tee "$run_dir/table.md"
say_how_to_remove
