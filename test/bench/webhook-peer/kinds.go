// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// affinity keeps a pod to nodes of the kinds for which its quota was reckoned, as webhook/slice/requirements.ts has it. The pods of
// this benchmark have none of their own, and all nodes on which one may land can serve it.
func (s *slicer) affinity(pod *corev1.Pod, made *plan) *corev1.Affinity {
	var replicas, counts []string
	memory, several := int64(0), false
	for _, one := range made.grants {
		several = several || one.slots > 1
	}
	for i := range s.config.Nodes {
		at := &s.config.Nodes[i]
		if !mayLand(pod, at) {
			continue
		}
		replicas = with(replicas, at.Labels["nvidia.com/gpu.replicas"])
		counts = with(counts, at.Labels["nvidia.com/gpu.count"])
		if mebibytes, err := strconv.ParseInt(at.Labels["nvidia.com/gpu.memory"], 10, 64); err == nil && (memory == 0 || mebibytes < memory) {
			memory = mebibytes
		}
	}
	wanted := []corev1.NodeSelectorRequirement{
		{Key: "nvidia.com/gpu.replicas", Operator: corev1.NodeSelectorOpIn, Values: replicas},
		{Key: "nvidia.com/gpu.memory", Operator: corev1.NodeSelectorOpGt, Values: []string{strconv.FormatInt(memory-1, 10)}},
	}
	if several {
		wanted = append(wanted, corev1.NodeSelectorRequirement{Key: "nvidia.com/gpu.count", Operator: corev1.NodeSelectorOpIn, Values: counts})
	}
	terms := []corev1.NodeSelectorTerm{{MatchExpressions: wanted}}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
	}}
}

func with(values []string, value string) []string {
	if slices.Contains(values, value) {
		return values
	}
	return append(values, value)
}
