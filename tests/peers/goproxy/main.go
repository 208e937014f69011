// goproxy is a transparent gRPC proxy between two Unix sockets, as one would write it in Go today: any method, messages
// passed on as bytes, metadata both ways. The benchmarks measure podspan-cri against it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// rawCodec leaves messages as they are.
type rawCodec struct{}

// Name would become a suffix of the content type, and CRI-O accepts nothing but a bare "application/grpc".
func (rawCodec) Name() string { return "" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	message, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("cannot marshal a %T", v)
	}
	return *message, nil
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	message, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot unmarshal into a %T", v)
	}
	*message = append((*message)[:0], data...)
	return nil
}

var anyStream = &grpc.StreamDesc{StreamName: "proxy", ServerStreams: true, ClientStreams: true}

// forward carries one call of whatever method to the backend.
func forward(backend *grpc.ClientConn) grpc.StreamHandler {
	return func(_ any, server grpc.ServerStream) error {
		method, ok := grpc.MethodFromServerStream(server)
		if !ok {
			return status.Error(codes.Internal, "no method name")
		}
		ctx, cancel := context.WithCancel(server.Context())
		defer cancel()
		if incoming, ok := metadata.FromIncomingContext(ctx); ok {
			ctx = metadata.NewOutgoingContext(ctx, incoming.Copy())
		}
		client, err := backend.NewStream(ctx, anyStream, method)
		if err != nil {
			return err
		}
		upward := make(chan error, 1)
		go func() {
			err := sendRequests(server, client)
			if err != nil {
				cancel()
			}
			upward <- err
		}()
		err = sendReplies(server, client)
		server.SetTrailer(client.Trailer())
		select {
		case upwardErr := <-upward:
			if upwardErr != nil {
				return upwardErr
			}
		default:
		}
		return err
	}
}

func sendRequests(server grpc.ServerStream, client grpc.ClientStream) error {
	for {
		var message []byte
		if err := server.RecvMsg(&message); err == io.EOF {
			return client.CloseSend()
		} else if err != nil {
			return err
		}
		if err := client.SendMsg(&message); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func sendReplies(server grpc.ServerStream, client grpc.ClientStream) error {
	header, err := client.Header()
	if err != nil {
		return err
	}
	if err := server.SendHeader(header); err != nil {
		return err
	}
	for {
		var message []byte
		if err := client.RecvMsg(&message); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := server.SendMsg(&message); err != nil {
			return err
		}
	}
}

func run(listen, runtime string) error {
	backend, err := grpc.NewClient("unix://"+runtime,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return err
	}
	defer backend.Close()
	if err := os.Remove(listen); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(forward(backend)),
		grpc.MaxRecvMsgSize(math.MaxInt32))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		server.Stop()
	}()
	return server.Serve(listener)
}

func main() {
	listen := flag.String("listen", "", "Unix socket to listen on, an absolute path")
	runtime := flag.String("runtime", "", "Unix socket of the runtime, an absolute path")
	flag.Parse()
	if *listen == "" || *runtime == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*listen, *runtime); err != nil {
		log.Fatal(err)
	}
}
