#!/bin/bash
# A real S3 server on loopback for tests and demos: Ceph's RADOS gateway from Debian's packages, without touching the system.
#
#   rgw.sh get      download and unpack the packages into $RGW_HOME/root (no root rights needed, dpkg's state is not changed)
#   rgw.sh up       start it and print the endpoint when it answers; the first call makes the store
#   rgw.sh down     stop it; the data stay             rgw.sh wipe     stop it and remove the data
#   rgw.sh status   the processes                      rgw.sh serve    up, then wait until stdin closes, then wipe
#
# `serve` is for a test: whatever ends the test's process closes the pipe, and nothing is left behind.
#
# RGW_HOME    where the packages lie (default ~/.cache/rgw); shared by everyone on the machine who runs this
# RGW_DATA    where this server keeps its store (default $RGW_HOME/data)
# RGW_PORT    default 9000; the 40 ports after it are used too, all on loopback
# RGW_KEY, RGW_SECRET     the one user's credentials (default AKTEST, SKTESTSECRET)
# RGW_STORE_BYTES         size of the sparse file that holds the objects (default 30 GiB)
# RGW_EXTRA   lines for ceph.conf at the first `up`; "rgw_max_concurrent_requests = 4" gives real 503 SlowDown above 4 at a time
set -euo pipefail

home=${RGW_HOME:-$HOME/.cache/rgw}
data=${RGW_DATA:-$home/data}
port=${RGW_PORT:-9000}
key=${RGW_KEY:-AKTEST}
secret=${RGW_SECRET:-SKTESTSECRET}
store_bytes=${RGW_STORE_BYTES:-32212254720}
root=$home/root
lib=$root/usr/lib/$(uname -m)-linux-gnu
python=/usr/bin/python3  # Ceph's command is a Python program for Debian's own interpreter
[ -x "$python" ] || python=$root/usr/bin/python3
daemons="mon osd rgw"
become=  # "exec" where the shell itself should turn into the program, so that its pid is the program's

# ---- running Ceph's programs out of the unpacked tree

in_tree() {
  $become env LD_LIBRARY_PATH="$lib:$lib/ceph:$root/lib/$(uname -m)-linux-gnu" PYTHONPATH="$root/usr/lib/python3/dist-packages" \
    CEPH_ARGS="--conf $data/ceph.conf" PATH="$root/usr/bin:$PATH" "$@"
}

ceph_command() { in_tree timeout 120 "$python" "$root/usr/bin/ceph" "$@"; }

alive() {
  [ -f "$data/$1.pid" ] && grep -qs '^State:.[^ZX]' "/proc/$(cat "$data/$1.pid")/status"
}

start() {
  local name=$1
  shift
  if alive "$name"; then return 0; fi
  become=exec in_tree setsid "$@" >"$data/log/$name.out" 2>&1 </dev/null &
  echo $! >"$data/$name.pid"
}

answers() {
  local reply
  exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
  printf 'GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3
  read -r -t 5 reply <&3 || reply=
  exec 3<&-
  [[ $reply == *" 200 "* ]]
}

# ---- the packages

apt_private() { apt-get -o Dir::State::Lists="$home/apt/lists" -o Dir::Cache="$home/apt/cache" "$@"; }

wanted() { "$@" install -s --no-install-recommends radosgw ceph-mon ceph-osd ceph-common | awk '/^Inst/{print $2}'; }

download() {
  # The machine's own package lists do where they are fresh enough; otherwise lists of our own, which need no root rights.
  rm -rf "$home/debs" "$home/root.tmp"
  mkdir -p "$home/debs" "$home/root.tmp" "$home/apt/lists/partial" "$home/apt/cache/archives/partial"
  cd "$home/debs"
  if ! { wanted apt-get >"$home/want" && [ -s "$home/want" ] && xargs -a "$home/want" apt-get download -qq; } 2>"$home/apt.log"; then
    rm -f -- *.deb
    apt_private update -qq 2>>"$home/apt.log"
    wanted apt_private >"$home/want" 2>>"$home/apt.log"
    xargs -a "$home/want" apt-get -o Dir::State::Lists="$home/apt/lists" -o Dir::Cache="$home/apt/cache" download -qq 2>>"$home/apt.log"
  fi
  for package in *.deb; do dpkg -x "$package" "$home/root.tmp"; done
  cd "$home"
  rm -rf "$home/debs"
  mv "$home/root.tmp" "$root"  # last: a tree that exists is complete
}

