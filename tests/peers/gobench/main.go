// gobench is both ends of a CRI connection as they are in kubelet and the runtimes: a client and a server by grpc-go, on
// a Unix socket, with messages passed as bytes. The benchmarks put podspan-cri and its peers between the two.
//
//	gobench serve PATH
//	gobench load PATH METHOD STREAMS CALLS WARMUP
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const callTimeout = 2 * time.Minute

// rawCodec leaves messages as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	message := v.(*[]byte)
	*message = append((*message)[:0], data...)
	return nil
}

// bytesField is a length-delimited protobuf field.
func bytesField(number int, data []byte) []byte {
	out := []byte{byte(number<<3 | 2)}
	size := len(data)
	for ; size > 0x7f; size >>= 7 {
		out = append(out, byte(size)|0x80)
	}
	return append(append(out, byte(size)), data...)
}

func textField(number int, text string) []byte { return bytesField(number, []byte(text)) }

func mapEntry(number int, key, value string) []byte {
	return bytesField(number, append(textField(1, key), textField(2, value)...))
}

// runPodSandbox is a request of some 1.2 KB, as kubelet sends it.
func runPodSandbox() []byte {
	const name, uid = "frontend-7d4b9c6f5-x2x7k", "0f5b6c52-8f63-4a5c-9b2e-0123456789ab"
	metadata := slices.Concat(textField(1, name), textField(2, uid), textField(3, "shop"))
	config := slices.Concat(bytesField(1, metadata), textField(2, name), textField(3, "/var/log/pods/shop_"+name+"_"+uid))
	for i := range 8 {
		config = append(config, mapEntry(6, fmt.Sprintf("app.kubernetes.io/label-%d", i),
			fmt.Sprintf("some-value-of-a-usual-length-%d", i))...)
	}
	config = append(config, mapEntry(7, "kubernetes.io/config.seen", "2026-01-02T03:04:05.678901234Z")...)
	config = append(config, mapEntry(7, "kubernetes.io/config.source", "api")...)
	return bytesField(1, config)
}

// listContainers is a reply with 1000 containers of some 1.3 KB.
func listContainers() []byte {
	var list []byte
	for i := range 1000 {
		container := slices.Concat(textField(1, fmt.Sprintf("%064x", i+1)), textField(2, fmt.Sprintf("%064x", i/3+0x10000)),
			bytesField(3, textField(1, "main")), bytesField(4, textField(1, "sha256:"+strings.Repeat("0123456789abcdef", 4))),
			mapEntry(8, "io.kubernetes.pod.name", fmt.Sprintf("pod-%d", i/3)), mapEntry(8, "io.kubernetes.pod.namespace", "shop"),
			mapEntry(8, "io.kubernetes.pod.uid", fmt.Sprintf("%08x-8f63-4a5c-9b2e-0123456789ab", i/3)))
		for j := range 10 {
			container = append(container, mapEntry(9, fmt.Sprintf("example.org/annotation-number-%d", j),
				"a value that is neither very short nor very long, as they are")...)
		}
		list = append(list, bytesField(1, container)...)
	}
	return list
}

func serve(path string) error {
	replies := map[string][]byte{
		"Version":        textField(1, "0.1.0"),
		"RunPodSandbox":  textField(1, strings.Repeat("0123456789abcdef", 4)),
		"ListContainers": listContainers(),
	}
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	return grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var request []byte
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			method, _ := grpc.MethodFromServerStream(stream)
			reply, ok := replies[method[strings.LastIndexByte(method, '/')+1:]]
			if !ok {
				return status.Error(codes.Unimplemented, method)
			}
			return stream.SendMsg(&reply)
		})).Serve(listener)
}

type result struct {
	N    int     `json:"n"`
	P10  float64 `json:"p10"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Rate float64 `json:"rate"`
}

func load(path, method string, streams, calls, warmup int) error {
	connection, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return err
	}
	defer connection.Close()
	requests := map[string][]byte{"RunPodSandbox": runPodSandbox(), "ListContainers": bytesField(1, nil)}
	request := requests[method]
	full := "/runtime.v1.RuntimeService/" + method

	var begun atomic.Int64
	var failure atomic.Pointer[error]
	var start time.Time
	took := make([]float64, calls)
	run := func(from, to int, record bool) {
		var wait sync.WaitGroup
		begun.Store(int64(from))
		for range streams {
			wait.Add(1)
			go func() {
				defer wait.Done()
				var reply []byte
				for {
					n := int(begun.Add(1)) - 1
					if n >= to {
						return
					}
					ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
					before := time.Now()
					err := connection.Invoke(ctx, full, &request, &reply)
					if record {
						took[n] = float64(time.Since(before).Nanoseconds()) / 1e3
					}
					cancel()
					if err != nil {
						failure.Store(&err)
						return
					}
				}
			}()
		}
		wait.Wait()
	}
	run(0, warmup, false)
	start = time.Now()
	run(0, calls, true)
	elapsed := time.Since(start)
	if err := failure.Load(); err != nil {
		return *err
	}
	slices.Sort(took)
	at := func(share float64) float64 { return took[int(float64(calls)*share)] }
	return json.NewEncoder(os.Stdout).Encode(result{calls, at(.1), at(.5), at(.9), at(.99), float64(calls) / elapsed.Seconds()})
}

func main() {
	arguments := os.Args[1:]
	var err error
	switch {
	case len(arguments) == 2 && arguments[0] == "serve":
		err = serve(arguments[1])
	case len(arguments) == 6 && arguments[0] == "load":
		var numbers [3]int
		for i := range numbers {
			if numbers[i], err = strconv.Atoi(arguments[3+i]); err != nil {
				log.Fatal(err)
			}
		}
		err = load(arguments[1], arguments[2], numbers[0], numbers[1], numbers[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: gobench serve PATH | load PATH METHOD STREAMS CALLS WARMUP")
		os.Exit(2)
	}
	if err != nil {
		log.Fatal(err)
	}
}
