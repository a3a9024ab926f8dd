# shellcheck shell=bash
# Sourced by the bench scripts: where results go, and how a node and nginx are started and stopped.
#
# Nothing is deleted between measurements, since ext4 makes new files up to 20 times slower for minutes after
# many deletes. Each run has a directory of its own under $BENCH_DIR, and the last line says how to remove it.
#
# Sets: repo, bin (directory of the programs), run_dir. Needs: set -euo pipefail in the script.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

target_dir() {
    (cd "$repo" && cargo metadata --no-deps --offline --format-version 1 2>/dev/null) |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# Builds what is measured and what measures, unless BENCH_BIN names a directory that holds all of it.
find_programs() {
    if [[ -n ${BENCH_BIN:-} ]]; then
        bin=$(cd "$BENCH_BIN" && pwd)
    else
        local target
        target=$(target_dir)
        [[ -n $target ]] || die "cargo does not say where it builds: run this from a checkout with cargo on the PATH"
        (cd "$repo" && .ci/rocksdb run release cargo build --release --locked --quiet \
            --package bytecave --package bytecave-bench --bins)
        bin=$target/release
    fi
    local program
    for program in bytecave bytecave-load bytecave-bench-engine bytecave-bench-network bytecave-bench-table; do
        [[ -x $bin/$program ]] || die "$bin/$program is missing: build it, or leave BENCH_BIN unset"
    done
}

# make_run_dir NAME GIB: a fresh directory with that much space, on a disk.
make_run_dir() {
    local base=${BENCH_DIR:-$(target_dir)/bench-data}
    mkdir -p "$base"
    base=$(cd "$base" && pwd)
    [[ $(stat --file-system --format %T "$base") != tmpfs ]] ||
        die "$base is a tmpfs, where nothing is ever on disk: set BENCH_DIR to a directory on a real one"
    local free_gib
    free_gib=$(($(stat --file-system --format '%a * %S' "$base") >> 30))
    ((free_gib >= $2)) ||
        die "about $2 GiB are needed in $base and $free_gib are free: remove older runs, set BENCH_DIR, or measure less (see the head of this script)"
    run_dir=$base/$1-$(date +%Y%m%d-%H%M%S)
    mkdir "$run_dir"
}

say_how_to_remove() {
    say ""
    say "Results and data: $run_dir ($(du -sh "$run_dir" | cut -f1)). When you need the space: rm -r $run_dir"
    say "(and give the file system some minutes before the next run)."
}

free_port() {
    local port
    while :; do
        # Below the ports that the system gives to outgoing connections.
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

servers=()

stop_servers() {
    local pid
    for pid in "${servers[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${servers[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    servers=()
}

# wait_for URL PATH PID LOG: until it answers with success.
wait_for() {
    local url=$1 path=$2 pid=$3 log=$4 end=$((SECONDS + ${START_TIMEOUT:-120}))
    until "$bin/bytecave-load" --url "$url" --mode path --path "$path" --requests 1 --warm-up 0ms \
        --concurrency 1 --timeout 5s >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; die "the server ended, see $log"; }
        ((SECONDS < end)) || { tail -n 20 "$log" >&2; die "no answer from $url$path, see $log"; }
        sleep 0.02
    done
}

# start_node DATA_DIR [NAME=VALUE…]: a node alone, in a directory without settings of its own.
# Sets node_url and node_pid.
start_node() {
    local data=$1
    shift
    local port
    port=$(free_port)
    mkdir -p "$data.cwd"
    # env -C: the working directory, in which no bytecave.toml or .env lies.
    env -C "$data.cwd" HOST=127.0.0.1 PORT="$port" DATA_DIR="$data" P2P_ENABLED=false MAX_STORAGE_MB=1000000 \
        BYTECAVE__LOG__FILE=off BYTECAVE__LOG__LEVEL=warn "$@" "$bin/bytecave" run >>"$data.log" 2>&1 &
    node_pid=$!
    servers+=("$node_pid")
    node_url=http://127.0.0.1:$port
    wait_for "$node_url" /ready "$node_pid" "$data.log"
}

# stop_node [SIGNAL]
stop_node() {
    kill -"${1:-TERM}" "$node_pid"
    wait "$node_pid" 2>/dev/null || true
    local left=() pid
    for pid in "${servers[@]}"; do
        [[ $pid == "$node_pid" ]] || left+=("$pid")
    done
    servers=("${left[@]}")
}

# start_nginx DIRECTORY: static GET and DAV PUT of the files below DIRECTORY/files.
# Sets nginx_url and nginx_pid.
start_nginx() {
    local dir=$1 port nginx user=
    nginx=$(PATH=$PATH:/usr/sbin command -v nginx) ||
        die "nginx is missing; it is what a node is compared with. Debian: apt-get install nginx-light"
    "$nginx" -V 2>&1 | grep -q http_dav_module ||
        die "this nginx was built without its DAV module. Debian: apt-get install nginx-light"
    # Workers of a root nginx are another user unless told, and could not write here.
    [[ $(id -u) -ne 0 ]] || user="user $(id -un);"
    port=$(free_port)
    mkdir -p "$dir"/{files,temp}
    cat >"$dir/nginx.conf" <<CONF
$user
daemon off;
worker_processes auto;
worker_rlimit_nofile 65536;
pid $dir/nginx.pid;
error_log $dir/error.log warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $dir/temp/body;
    proxy_temp_path $dir/temp/proxy;
    fastcgi_temp_path $dir/temp/fastcgi;
    uwsgi_temp_path $dir/temp/uwsgi;
    scgi_temp_path $dir/temp/scgi;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    server {
        listen 127.0.0.1:$port backlog=1024;
        root $dir/files;
        location / { dav_methods PUT; }
        location = /up { return 204; }
    }
}
CONF
    "$nginx" -e "$dir/error.log" -c "$dir/nginx.conf" >>"$dir/output.log" 2>&1 &
    nginx_pid=$!
    servers+=("$nginx_pid")
    nginx_url=http://127.0.0.1:$port
    wait_for "$nginx_url" /up "$nginx_pid" "$dir/error.log"
}
