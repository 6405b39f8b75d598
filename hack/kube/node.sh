# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 -- sourced by `cluster`, which sets the variables and start, await, kc
# The node: everything of a real Kubernetes beyond the API server, in a network namespace of its own.

netns=penstock node=penstock-node host_ip=10.89.0.1 pods=10.244.0.0/24

make_network() { # nothing of it ever leaves the machine: there is no route from the namespace to anywhere but the host
  ip netns add $netns
  ip -n $netns link set lo up
  ip link add penstock0 type veth peer name eth0 netns $netns
  ip addr add $host_ip/30 dev penstock0
  ip link set penstock0 up
  ip route add 10.244.0.0/16 via "$node_ip" # the host reaches pods and Services
  ip route add "$services" via "$node_ip"
  ip -n $netns addr add "$node_ip/30" dev eth0
  ip -n $netns link set eth0 up
  ip -n $netns route add default via $host_ip
  nsenter --net=/run/netns/$netns sysctl -qw net.ipv4.ip_forward=1
}

start_node() {
  local client
  client() { echo "--kubeconfig $state/$1.kubeconfig --authentication-kubeconfig $state/$1.kubeconfig --authorization-kubeconfig $state/$1.kubeconfig"; }
  # shellcheck disable=SC2046 -- flags, one word each: the state folder's name has no blanks (checked)
  start controller-manager "$bin/kube-controller-manager" $(client controller-manager) --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" \
    --use-service-account-credentials --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" --leader-elect=false
  # shellcheck disable=SC2046
  start scheduler "$bin/kube-scheduler" $(client scheduler) --leader-elect=false
  mkdir -p "$state"/{cni,containerd,kubelet,images/pause}
  write_containerd_config
  PATH="$bin:$PATH" start containerd "$bin/containerd" --config "$state/containerd.toml"
  await containerd 30 "$bin/ctr" -a "$socket" version
  # The pod's first process: it holds the namespaces and reaps. Compiled here, so no registry is asked.
  printf '#include <signal.h>\n#include <unistd.h>\n#include <sys/wait.h>\nstatic void end(int s){(void)s;_exit(0);}\nstatic void reap(int s){(void)s;while(waitpid(-1,0,WNOHANG)>0);}\nint main(void){signal(SIGTERM,end);signal(SIGINT,end);signal(SIGCHLD,reap);for(;;)pause();}\n' |
    gcc -O2 -static -x c - -o "$state/images/pause/pause"
  make_image localhost/pause:1 "$state/images/pause" /pause
  printf 'nameserver %s\n' "$node_ip" >"$state/resolv.conf"
  write_kubelet_config
  start kubelet "$bin/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$state/kubelet.kubeconfig" --root-dir "$state/kubelet" --cert-dir "$state/kubelet/pki" \
    --hostname-override $node --node-ip "$node_ip"
  write_proxy_config
  start proxy "$bin/kube-proxy" --config "$state/proxy.yaml" --hostname-override $node
  write_dns_config
  start dns "$bin/coredns" -conf "$state/Corefile"
  await kubelet 60 kc wait --for=condition=Ready node/$node --timeout=1s
  await controller-manager 30 kc -n default get serviceaccount default
}

write_containerd_config() {
  cat >"$state/cni/10-penstock.conflist" <<Y
{"cniVersion": "1.0.0", "name": "penstock", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "$state/ipam", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
Y
  # restrict_oom_score_adj: inside a container the machine may refuse to lower it.
  cat >"$state/containerd.toml" <<Y
version = 3
root = "$state/containerd"
state = "$state/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "$socket"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["$bin/cni"]
    conf_dir = "$state/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "$bin/runc"
      SystemdCgroup = false
Y
}

write_kubelet_config() { # the cgroup settings let it run on cgroup v1 machines and inside containers too
  cat >"$state/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://$socket
clusterDNS: [$node_ip]
clusterDomain: cluster.local
resolvConf: $state/resolv.conf
podLogsDir: $state/pod-logs
evictionHard: {memory.available: 100Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
maxPods: 200
serializeImagePulls: false
nodeStatusUpdateFrequency: 2s # what a device plugin advertises is seen with the next one
volumePluginDir: $state/kubelet/plugins
Y
}

write_proxy_config() {
  cat >"$state/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16
clientConnection: {kubeconfig: $state/proxy.kubeconfig}
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
Y
}

write_dns_config() {
  cat >"$state/Corefile" <<Y
.:53 {
  bind $node_ip
  errors
  health 127.0.0.1:8053
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $state/admin.kubeconfig penstock
    pods insecure
    ttl 5
  }
  cache 5
}
Y
}

make_image() { # make_image NAME DIR [ENTRYPOINT...]
  local name=$1 dir=$2
  shift 2
  [[ $name == */* ]] || name=docker.io/library/$name
  "$here/../image" "$name" "$dir" "$state/image.tar" "$@"
  load_image "$state/image.tar"
  rm "$state/image.tar"
}

load_image() { # its words only when it fails: on a cgroup v1 machine each call prints a deprecation warning
  local said
  said=$("$bin/ctr" -a "$socket" -n k8s.io images import --all-platforms "$1" 2>&1) || { say "cannot load $1: $said"; return 1; }
}

stop_node() { # pods first, while containerd still knows them; then the kubelet can't bring them back
  local task name pid
  for name in kubelet proxy dns; do signal TERM $name; done
  if alive containerd >/dev/null; then
    for task in $("$bin/ctr" -a "$socket" -n k8s.io tasks ls -q 2>/dev/null); do "$bin/ctr" -a "$socket" -n k8s.io tasks rm -f "$task" >/dev/null 2>&1 || true; done
  fi
  signal TERM containerd
  gone containerd 50
  # A shim outlives containerd on purpose, so one whose container would not go is ended here; its command line names our socket.
  for pid in $(grep -lF "$socket" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3); do
    [ "$pid" = $$ ] || kill -9 "$pid" 2>/dev/null || true
  done
}

remove_node() {
  local mount group
  awk -v s="$state/" 'index($2, s) == 1 {print $2}' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount" || true; done
  ip netns del $netns 2>/dev/null || true
  ip link del penstock0 2>/dev/null || true
  # What a node leaves behind outside its state folder; what was there before us is not ours to remove.
  local path
  [ ! -e "$state/own" ] || while read -r path; do
    case $path in
      /sys/fs/cgroup/*) find "$path" -depth -type d -exec rmdir {} + 2>/dev/null || true ;;
      /run/netns) { umount "$path" && rmdir "$path"; } 2>/dev/null || true ;;
      *) rm -rf "$path" ;;
    esac
  done <"$state/own"
}

strays() { # paths fixed inside the kubelet, runc and ip, whatever their settings say
  printf '%s\n' /run/netns /run/containerd /var/lib/kubelet /var/lib/cni /var/log/containers /var/tmp/penstock-local
  local controller
  for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do [ ! -e "$controller/cgroup.procs" ] || echo "${controller%/}/kubepods"; done
}
note_own() { # before the node starts: which of them do not exist yet
  local path
  strays | while read -r path; do [ -e "$path" ] || echo "$path"; done >"$state/own"
}
