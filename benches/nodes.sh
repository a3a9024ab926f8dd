# shellcheck shell=bash disable=SC2154
# Sourced by the bench scripts of several nodes, after servers.sh: nodes on loopback that find each other through the
# first one, what they say of themselves, and what they have used.
#
# A node is named by a number; its data is in $run_dir/node-NUMBER. Sets the arrays node_urls, node_pids and node_ids.

node_urls=() node_pids=() node_ids=()
p2p_ports=()
first_node='' first_address=''

need_tools() {
    local tool
    for tool in curl jq; do
        command -v "$tool" >/dev/null || die "$tool is missing; nodes are asked with it. Debian: apt-get install curl jq"
    done
}

# ask NUMBER PATH: the body of the answer.
ask() { curl --silent --show-error --fail --max-time 30 "${node_urls[$1]}$2"; }

# start_peer NUMBER [NAME=VALUE…]: again with the same data and at the same libp2p port if it ran before.
start_peer() {
    local number=$1 bootstrap=$first_address
    shift
    [[ -n ${p2p_ports[number]:-} ]] || p2p_ports[number]=$(free_port)
    [[ $number != "$first_node" ]] || bootstrap=
    start_node "$run_dir/node-$number" P2P_ENABLED=true P2P_ENABLE_MDNS=false \
        P2P_LISTEN_ADDRESSES="/ip4/127.0.0.1/tcp/${p2p_ports[number]}" P2P_BOOTSTRAP_PEERS="$bootstrap" \
        BYTECAVE__STORE__DISK_RESERVE=1GiB "$@"
    node_urls[number]=$node_url
    node_pids[number]=$node_pid
    node_ids[number]=$(ask "$number" /health | jq --raw-output .peerId)
    if [[ -z $first_node ]]; then
        first_node=$number
        first_address=/ip4/127.0.0.1/tcp/${p2p_ports[number]}/p2p/${node_ids[number]}
    fi
}

# stop_peers NUMBER…
stop_peers() {
    local number
    for number in "$@"; do
        node_pid=${node_pids[number]}
        stop_node
        unset "node_pids[number]"
    done
}

# forget_peers: the next node that starts is the first of another network.
forget_peers() {
    stop_peers "${!node_pids[@]}"
    first_node='' first_address=''
}

# wait_until WHAT COMMAND…: until the command succeeds.
wait_until() {
    local what=$1 end=$((SECONDS + ${PATIENCE:-300}))
    shift
    until "$@"; do
        ((SECONDS < end)) || die "gave up waiting for $what (PATIENCE, seconds); the nodes' output is in $run_dir/*.log"
        sleep 0.5
    done
}

# acquainted COUNT: whether every node is connected to so many peers and was told by them who they are.
acquainted() {
    local number known
    for number in "${!node_pids[@]}"; do
        known=$(ask "$number" /peers |
            jq '[.peers[] | select((.connection | type) == "string" and (.info | type) == "object")] | length') || return
        ((known >= $1)) || return
    done
}

# agreed HOLDERS: whether all nodes that name the holders of a shard name the same, so many of each, and whether each
# of those knows itself to be one. Of a shard that a node does not hold it may name none.
agreed() {
    local number
    for number in "${!node_pids[@]}"; do
        ask "$number" /shards | jq --raw-output '.shards[] |
            "\(.shard) \(.holders | length) \(any(.holders[]; .here)) \([.holders[].peerId] | sort | join(","))"'
    done | awk -v wanted="$1" '
        !($1 in seen) { seen[$1] = 1; shards++ }
        $2 > 0 {
            if ($2 != wanted || (($1 in named) && named[$1] != $4)) disagree = 1
            named[$1] = $4
        }
        $3 == "true" { here++ }
        END { exit !(shards > 0 && !disagree && here == wanted * shards) }'
}

# alike: whether all nodes have the same blobs.
alike() {
    local number
    [[ $(for number in "${!node_pids[@]}"; do
        ask "$number" /shards | jq --compact-output '[.shards[].fingerprint]' || echo "none of $number"
    done | sort --unique | wc -l) == 1 ]]
}

# holders_alike SHARDS: whether of each of so many shards all nodes that hold it have the same blobs, and nothing is
# still to be brought to them.
holders_alike() {
    local number
    for number in "${!node_pids[@]}"; do
        outbox_empty "$number" || return
    done
    [[ $(for number in "${!node_pids[@]}"; do
        ask "$number" /shards |
            jq --raw-output '.shards[] | select(any(.holders[]; .here)) | "\(.shard) \(.fingerprint)"' || echo "none of $number"
    done | sort --unique | wc -l) == "$1" ]]
}

# outbox_empty NUMBER: whether it has brought to the others all that clients stored there.
outbox_empty() { ask "$1" /replication | jq --exit-status '.outbox == 0' >/dev/null; }

# counter PATTERN NUMBER…: sum of the counters of these nodes whose name and labels match, each at its beginning.
counter() {
    local pattern=$1 number
    shift
    for number in "$@"; do
        ask "$number" /metrics
    done | awk -v pattern="^$pattern" '$0 ~ pattern { sum += $NF } END { printf "%.0f\n", sum }'
}

# cpu_seconds NUMBER…: all of it since these nodes started.
cpu_seconds() {
    local number
    for number in "$@"; do
        # Behind the name, which may contain spaces, the times are the 12th and 13th fields.
        sed 's/.*) //' "/proc/${node_pids[number]}/stat"
    done | awk -v ticks="$(getconf CLK_TCK)" '{ sum += $12 + $13 } END { printf "%.2f\n", sum / ticks }'
}

# rss_mib NUMBER
rss_mib() { awk '/^VmRSS:/ { printf "%d\n", $2 / 1024 }' "/proc/${node_pids[$1]}/status"; }
