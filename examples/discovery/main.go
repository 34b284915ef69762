package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/segue-ann/segue/client"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "discovery:", err)
		os.Exit(1)
	}
}

func run() error {
	segue := flag.String("segue", "127.0.0.1:7070", "Segue server, `HOST:PORT`")
	listen := flag.String("listen", "127.0.0.1:8080", "`HOST:PORT` to listen on")
	collection := flag.String("collection", "tracks", "`NAME` of the collection")
	flag.Parse()
	c, err := client.Dial(*segue, client.Options{UserAgent: "discovery"})
	if err != nil {
		return err
	}
	defer c.Close()

	server := &http.Server{Addr: *listen, Handler: newService(c, *collection), ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(shutdown); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
