// SPDX-License-Identifier: Apache-2.0

// load sends AdmissionReviews as kube-apiserver does: Go's net/http, TLS, HTTP/2, one connection that is kept. The same program loads
// the product and its peer. It prints one line of JSON, and exits with 1 when an answer was none.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A review of kube-apiserver waits so long at most where the webhook's configuration says nothing.
const timeout = 10 * time.Second

type review struct {
	path string
	body []byte
}

type result struct {
	Count     int     `json:"count"`
	Failed    int64   `json:"failed"`
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
	// At a steady rate: how late this program itself was with a request. That counts in the times above.
	LateP99 float64 `json:"lateP99"`
	// CPU of this program in seconds, and how long it ran.
	CPU     float64 `json:"cpu"`
	Seconds float64 `json:"seconds"`
}

type loader struct {
	client  *http.Client
	url     string
	reviews []review
	sent    atomic.Int64
	failed  atomic.Int64
	told    sync.Once
}

// readReviews reads lines of a path, a tab, and a review.
func readReviews(file string) ([]review, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var reviews []review
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		path, body, found := bytes.Cut(lines.Bytes(), []byte{'\t'})
		if !found {
			return nil, fmt.Errorf("%s: a line without a tab", file)
		}
		reviews = append(reviews, review{path: string(path), body: bytes.Clone(body)})
	}
	if len(reviews) == 0 {
		return nil, errors.New("no reviews")
	}
	return reviews, lines.Err()
}

func (l *loader) send(at int64) {
	one := l.reviews[at%int64(len(l.reviews))]
	if err := l.post(one); err != nil {
		l.failed.Add(1)
		l.told.Do(func() { log.Printf("%s: %v", one.path, err) })
	}
}

func (l *loader) post(one review) error {
	response, err := l.client.Post(l.url+one.path, "application/json", bytes.NewReader(one.body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.ProtoMajor != 2 {
		return fmt.Errorf("%s, and not HTTP/2", response.Proto)
	}
	if response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"allowed":true`)) {
		return fmt.Errorf("%s: %.500s", response.Status, answer)
	}
	return nil
}

// closed keeps so many requests in flight until one of the bounds is reached.
func (l *loader) closed(inFlight int, count int64, seconds float64) [][]time.Duration {
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	took := make([][]time.Duration, inFlight)
	var group sync.WaitGroup
	for lane := range inFlight {
		group.Go(func() {
			for {
				began := time.Now()
				at := l.sent.Add(1) - 1
				if at >= count || began.After(end) {
					return
				}
				l.send(at)
				took[lane] = append(took[lane], time.Since(began))
			}
		})
	}
	group.Wait()
	return took
}

// open sends at a steady rate, whatever comes back; a request's time begins when its turn came, so that waiting behind a slow one counts.
// It answers those times, and how late each was sent.
func (l *loader) open(rate float64, seconds float64) ([][]time.Duration, []time.Duration) {
	count := int(rate * seconds)
	took := make([]time.Duration, count)
	late := make([]time.Duration, count)
	// Go's own sleeps end on the millisecond of its poller. A thread that sleeps by itself is back within 0.1 ms; the others go on meanwhile.
	runtime.GOMAXPROCS(max(2, runtime.NumCPU()))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := time.Now()
	var group sync.WaitGroup
	for at := range count {
		due := began.Add(time.Duration(float64(at) / rate * float64(time.Second)))
		sleepUntil(due)
		late[at] = time.Since(due)
		group.Go(func() {
			l.send(int64(at))
			took[at] = time.Since(due)
		})
	}
	group.Wait()
	return [][]time.Duration{took}, late
}

func sleepUntil(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		pause := syscall.NsecToTimespec(left.Nanoseconds())
		// Interrupted, it is asked again.
		_ = syscall.Nanosleep(&pause, nil)
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func summary(took [][]time.Duration, seconds, cpu float64) result {
	all := slices.Concat(took...)
	slices.Sort(all)
	at := func(share float64) float64 { return quantile(all, share) }
	return result{Count: len(all), PerSecond: float64(len(all)) / seconds, P50: at(0.5), P99: at(0.99), Max: at(1), CPU: cpu, Seconds: seconds}
}

// quantile of what is sorted, in milliseconds.
func quantile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(share*float64(len(sorted)-1))].Microseconds()) / 1000
}

func main() {
	// Its own collections must not show in the times of a server: it holds some megabytes, whatever comes.
	debug.SetGCPercent(800)
	url := flag.String("url", "", "https://127.0.0.1:PORT")
	file := flag.String("reviews", "", "lines of a path, a tab, and a review")
	inFlight := flag.Int("in-flight", 16, "requests at a time")
	count := flag.Int64("count", 1<<62, "at most so many")
	seconds := flag.Float64("seconds", 10, "at most so long")
	rate := flag.Float64("rate", 0, "so many a second, whatever comes back; 0: as fast as they are answered")
	flag.Parse()
	reviews, err := readReviews(*file)
	if err != nil {
		log.Fatal(err)
	}
	// The certificate is not what is measured here.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	l := &loader{client: &http.Client{Transport: transport, Timeout: timeout}, url: *url, reviews: reviews}
	// The connection is there before the clock starts.
	l.send(0)
	cpu, began := cpuSeconds(), time.Now()
	var took [][]time.Duration
	var late []time.Duration
	if *rate > 0 {
		took, late = l.open(*rate, *seconds)
	} else {
		took = l.closed(*inFlight, *count, *seconds)
	}
	told := summary(took, time.Since(began).Seconds(), cpuSeconds()-cpu)
	slices.Sort(late)
	told.LateP99 = quantile(late, 0.99)
	told.Failed = l.failed.Load()
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		log.Fatal(err)
	}
	if told.Failed > 0 {
		os.Exit(1)
	}
}
