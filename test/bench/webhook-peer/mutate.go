// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	jsonpatch "gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// As webhook/slice has them.
const (
	regionLimit = "4Mi"
	libraryPath = "/penstock/vram/lib"
	regionPath  = "/penstock/vram/region"
	quotaPath   = "/penstock/vram/quota"
)

var regionSize = resource.MustParse(regionLimit)

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// diffPatch compares the JSON before and after, as controller-runtime's admission.PatchResponseFromRaw does.
func (s *slicer) diffPatch(raw []byte, pod *corev1.Pod, made *plan) ([]byte, error) {
	s.apply(pod, made)
	after, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	changes, err := jsonpatch.CreatePatch(raw, after)
	if err != nil {
		return nil, err
	}
	return json.Marshal(changes)
}

func (s *slicer) apply(pod *corev1.Pod, made *plan) {
	for _, one := range made.grants {
		container := &pod.Spec.Containers[one.container]
		units := *resource.NewQuantity(one.slots*one.gpus, resource.DecimalSI)
		for _, list := range []corev1.ResourceList{container.Resources.Limits, container.Resources.Requests} {
			if _, found := list[wholeGPU]; found {
				delete(list, wholeGPU)
				list[corev1.ResourceName(s.config.Resource)] = units
			}
		}
		if entry := preloadOf(container); entry != nil {
			entry.Value = preloaded + ":" + entry.Value
		} else {
			container.Env = append(container.Env, corev1.EnvVar{Name: "LD_PRELOAD", Value: preloaded})
		}
		container.VolumeMounts = append(container.VolumeMounts, mounts(one.number)...)
	}
	pod.Spec.Volumes = append(pod.Spec.Volumes, s.volumes(pod, made)...)
	pod.Spec.Affinity = made.affinity
	for key, value := range made.annotations {
		pod.Annotations[key] = value
	}
}

// builtPatch writes the operations by hand: nothing is cloned or compared.
func (s *slicer) builtPatch(_ []byte, pod *corev1.Pod, made *plan) ([]byte, error) {
	changes := make([]operation, 0, 16)
	add := func(path string, value any) {
		changes = append(changes, operation{Op: "add", Path: path, Value: value})
	}
	for _, one := range made.grants {
		container := &pod.Spec.Containers[one.container]
		base := fmt.Sprintf("/spec/containers/%d", one.container)
		units := fmt.Sprint(one.slots * one.gpus)
		for _, list := range []struct {
			name string
			of   corev1.ResourceList
		}{{"limits", container.Resources.Limits}, {"requests", container.Resources.Requests}} {
			if _, found := list.of[wholeGPU]; found {
				changes = append(changes, operation{Op: "remove", Path: base + "/resources/" + list.name + "/" + escape(string(wholeGPU))})
				add(base+"/resources/"+list.name+"/"+escape(s.config.Resource), units)
			}
		}
		changes = append(changes, preloadOperation(base, container))
		for _, mount := range mounts(one.number) {
			add(base+"/volumeMounts/-", mount)
		}
	}
	for _, volume := range s.volumes(pod, made) {
		add("/spec/volumes/-", volume)
	}
	add("/spec/affinity", made.affinity)
	for key, value := range made.annotations {
		add("/metadata/annotations/"+escape(key), value)
	}
	return json.Marshal(changes)
}

func preloadOperation(base string, container *corev1.Container) operation {
	entry := corev1.EnvVar{Name: "LD_PRELOAD", Value: preloaded}
	if container.Env == nil {
		return operation{Op: "add", Path: base + "/env", Value: []corev1.EnvVar{entry}}
	}
	for at := range container.Env {
		if container.Env[at].Name == entry.Name {
			value := preloaded + ":" + container.Env[at].Value
			return operation{Op: "replace", Path: fmt.Sprintf("%s/env/%d/value", base, at), Value: value}
		}
	}
	return operation{Op: "add", Path: base + "/env/-", Value: entry}
}

func preloadOf(container *corev1.Container) *corev1.EnvVar {
	for at := range container.Env {
		if container.Env[at].Name == "LD_PRELOAD" {
			return &container.Env[at]
		}
	}
	return nil
}

func mounts(number int) []corev1.VolumeMount {
	return []corev1.VolumeMount{
		{Name: libraryName, MountPath: libraryPath, ReadOnly: true},
		{Name: fmt.Sprintf(regionFormat, number), MountPath: regionPath},
		{Name: fmt.Sprintf(quotaFormat, number), MountPath: quotaPath, ReadOnly: true},
	}
}

func (s *slicer) volumes(pod *corev1.Pod, made *plan) []corev1.Volume {
	image := &corev1.ImageVolumeSource{Reference: s.config.Image, PullPolicy: corev1.PullPolicy(s.config.PullPolicy)}
	volumes := []corev1.Volume{{Name: libraryName, VolumeSource: corev1.VolumeSource{Image: image}}}
	for _, one := range made.grants {
		field := fmt.Sprintf("metadata.annotations['%s%s']", pod.Spec.Containers[one.container].Name, quotaSuffix)
		item := corev1.DownwardAPIVolumeFile{Path: "limit", FieldRef: &corev1.ObjectFieldSelector{FieldPath: field}}
		region := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &regionSize}
		quota := &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{item}}
		volumes = append(volumes,
			corev1.Volume{Name: fmt.Sprintf(regionFormat, one.number), VolumeSource: corev1.VolumeSource{EmptyDir: region}},
			corev1.Volume{Name: fmt.Sprintf(quotaFormat, one.number), VolumeSource: corev1.VolumeSource{DownwardAPI: quota}})
	}
	return volumes
}

var escaper = strings.NewReplacer("~", "~0", "/", "~1")

func escape(key string) string { return escaper.Replace(key) }