get() {
  if [ -x "$root/usr/bin/radosgw" ]; then return 0; fi
  mkdir -p "$home"
  exec 9>"$home/download.lock"
  flock 9
  for attempt in 1 2 3; do
    if [ -x "$root/usr/bin/radosgw" ]; then break; fi
    (set -e; download) || { echo "rgw.sh: download failed (attempt $attempt); see $home/apt.log" >&2; sleep $((attempt * 3)); }
  done
  exec 9>&-
  [ -x "$root/usr/bin/radosgw" ]
}

# ---- the store

write_config() {
  mkdir -p "$data/mon" "$data/osd" "$data/run" "$data/log"
  chmod 700 "$data"
  fsid=$(cat /proc/sys/kernel/random/uuid)
  cat >"$data/ceph.conf" <<CONFIG
[global]
fsid = $fsid
mon_host = v2:127.0.0.1:$((port + 1))
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
ms_bind_port_min = $((port + 2))
ms_bind_port_max = $((port + 40))
ms_mon_client_mode = crc
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
mon_data = $data/mon
osd_data = $data/osd
osd_class_dir = $lib/rados-classes
erasure_code_dir = $lib/ceph/erasure-code
plugin_dir = $lib/ceph
run_dir = $data/run
admin_socket = $data/run/\$name.asok
log_file = $data/log/\$name.log
mon_cluster_log_file = $data/log/cluster.log
crash_dir = $data/run
osd_objectstore = bluestore
bluestore_block_size = $store_bytes
osd_memory_target = 939524096
osd_op_num_shards = 2
[client.admin]
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_data = $data
rgw_run_sync_thread = false
rgw_thread_pool_size = 64
rgw_dynamic_resharding = false
rgw_sts_key = abcdefghijklmnop
rgw_sts_min_session_duration = 1
rgw_s3_auth_use_sts = true
${RGW_EXTRA:-}
CONFIG
  in_tree monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$((port + 1))]" "$data/monmap" >/dev/null
  in_tree ceph-mon --mkfs -i a --monmap "$data/monmap"
}

make_osd() {
  local uuid
  uuid=$(cat /proc/sys/kernel/random/uuid)
  ceph_command osd new "$uuid" >/dev/null
  in_tree ceph-osd -i 0 --mkfs --osd-uuid "$uuid" >"$data/log/mkfs.out" 2>&1
  ceph_command osd crush add osd.0 1.0 host=h root=default >/dev/null 2>&1
}

wait_until_it_answers() {
  for _ in $(seq 240); do
    if answers 2>/dev/null; then return 0; fi
    for name in $daemons; do
      if ! alive "$name"; then
        echo "rgw.sh: $name died; the end of $data/log/$name.out and .log:" >&2
        tail -n 5 "$data/log/$name.out" "$data/log/"*.log >&2 || true
        exit 1
      fi
    done
    sleep 0.25
  done
  echo "rgw.sh: no answer on port $port after 60 s; see $data/log" >&2
  exit 1
}

up() {
  get
  local is_new=
  if [ ! -f "$data/made" ]; then
    is_new=yes
    write_config
  fi
  start mon ceph-mon -i a -f
  if [ "$is_new" ]; then make_osd; fi
  start osd ceph-osd -i 0 -f
  start rgw radosgw -n client.admin -f
  wait_until_it_answers
  if [ "$is_new" ]; then
    in_tree timeout 120 radosgw-admin user create --uid test --display-name test --access-key "$key" --secret-key "$secret" >/dev/null 2>&1
    touch "$data/made"
  fi
  echo "http://127.0.0.1:$port"
}

down() {
  for name in rgw osd mon; do
    if alive "$name"; then
      kill "$(cat "$data/$name.pid")"
      for _ in $(seq 60); do alive "$name" || break; sleep 0.25; done
      if alive "$name"; then kill -9 "$(cat "$data/$name.pid")"; fi
    fi
    rm -f "$data/$name.pid"
  done
}

kill_at_once() {
  for name in rgw osd mon; do
    if alive "$name"; then kill -9 "$(cat "$data/$name.pid")"; fi
    rm -f "$data/$name.pid"
  done
}

serve() {
  trap 'kill_at_once; rm -rf "$data"' EXIT
  trap '' INT HUP PIPE
  up
  cat >/dev/null
}

status() {
  for name in $daemons; do
    if alive "$name"; then ps -o pid=,rss=,args= -p "$(cat "$data/$name.pid")"; else echo "$name down"; fi
  done
}

case ${1:-} in
  get | up | down | serve | status) "$1" ;;
  wipe) down; rm -rf "$data" ;;
  *) sed -n 2,19p "$0"; exit 2 ;;
esac
