// SPDX-License-Identifier: Apache-2.0

// webhook-peer is what `make bench BENCH=webhook` divides by: a minimal server in Go that slices pods as webhook/ does, with the
// codecs of Kubernetes, net/http over TLS (HTTP/2 as kube-apiserver speaks it) and a JSON patch. It logs nothing and counts nothing.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// As the product's, and controller-runtime's.
const maxBody = 7 << 20

const noopPath = "/noop"

var decoder runtime.Decoder

func init() {
	scheme := runtime.NewScheme()
	utilruntime.Must(admissionv1.AddToScheme(scheme))
	utilruntime.Must(corev1.AddToScheme(scheme))
	decoder = serializer.NewCodecFactory(scheme).UniversalDeserializer()
}

type server struct {
	slicer  *slicer
	patchOf func(raw []byte, pod *corev1.Pod, made *plan) ([]byte, error)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	if r.URL.Path == noopPath {
		noop(w, body)
		return
	}
	var review admissionv1.AdmissionReview
	if _, _, err := decoder.Decode(body, nil, &review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprintf("not an AdmissionReview: %v", err), http.StatusBadRequest)
		return
	}
	answer, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: s.review(review.Request)})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(answer); err != nil {
		log.Print(err)
	}
}

// noop lets everything pass and looks at nothing: what is left is what a webhook costs that does not do anything.
func noop(w http.ResponseWriter, body []byte) {
	var review struct {
		Request struct {
			UID string `json:"uid"`
		} `json:"request"`
	}
	if err := json.Unmarshal(body, &review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, review.Request.UID); err != nil {
		log.Print(err)
	}
}

func (s *server) review(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	refused := func(err error) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{UID: request.UID, Result: &metav1.Status{Message: err.Error(), Code: http.StatusUnprocessableEntity}}
	}
	var pod corev1.Pod
	if _, _, err := decoder.Decode(request.Object.Raw, nil, &pod); err != nil {
		return refused(err)
	}
	made, err := s.slicer.plan(&pod)
	if err != nil {
		return refused(err)
	}
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	if made == nil {
		return response
	}
	patch, err := s.patchOf(request.Object.Raw, &pod, made)
	if err != nil {
		return refused(err)
	}
	kind := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType = patch, &kind
	return response
}

func main() {
	cert := flag.String("cert", "", "certificate chain, PEM")
	key := flag.String("key", "", "its key, PEM")
	setting := flag.String("config", "", "JSON of what the nodes offer and what is injected")
	patch := flag.String("patch", "diff", "diff: of the JSON before and after, as controller-runtime does; built: operations written by hand")
	flag.Parse()
	text, err := os.ReadFile(*setting)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{slicer: &slicer{}}
	if err := json.Unmarshal(text, &s.slicer.config); err != nil {
		log.Fatal(err)
	}
	switch *patch {
	case "diff":
		s.patchOf = s.slicer.diffPatch
	case "built":
		s.patchOf = s.slicer.builtPatch
	default:
		log.Fatalf("-patch %s: diff or built", *patch)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d\n", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal((&http.Server{Handler: s}).ServeTLS(listener, *cert, *key))
}
