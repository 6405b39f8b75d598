# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 -- sourced by `cluster`, which sets here, cache and say
# Where the Kubernetes binaries come from. In this order: $KUBEBUILDER_ASSETS or the cache folder, whichever is complete;
# packed binaries beside the repository; built from their Go modules by recipe/build.

api_binaries='kube-apiserver etcd kubectl'
node_binaries="$api_binaries kube-controller-manager kube-scheduler kubelet kube-proxy containerd containerd-shim-runc-v2 ctr runc coredns cni/ptp cni/loopback cni/host-local"
all_binaries="$node_binaries minio"

complete() { # complete DIR NAMES...: are all of them there?
  local dir=$1 name
  shift
  for name in "$@"; do [ -x "$dir/$name" ] || return 1; done
}

binaries() { # binaries api|node|minio|all: sets bin to a folder that holds them
  local names
  case $1 in
    api) names=$api_binaries ;;
    node) names=$node_binaries ;;
    minio) names=minio ;;
    all) names=$all_binaries ;;
    *) say "no such set of binaries: $1 (api, node, minio or all)"; exit 2 ;;
  esac
  # shellcheck disable=SC2086 -- lists of words
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && complete "$KUBEBUILDER_ASSETS" $names; then bin=$KUBEBUILDER_ASSETS; return; fi
  bin=$cache
  [ ! -e "$cache/.complete" ] || ! complete "$cache" $all_binaries || return 0
  mkdir -p "$cache/cni"
  # Two test runs may start on an empty cache at once; the second waits and finds it filled.
  (
    flock 9
    [ ! -e "$cache/.complete" ] || ! complete "$cache" $all_binaries || exit 0
    fill_cache
  ) 9>"$cache/.lock"
}

fill_cache() {
  local file name packed=$here/../../../shared/k8s/assets
  if compgen -G "$packed/*.xz" >/dev/null; then
    command -v xz >/dev/null || { say "xz not found: apt-get install -y xz-utils"; exit 1; }
    say "unpacking the Kubernetes binaries to $cache"
    for file in "$packed"/*.xz; do
      name=$(basename "${file%.xz}")
      case $name in cni-*) name=cni/${name#cni-} ;; esac
      xz -dkc "$file" >"$cache/.part" && chmod 755 "$cache/.part" && mv "$cache/.part" "$cache/$name"
    done
  else
    say "building the Kubernetes binaries to $cache (once; about 8 minutes on 2 cores)"
    "$here/recipe/build" "$cache" || exit 1
  fi
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do ln -sf kube "$cache/$name"; done
  complete "$cache" $all_binaries || { say "binaries are still missing in $cache"; exit 1; }
  touch "$cache/.complete"
}
