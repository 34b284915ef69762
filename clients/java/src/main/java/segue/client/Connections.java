package segue.client;

import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.SecurityLevel;
import io.grpc.ServiceDescriptor;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executor;
import segue.v1.AdminServiceGrpc;
import segue.v1.CollectionServiceGrpc;
import segue.v1.ExclusionServiceGrpc;
import segue.v1.ImportServiceGrpc;
import segue.v1.ItemServiceGrpc;
import segue.v1.ProfileServiceGrpc;
import segue.v1.ReleaseServiceGrpc;
import segue.v1.RetrievalServiceGrpc;

/**
 * Channels to Segue servers, and what every call on them has in common.
 *
 * <p>A channel is safe for concurrent use, costs a connection and some threads, and is made once in a process.
 */
public final class Connections {
  /** What a server sends at most by default. */
  private static final int MAX_RECEIVE_BYTES = 32 << 20;

  private Connections() {}

  /**
   * A channel to a server on this machine, in plaintext.
   *
   * @param target HOST:PORT
   */
  public static ManagedChannel plaintext(String target) {
    return channel(target, InsecureChannelCredentials.create());
  }

  /**
   * An encrypted channel.
   *
   * @param target HOST:PORT, or dns:///NAME:PORT for all addresses of a name, which take turns
   * @param authorities certificates to trust, PEM; null for those of the Java runtime
   * @throws IOException if the file cannot be read
   */
  public static ManagedChannel tls(String target, File authorities) throws IOException {
    TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder();
    if (authorities != null) {
      credentials.trustManager(authorities);
    }
    return channel(target, credentials.build());
  }

  static ManagedChannel channel(String target, ChannelCredentials credentials) {
    return Grpc.newChannelBuilder(target, credentials)
        .defaultServiceConfig(serviceConfig())
        .enableRetry()
        .maxInboundMessageSize(MAX_RECEIVE_BYTES)
        .build();
  }

  /**
   * The policy of a channel: addresses take turns, but for those whose servers say that they do not serve where grpc-services is on the
   * class path. A call that the API declares idempotent or free of side effects is made again, up to five times over about four
   * seconds, while the server is UNAVAILABLE, unless 500 calls failed beyond a tenth of those that did not. No other call is repeated:
   * a lost answer must not turn into a wrong one.
   */
  static Map<String, Object> serviceConfig() {
    List<Map<String, Object>> names = new ArrayList<>();
    for (ServiceDescriptor service : services()) {
      for (MethodDescriptor<?, ?> method : service.getMethods()) {
        boolean unary = method.getType() == MethodDescriptor.MethodType.UNARY;
        if (unary && (method.isIdempotent() || method.isSafe())) {
          names.add(Map.of("service", service.getName(), "method", method.getBareMethodName()));
        }
      }
    }
    Map<String, Object> retry =
        Map.of(
            "maxAttempts", 5.0,
            "initialBackoff", "0.1s",
            "maxBackoff", "2s",
            "backoffMultiplier", 3.0,
            "retryableStatusCodes", List.of("UNAVAILABLE"));
    return Map.of(
        "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
        "healthCheckConfig", Map.of("serviceName", RetrievalServiceGrpc.SERVICE_NAME),
        "retryThrottling", Map.of("maxTokens", 1000.0, "tokenRatio", 0.1),
        "methodConfig", List.of(Map.of("name", names, "retryPolicy", retry)));
  }

  private static List<ServiceDescriptor> services() {
    return List.of(
        RetrievalServiceGrpc.getServiceDescriptor(),
        ItemServiceGrpc.getServiceDescriptor(),
        ProfileServiceGrpc.getServiceDescriptor(),
        ExclusionServiceGrpc.getServiceDescriptor(),
        CollectionServiceGrpc.getServiceDescriptor(),
        ImportServiceGrpc.getServiceDescriptor(),
        ReleaseServiceGrpc.getServiceDescriptor(),
        AdminServiceGrpc.getServiceDescriptor());
  }

  /**
   * Credentials of a caller, for {@code stub.withCallCredentials}. They fail calls on a connection to another machine that is
   * not encrypted, so that the token is never there for others to read.
   */
  public static CallCredentials token(String token) {
    return new Bearer(token);
  }

  private static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> HEADER =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final String token;

    Bearer(String token) {
      this.token = token;
    }

    @Override
    public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
      SocketAddress peer = info.getTransportAttrs().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR);
      boolean local = peer instanceof InetSocketAddress && ((InetSocketAddress) peer).getAddress().isLoopbackAddress();
      if (!local && info.getSecurityLevel() != SecurityLevel.PRIVACY_AND_INTEGRITY) {
        applier.fail(Status.UNAUTHENTICATED.withDescription("a token goes to another machine over TLS only"));
        return;
      }
      Metadata headers = new Metadata();
      headers.put(HEADER, "Bearer " + token);
      applier.apply(headers);
    }

    @Override
    public void thisUsesUnstableApi() {}
  }
}
