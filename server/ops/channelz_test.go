package ops

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc"
	channelzpb "google.golang.org/grpc/channelz/grpc_channelz_v1"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// TestChannelz: the second listener tells of the connections of a gRPC server in this process, to this machine only.
func TestChannelz(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := Handler(NewMetrics(), func() error { return nil })
	s := Serve(lis, h, slog.New(slog.DiscardHandler))
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	dial := func(addr string) *grpc.ClientConn {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}

	// A server that has answered three calls.
	watched, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- g.Serve(watched) }()
	defer func() { g.Stop(); <-served }()
	caller := dial(watched.Addr().String())
	defer caller.Close()
	for range 3 {
		if _, err := healthpb.NewHealthClient(caller).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}

	conn := dial(s.Addr())
	defer conn.Close()
	answer, err := channelzpb.NewChannelzClient(conn).GetServers(t.Context(), &channelzpb.GetServersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, server := range answer.GetServer() {
		found = found || server.GetData().GetCallsSucceeded() == 3
	}
	if !found {
		t.Errorf("no server with three calls: %v", answer)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	if listed, err := stream.Recv(); err != nil || len(listed.GetListServicesResponse().GetService()) == 0 {
		t.Errorf("reflection: %v, %v", listed, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}

	for _, path := range []string{"/grpc.channelz.v1.Channelz/GetServers", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		r.RemoteAddr = "192.0.2.1:1234"
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("%s from elsewhere: %d", path, w.Code)
		}
	}
}
