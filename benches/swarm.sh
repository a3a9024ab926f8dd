#!/usr/bin/env bash
# Many nodes on this machine, all shards kept by all: blobs are stored at each in turn, and it is measured how long it
# takes until every blob is on the three nodes that hold its shard, and what that costs each node.
#
#   NODES=20  SHARDS=64  FACTOR=3   the network
#   BLOBS=10000  SIZES=log:4KiB-64KiB   what is stored, by one client at each node
#   RECONCILE=30s      the nodes' time between two comparisons; what they say of missing copies rests on the last one
#   ANNOUNCE=5s        the nodes' time between two announcements
#   SETTINGS="BYTECAVE__STORE__BLOCK_CACHE=16MiB BYTECAVE__STORE__WRITE_BUFFER_TOTAL=32MiB …"   other settings of each
#                      node; the defaults make it small enough for twenty in 24 GiB of memory
#   BENCH_DIR, BENCH_BIN                 as in compare.sh; about 10 GiB
#
# Needs curl and jq. Quick look: NODES=5 BLOBS=500.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=benches/servers.sh
source "$here/servers.sh"
# shellcheck source=benches/nodes.sh
source "$here/nodes.sh"

nodes=${NODES:-20}
shards=${SHARDS:-64}
factor=${FACTOR:-3}
blobs=${BLOBS:-10000}
sizes=${SIZES:-log:4KiB-64KiB}
read -ra settings <<<"${SETTINGS:-BYTECAVE__STORE__BLOCK_CACHE=16MiB BYTECAVE__STORE__WRITE_BUFFER_TOTAL=32MiB \
BYTECAVE__STORE__MAX_TOTAL_WAL_SIZE=24MiB BYTECAVE__STORE__MAX_BACKGROUND_JOBS=4}"
settings+=(SHARD_COUNT="$shards" BYTECAVE__REPLICATION__FACTOR="$factor" MAX_STORAGE_MB=10240
    BYTECAVE__REPLICATION__RECONCILE_INTERVAL="${RECONCILE:-30s}" BYTECAVE__P2P__ANNOUNCE_INTERVAL="${ANNOUNCE:-5s}")
((nodes >= factor)) || die "NODES=$nodes: expected at least FACTOR=$factor"

need_tools
find_programs
make_run_dir swarm "${NEEDED_GIB:-10}"
trap stop_servers EXIT

# on_holders: how many copies lie where they belong. A node that took a blob from its client keeps it even if it is
# no holder, which does not count.
on_holders() {
    local number
    for number in "${!node_pids[@]}"; do
        ask "$number" /shards | jq --arg id "${node_ids[number]}" \
            '[.shards[] | select(any(.holders[]; .peerId == $id)) | .blobs] | add // 0'
    done | awk '{ sum += $1 } END { printf "%d\n", sum }'
}
all_on_holders() { (($(on_holders) >= factor * stored)); }
# none_missing: whether each holder has found, by comparing, that none of its shards lacks a copy.
none_missing() {
    local number
    for number in "${!node_pids[@]}"; do
        ask "$number" /replication |
            jq --exit-status '[.shards[] | select(any(.holders[]; .here)) | .missing] | all(. == 0)' >/dev/null || return
    done
}
traffic='bytecave_swarm_traffic_bytes_total'
all=()

begun=$(date +%s%N)
seconds() { awk -v from="$1" -v to="$(date +%s%N)" 'BEGIN { printf "%.1f", (to - from) / 1e9 }'; }

for ((number = 0; number < nodes; number++)); do
    start_peer $number "${settings[@]}"
    all+=("$number")
done
say "$nodes nodes started after $(seconds "$begun") s"
wait_until "the nodes to agree on who holds what" agreed "$factor"
say "they agree on who holds what after $(seconds "$begun") s"

urls=()
for number in "${all[@]}"; do urls+=(--url "${node_urls[number]}"); done
cpu_before=$(cpu_seconds "${all[@]}")
out_before=$(counter "$traffic.*direction=\"out\"" "${all[@]}")
for number in "${all[@]}"; do
    cpu_of[number]=$(cpu_seconds "$number")
    bytes_of[number]=$(counter "$traffic" "$number")
done
begun=$(date +%s%N)
sample=$("$bin/bytecave-load" "${urls[@]}" --mode store --sizes "$sizes" --concurrency "$nodes" --requests "$blobs" \
    --warm-up 0ms --json --append "$run_dir/samples.jsonl") || [[ $? -eq 3 ]]
stored=$(jq .operations <<<"$sample")
storing=$(seconds "$begun")
say "$stored of $blobs blobs stored after $storing s"
wait_until "$((factor * stored)) copies on holders" all_on_holders
copied=$(seconds "$begun")
cpu=$(awk -v from="$cpu_before" -v to="$(cpu_seconds "${all[@]}")" 'BEGIN { printf "%.1f", to - from }')
out=$(($(counter "$traffic.*direction=\"out\"" "${all[@]}") - out_before))
say "all copies are on holders after $copied s"
{
    echo "| node | CPU s | resident | bytes in and out |"
    echo "|---|---|---|---|"
    for number in "${all[@]}"; do
        awk -v number="$number" -v from="${cpu_of[number]}" -v to="$(cpu_seconds "$number")" -v rss="$(rss_mib "$number")" \
            -v bytes="$(($(counter "$traffic" "$number") - bytes_of[number]))" \
            'BEGIN { printf "| %d | %.1f | %d MiB | %.1f MB |\n", number, to - from, rss, bytes / 1e6 }'
    done
} | tee "$run_dir/nodes.md" >&2
wait_until "comparisons that find no copy missing" none_missing
compared=$(seconds "$begun")

# What was to be sent: one copy of each blob lies where it was stored, if that is a holder.
content=$(jq .bytes <<<"$sample")
{
    echo "| nodes | blobs | stored | on their holders | found complete | CPU of all | bytes sent by all | content |"
    echo "|---|---|---|---|---|---|---|---|"
    awk -v nodes="$nodes" -v stored="$stored" -v storing="$storing" -v copied="$copied" -v compared="$compared" \
        -v cpu="$cpu" -v out="$out" -v content="$content" 'BEGIN {
        printf "| %d | %d | %s s | %s s | %s s | %s s | %.0f MB | %.0f MB |\n",
            nodes, stored, storing, copied, compared, cpu, out / 1e6, content / 1e6 }'
} | tee "$run_dir/table.md"
stop_servers
say_how_to_remove
