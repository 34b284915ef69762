package segue.client;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;

import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettySslContextChannelCredentials;
import java.io.File;
import java.nio.file.Files;
import java.util.concurrent.TimeUnit;
import org.junit.Test;
import segue.v1.CollectionServiceGrpc;
import segue.v1.ListCollectionsRequest;

/**
 * Calls over TLS 1.3. Debian's netty offers it only where it is named, which {@link Connections#tls} leaves to netty; the rest of the
 * channel is that of Connections. Files and addresses are system properties; see clients/java/test.
 */
public class TlsTest {
  private static final String TARGET = System.getProperty("segue.tls");

  /** What a call ends with; OK where it is answered. */
  private static Status.Code call(ManagedChannel channel, String token) throws Exception {
    try {
      CollectionServiceGrpc.CollectionServiceBlockingStub stub =
          CollectionServiceGrpc.newBlockingStub(channel).withDeadlineAfter(1, TimeUnit.MINUTES);
      if (token != null) {
        stub = stub.withCallCredentials(Connections.token(token));
      }
      stub.listCollections(ListCollectionsRequest.getDefaultInstance());
      return Status.Code.OK;
    } catch (StatusRuntimeException e) {
      return e.getStatus().getCode();
    } finally {
      channel.shutdownNow();
      channel.awaitTermination(10, TimeUnit.SECONDS);
    }
  }

  private static ManagedChannel trusting(String property, String... versions) throws Exception {
    return Connections.channel(
        TARGET,
        NettySslContextChannelCredentials.create(
            GrpcSslContexts.forClient()
                .trustManager(new File(System.getProperty(property)))
                .protocols(versions)
                .build()));
  }

  private static String admin() throws Exception {
    return Files.readString(new File(System.getProperty("segue.admin")).toPath()).trim();
  }

  @Test
  public void aTokenIsTakenOverTls() throws Exception {
    assertEquals(Status.Code.OK, call(trusting("segue.authority", "TLSv1.3"), admin()));
    assertEquals(Status.Code.UNAUTHENTICATED, call(trusting("segue.authority", "TLSv1.3"), admin() + "x"));
    assertEquals(Status.Code.UNAUTHENTICATED, call(trusting("segue.authority", "TLSv1.3"), null));
  }

  @Test
  public void anotherAuthorityIsNotTrusted() throws Exception {
    assertEquals(Status.Code.UNAVAILABLE, call(trusting("segue.stranger", "TLSv1.3"), admin()));
  }

  @Test
  public void olderVersionsAndPlaintextAreRefused() throws Exception {
    assertEquals(Status.Code.UNAVAILABLE, call(trusting("segue.authority", "TLSv1.2"), admin()));
    assertEquals(Status.Code.UNAVAILABLE, call(Connections.plaintext(TARGET), admin()));
  }

  @Test
  public void anAuthorityThatIsNoFileIsAnError() {
    assertThrows(java.io.IOException.class, () -> Connections.tls(TARGET, new File("no such file")));
  }
}
