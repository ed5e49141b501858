#!/usr/bin/env bash
# Three hosts on this machine, network namespaces at one bridge, and what several processes have to do on
# them: learn what one process learns, and name a host that is cut off. Wants root and iproute2.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "error: network namespaces want root; run it with: sudo make test-hosts" >&2
  exit 2
fi
if ! command -v ip >/dev/null; then
  echo "error: ip is missing; install it with: apt-get install iproute2" >&2
  exit 2
fi
own=cs$$ # names of interfaces have 15 letters at most
cleanup() {
  for number in 1 2 3; do ip netns delete "$own-$number" 2>/dev/null || true; done
  ip link delete "$own" 2>/dev/null || true
}
trap cleanup EXIT
ip link add "$own" type bridge
ip link set "$own" up
hosts=()
for number in 1 2 3; do
  host=$own-$number
  ip netns add "$host"
  ip link add "$own.$number" type veth peer name eth0 netns "$host"
  ip link set "$own.$number" master "$own" up
  ip -n "$host" address add "10.77.0.$number/24" dev eth0
  ip -n "$host" link set eth0 up
  ip -n "$host" link set lo up
  hosts+=("$host=$own.$number")
done
# Each is NAMESPACE=INTERFACE, the end of its cable at the bridge; the first has the address 10.77.0.1.
# The whole workspace, as `make test` builds it, so that nothing is built twice.
THREE_HOSTS="${hosts[*]}" cargo test --workspace --test main three_hosts -- --nocapture
