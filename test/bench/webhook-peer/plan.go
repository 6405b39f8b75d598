// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	group        = "penstock.dev"
	sliceKey     = group + "/slice"
	ratioKey     = group + "/slice-ratio"
	vramKey      = group + "/vram"
	workloadKey  = group + "/workload-type"
	statusKey    = group + "/slice-status"
	recordKey    = group + "/sliced"
	quotaSuffix  = ".vram." + group + "/quota"
	wholeGPU     = corev1.ResourceName("nvidia.com/gpu")
	maxRatio     = 64
	gib          = 1 << 30
	libraryName  = "penstock-vram-lib"
	preloaded    = "/penstock/vram/lib/libpenstock_vram.so:/penstock/vram/lib/libpenstock_nvml.so"
	regionFormat = "penstock-vram-%d"
	quotaFormat  = "penstock-quota-%d"
)

var presets = map[string]int64{"training": 4, "inference": 2, "batch": 2, "dev": 1}

type node struct {
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels"`
	Cards           int64             `json:"cards"`
	CardMemory      int64             `json:"cardMemory"`
	SlotsPerGPU     int64             `json:"slotsPerGPU"`
	Allocatable     int64             `json:"allocatable"`
	RefusesMultiple bool              `json:"refusesMultiple"`
}

type config struct {
	// The shared resource of all nodes.
	Resource string `json:"resource"`
	// Of the objects that are preloaded.
	Image      string `json:"image"`
	PullPolicy string `json:"pullPolicy"`
	Nodes      []node `json:"nodes"`
}

type slicer struct{ config config }

// grant is what one container gets: units of the shared resource, and a quota in bytes.
type grant struct {
	container int
	gpus      int64
	slots     int64
	quota     int64
	number    int
}

// record is written for a second pass, as the product does.
type record struct {
	V          int               `json:"v"`
	Containers map[string][3]any `json:"containers"`
	// As the affinity has them.
	Requirements []corev1.NodeSelectorRequirement `json:"requirements,omitempty"`
}

type plan struct {
	grants      []grant
	affinity    *corev1.Affinity
	annotations map[string]string
}

// size is a ratio, or bytes.
type size struct {
	ratio, bytes int64
	from         string
}

func sizeOf(annotations map[string]string) (size, error) {
	if text, found := annotations[ratioKey]; found {
		ratio, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ratio < 1 || ratio > maxRatio {
			return size{}, fmt.Errorf("metadata.annotations[%s]: is %q, must be a whole number from 1 to %d", ratioKey, text, maxRatio)
		}
		return size{ratio: ratio, from: ratioKey}, nil
	}
	if text, found := annotations[vramKey]; found {
		quantity, err := resource.ParseQuantity(text)
		if err != nil || quantity.Value() < 1<<20 {
			return size{}, fmt.Errorf("metadata.annotations[%s]: is %q, must be a quantity such as 10Gi", vramKey, text)
		}
		return size{bytes: quantity.Value(), from: vramKey}, nil
	}
	if text, found := annotations[workloadKey]; found {
		ratio, known := presets[text]
		if !known {
			return size{}, fmt.Errorf("metadata.annotations[%s]: is %q, must be training, inference, batch or dev", workloadKey, text)
		}
		return size{ratio: ratio, from: workloadKey + " " + text}, nil
	}
	return size{ratio: 1, from: "the default"}, nil
}

// plan decides on a pod; nil: it stays as it is.
func (s *slicer) plan(pod *corev1.Pod) (*plan, error) {
	switch pod.Annotations[sliceKey] {
	case "true":
	case "", "false":
		return nil, nil
	default:
		return nil, fmt.Errorf("metadata.annotations[%s]: must be \"true\" or \"false\"", sliceKey)
	}
	wanted, err := sizeOf(pod.Annotations)
	if err != nil {
		return nil, err
	}
	made := &plan{annotations: map[string]string{}}
	given := map[string][3]any{}
	var lines []string
	for at := range pod.Spec.Containers {
		container := &pod.Spec.Containers[at]
		count, found := container.Resources.Limits[wholeGPU]
		if !found || count.Value() == 0 {
			continue
		}
		one, line := s.grant(pod, container.Name, count.Value(), wanted)
		if one == nil {
			return nil, nil
		}
		one.container, one.number = at, len(made.grants)
		made.grants = append(made.grants, *one)
		made.annotations[container.Name+quotaSuffix] = strconv.FormatInt(one.quota, 10)
		given[container.Name] = [3]any{one.gpus, s.config.Resource, one.slots * one.gpus}
		lines = append(lines, line)
	}
	if len(made.grants) == 0 {
		return nil, nil
	}
	made.affinity = s.affinity(pod, made)
	required := made.affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions
	text, err := json.Marshal(record{V: 1, Containers: given, Requirements: required})
	if err != nil {
		return nil, err
	}
	made.annotations[recordKey] = string(text)
	made.annotations[statusKey] = strings.Join(lines, "; ")
	return made, nil
}

// grant looks at all nodes on which the pod may land: each must be able to serve it, the smallest decides.
func (s *slicer) grant(pod *corev1.Pod, container string, gpus int64, wanted size) (*grant, string) {
	slots := wanted.ratio
	for i := range s.config.Nodes {
		if at := &s.config.Nodes[i]; wanted.bytes > 0 && mayLand(pod, at) {
			each := at.CardMemory / at.SlotsPerGPU
			slots = max(slots, (wanted.bytes+each-1)/each)
		}
	}
	quota, serving := int64(math.MaxInt64), 0
	var smallest *node
	for i := range s.config.Nodes {
		at := &s.config.Nodes[i]
		if !mayLand(pod, at) || !serves(at, gpus, slots) {
			continue
		}
		serving++
		if memory := slots * at.CardMemory / at.SlotsPerGPU; memory < quota {
			quota, smallest = memory, at
		}
	}
	if smallest == nil {
		return nil, ""
	}
	if wanted.bytes > 0 {
		quota = wanted.bytes
	}
	line := fmt.Sprintf("%s: %d × %s for %d × %s; %.2f GiB (%d bytes) on the GPU: %d of %d slots of %.2f GiB (node %s, the smallest of %d); by %s",
		container, slots*gpus, s.config.Resource, gpus, wholeGPU, float64(quota)/gib, quota, slots, smallest.SlotsPerGPU,
		float64(smallest.CardMemory)/gib, smallest.Name, serving, wanted.from)
	return &grant{gpus: gpus, slots: slots, quota: quota}, line
}

func mayLand(pod *corev1.Pod, at *node) bool {
	for key, value := range pod.Spec.NodeSelector {
		if at.Labels[key] != value {
			return false
		}
	}
	return true
}

func serves(at *node, gpus, slots int64) bool {
	if slots >= at.SlotsPerGPU || slots*gpus > at.Allocatable || (slots*gpus > 1 && at.RefusesMultiple) {
		return false
	}
	return slots == 1 || at.Cards == 1
}
