#!/bin/sh
# The first process of a node, in its own namespaces. NODE is its name, ADDRESS its address, DISK its disk (a directory
# that outlives it), PROGRAMS the directory of kubelet and kube-proxy, and VIEW the cgroups that it sees. Its mounts
# vanish with it.
set -eu

mount --make-rprivate /
hostname "$NODE"
mount -t proc proc /proc

# The kubelet sets these for the whole machine, which must not change. So it gets copies.
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/knobs
for knob in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    copy=/run/knobs/$(echo "$knob" | tr / .)
    cat "/proc/sys/$knob" >"$copy"
    mount --bind "$copy" "/proc/sys/$knob"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
# Between pods of one node, a Service's answers return over the bridge. They need address translation too.
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables || echo "no br_netfilter: a Service does not reach pods of its client's node"

# The node's own view of the cgroups: its cgroups are the roots.
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || VIEW=Unified
mount -t sysfs sysfs /sys
if [ "$VIEW" = Unified ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    while IFS=: read -r number controllers _; do
        case $number:$controllers in
        0:*) directory=unified && kind=cgroup2 && options=rw ;;
        *:name=*) directory=${controllers#name=} && kind=cgroup && options=none,$controllers ;;
        *) directory=$controllers && kind=cgroup && options=$controllers ;;
        esac
        mkdir "/sys/fs/cgroup/$directory"
        mount -t "$kind" -o "$options" cgroup "/sys/fs/cgroup/$directory"
        for controller in $(echo "$directory" | tr , ' '); do
            [ -e "/sys/fs/cgroup/$controller" ] || ln -s "$directory" "/sys/fs/cgroup/$controller"
        done
    done </proc/self/cgroup
fi

# The machine's files, with the node's own changes. /run, /tmp and /dev/shm are not shared with the machine.
mkdir -p /run/node /run/programs
mount --bind "$DISK" /run/node
mount --bind "$PROGRAMS" /run/programs
for directory in etc opt var; do
    mkdir -p "/run/node/changes/$directory" "/run/node/work/$directory"
    mount -t overlay -o "lowerdir=/$directory,upperdir=/run/node/changes/$directory,workdir=/run/node/work/$directory" \
        overlay "/$directory"
done
for directory in tmp var/lib/containerd var/lib/kubelet var/lib/cni; do
    mkdir -p "/run/node/$directory" "/$directory"
    mount --bind "/run/node/$directory" "/$directory"
done
chmod 1777 /tmp
mount -t tmpfs -o mode=1777 shm /dev/shm
mkdir -p /etc/cni/net.d
cp /run/node/cni.conflist /etc/cni/net.d/
# No resolver runs on the node, so that name lookups of its pods fail immediately.
echo nameserver 127.0.0.1 >/run/resolv.conf
mount --make-rshared /

# Restarts a program that ends, like a service manager.
keep() {
    log=/run/node/log/$1
    shift
    while :; do
        "$@" >>"$log" 2>&1 || echo "ended: $?" >>"$log"
        sleep 0.2
    done &
}
keep containerd containerd --config /run/node/containerd.toml --log-level warn
until [ -S /run/containerd/containerd.sock ] && [ -e /run/node/kubeconfig ]; do sleep 0.05; done
keep kubelet /run/programs/kubelet --config /run/node/kubelet.yaml --kubeconfig /run/node/kubeconfig --node-ip "$ADDRESS"
keep kube-proxy /run/programs/kube-proxy --config /run/node/proxy.yaml
wait
