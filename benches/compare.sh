#!/usr/bin/env bash
# One table: the engine beside the machine's limits, and a node over HTTP beside nginx, the engine and the limits.
# Everything alternates within one run; figures are medians over the rounds.
#
#   ROUNDS=3           rounds of everything
#   DURATION=4s        length of a measurement of small blobs and of reads
#   VOLUME=256MiB      bytes stored in a measurement of larger blobs (64 MiB blobs: one for each client)
#   CASES="store:4KiB store:64KiB store:1MiB store:64MiB retrieve:4KiB …"   what is measured over HTTP
#   ENGINE=1           0 leaves the engine out, and with it the rows beside it
#   ENGINE_ARGS=       passed on to bytecave-bench-engine run
#   BENCH_DIR=         where data goes; on a real disk, about 16 GiB for each round with the values above
#   BENCH_BIN=         directory of built programs; unset: builds them with the release profile
#
# Needs nginx with its DAV module (Debian: nginx-light). Quick look: ROUNDS=1 DURATION=1s VOLUME=32MiB ENGINE=0.
set -euo pipefail
# shellcheck source=benches/servers.sh
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

rounds=${ROUNDS:-3}
duration=${DURATION:-4s}
volume=${VOLUME:-256MiB}
cases=${CASES:-store:4KiB store:64KiB store:1MiB store:64MiB retrieve:4KiB retrieve:64KiB retrieve:1MiB retrieve:64MiB}
clients=16

find_programs
make_run_dir compare "${NEEDED_GIB:-$((rounds * 16))}"
trap stop_servers EXIT
http=$run_dir/http.jsonl
engine=$run_dir/engine.jsonl
: >"$http"
: >"$engine"

mib_of() {
    case $1 in
    *GiB) echo $((${1%GiB} * 1024)) ;;
    *MiB) echo "${1%MiB}" ;;
    *) die "VOLUME=$1: expected a whole number of MiB or GiB, such as 256MiB" ;;
    esac
}
kib_of() {
    case $1 in
    *MiB) echo $((${1%MiB} * 1024)) ;;
    *KiB) echo "${1%KiB}" ;;
    *) die "CASES: a size of $1: expected a whole number of KiB or MiB, such as 64KiB" ;;
    esac
}
volume_kib=$(($(mib_of "$volume") * 1024))

# How much a case does: small stores and reads go by time, larger stores by volume.
extent() {
    local operation=$1 size_kib
    size_kib=$(kib_of "$2")
    if [[ $operation == retrieve || $size_kib -lt 64 ]]; then
        echo "--duration $duration"
    else
        local requests=$((volume_kib / size_kib))
        echo "--requests $((requests > clients ? requests : clients))"
    fi
}

# measure bytecave|nginx OPERATION SIZE
measure() {
    local who=$1 operation=$2 size=$3 server prepare=()
    case $who in
    bytecave) server=(--url "$node_url" --server-pid "$node_pid") ;;
    nginx) server=(--url "$nginx_url" --server-pid "$nginx_pid" --target dav) ;;
    esac
    # 16 of the largest are more than memory should be asked to keep warm twice.
    [[ $(kib_of "$size") -lt 65536 ]] || prepare=(--prepare 8)
    # nginx leaves its files to the page cache: whoever comes next must not pay for them.
    sync
    # shellcheck disable=SC2046
    "$bin/bytecave-load" "${server[@]}" --mode "$operation" --sizes "$size" --concurrency "$clients" \
        --warm-up "${WARM_UP:-500ms}" "${prepare[@]}" $(extent "$operation" "$size") --append "$http" ||
        [[ $? -eq 3 ]] # Failed requests are named below the table.
}

# limit OPERATION SIZE: what the disk does, beside that case.
limit() {
    [[ $1 == store ]] || return 0
    local kind=disk
    [[ $2 != 4KiB ]] || kind=raw
    sync
    "$bin/bytecave-bench-engine" limit "$kind" --dir "$run_dir/limits" --blob "$2" --clients "$clients" \
        --volume "$volume" --append "$http" >/dev/null
}

if [[ ${ENGINE:-1} != 0 ]]; then
    say "== the engine beside the machine's limits =="
    # shellcheck disable=SC2086
    "$bin/bytecave-bench-engine" run --dir "$run_dir/engine" --rounds "$rounds" --volume "$volume" \
        --append "$engine" ${ENGINE_ARGS:-} >&2
fi

say "== a node beside nginx =="
start_node "$run_dir/node"
start_nginx "$run_dir/nginx"
for ((round = 1; round <= rounds; round++)); do
    say "-- round $round of $rounds --"
    for case in $cases; do
        operation=${case%%:*} size=${case#*:}
        limit "$operation" "$size"
        # Who goes first changes, so that neither always meets the disk as the other left it.
        if ((round % 2)); then order=(bytecave nginx); else order=(nginx bytecave); fi
        for who in "${order[@]}"; do
            measure "$who" "$operation" "$size" >&2
        done
    done
done
stop_servers

"$bin/bytecave-bench-table" --engine "$engine" --http "$http" | tee "$run_dir/table.md"
say_how_to_remove
