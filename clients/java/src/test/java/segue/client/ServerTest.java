package segue.client;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import io.grpc.Attributes;
import io.grpc.CallCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import segue.client.StatusOuterClass.BadRequest;
import segue.v1.BatchUpsertItemsRequest;
import segue.v1.Collection;
import segue.v1.CollectionServiceGrpc;
import segue.v1.CreateCollectionRequest;
import segue.v1.DeleteCollectionRequest;
import segue.v1.GetItemRequest;
import segue.v1.Item;
import segue.v1.ItemServiceGrpc;
import segue.v1.ListCollectionsRequest;
import segue.v1.Metric;
import segue.v1.NearestNeighborsRequest;
import segue.v1.NearestNeighborsResponse;
import segue.v1.Query;
import segue.v1.RetrievalServiceGrpc;
import segue.v1.UpsertItemRequest;

/** Against a server with an access file. Where it listens, and the files of the tokens, are system properties; see clients/java/test. */
public class ServerTest {
  private static final int DIMENSION = 16;
  private static final int ITEMS = 300;

  private ManagedChannel channel;
  private final String name = "test-" + System.nanoTime();

  @Before
  public void connect() {
    channel = Connections.plaintext(System.getProperty("segue.target"));
    collections()
        .createCollection(
            CreateCollectionRequest.newBuilder()
                .setCollection(Collection.newBuilder().setName(name).setDimension(DIMENSION).setMetric(Metric.METRIC_L2))
                .build());
  }

  @After
  public void disconnect() throws InterruptedException {
    collections().deleteCollection(DeleteCollectionRequest.newBuilder().setName(name).build());
    channel.shutdownNow();
    assertTrue(channel.awaitTermination(10, TimeUnit.SECONDS));
  }

  private static String token(String property) {
    try {
      return new String(Files.readAllBytes(Paths.get(System.getProperty(property)))).trim();
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private CollectionServiceGrpc.CollectionServiceBlockingStub collections() {
    return CollectionServiceGrpc.newBlockingStub(channel).withCallCredentials(Connections.token(token("segue.admin")));
  }

  private ItemServiceGrpc.ItemServiceBlockingStub items(String role) {
    return ItemServiceGrpc.newBlockingStub(channel).withCallCredentials(Connections.token(token(role)));
  }

  private RetrievalServiceGrpc.RetrievalServiceBlockingStub retrieval() {
    return RetrievalServiceGrpc.newBlockingStub(channel).withCallCredentials(Connections.token(token("segue.reader")));
  }

  private UpsertItemRequest upsert(String id, float... vector) {
    return UpsertItemRequest.newBuilder()
        .setCollection(name)
        .setItem(Item.newBuilder().setId(id).setVector(Vectors.of(vector)))
        .build();
  }

  /** Neighbors are those of a scan over the same numbers, in the same order, with the same distances. */
  @Test
  public void neighborsAreTheNearest() {
    Random random = new Random(1);
    float[][] rows = new float[ITEMS][DIMENSION];
    BatchUpsertItemsRequest.Builder batch = BatchUpsertItemsRequest.newBuilder().setCollection(name);
    for (int i = 0; i < ITEMS; i++) {
      for (int d = 0; d < DIMENSION; d++) {
        rows[i][d] = random.nextFloat();
      }
      batch.addItems(Item.newBuilder().setId("i" + i).setVector(Vectors.of(rows[i])));
    }
    long revision = items("segue.admin").batchUpsertItems(batch.build()).getRevision();
    float[] query = new float[DIMENSION];
    NearestNeighborsResponse answer =
        retrieval()
            .withDeadlineAfter(10, TimeUnit.SECONDS)
            .nearestNeighbors(
                NearestNeighborsRequest.newBuilder()
                    .setCollection(name)
                    .setQuery(Query.newBuilder().setVector(Vectors.of(query)))
                    .setNeighborCount(10)
                    .setIncludeVectors(true)
                    .setMinRevision(revision)
                    .build());
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < ITEMS; i++) {
      order.add(i);
    }
    order.sort((a, b) -> Double.compare(squares(rows[a]), squares(rows[b])));
    assertEquals(10, answer.getNeighborsCount());
    for (int k = 0; k < 10; k++) {
      assertEquals("i" + order.get(k), answer.getNeighbors(k).getItemId());
      assertArrayEquals(rows[order.get(k)], Vectors.values(answer.getNeighbors(k).getVector()), 0);
    }
  }

  private static double squares(float[] row) {
    double sum = 0;
    for (float v : row) {
      sum += (double) v * v;
    }
    return sum;
  }

  /** An error names its reason, and the field and the rule that it is about. */
  @Test
  public void errorsSayWhy() {
    StatusRuntimeException e = assertThrows(StatusRuntimeException.class, () -> items("segue.admin").upsertItem(upsert("a", 1, 2, 3)));
    SegueError error = SegueError.of(e);
    assertEquals(Status.Code.INVALID_ARGUMENT, error.code());
    assertEquals("DIMENSION_MISMATCH", error.reason());
    assertEquals(1, error.violations().size());
    BadRequest.FieldViolation v = error.violations().get(0);
    assertEquals("item.vector", v.getField());
    assertTrue(error.toString(), error.toString().contains("item.vector") && error.toString().contains("16"));

    e =
        assertThrows(
            StatusRuntimeException.class,
            () -> items("segue.reader").getItem(GetItemRequest.newBuilder().setCollection(name).setItemId("nobody").build()));
    assertEquals("ITEM_NOT_FOUND", SegueError.of(e).reason());
    assertEquals(Status.Code.NOT_FOUND, SegueError.of(e).code());
    assertEquals("", SegueError.of(Status.CANCELLED.asRuntimeException()).reason());
  }

  /** Who has no token, a wrong one, or one for less, is not served. */
  @Test
  public void strangersAreRefused() {
    StatusRuntimeException e =
        assertThrows(
            StatusRuntimeException.class,
            () -> CollectionServiceGrpc.newBlockingStub(channel).listCollections(ListCollectionsRequest.getDefaultInstance()));
    assertEquals(Status.Code.UNAUTHENTICATED, SegueError.of(e).code());
    e =
        assertThrows(
            StatusRuntimeException.class,
            () ->
                CollectionServiceGrpc.newBlockingStub(channel)
                    .withCallCredentials(Connections.token("wrong"))
                    .listCollections(ListCollectionsRequest.getDefaultInstance()));
    assertEquals(Status.Code.UNAUTHENTICATED, SegueError.of(e).code());
    e = assertThrows(StatusRuntimeException.class, () -> items("segue.reader").upsertItem(upsert("a", new float[DIMENSION])));
    assertEquals(Status.Code.PERMISSION_DENIED, SegueError.of(e).code());
  }

  /** A token is sent over TLS, or where it cannot leave this machine, and nowhere else. */
  @Test
  public void tokensNeedTLS() throws UnknownHostException {
    InetAddress here = InetAddress.getByAddress(new byte[] {127, 0, 0, 1});
    InetAddress there = InetAddress.getByAddress(new byte[] {(byte) 192, 0, 2, 1});
    assertEquals("Bearer secret", sent(here, SecurityLevel.NONE));
    assertEquals("Bearer secret", sent(there, SecurityLevel.PRIVACY_AND_INTEGRITY));
    assertEquals("UNAUTHENTICATED", sent(there, SecurityLevel.NONE));
    assertEquals("UNAUTHENTICATED", sent(there, SecurityLevel.INTEGRITY));
  }

  /** The header that a call to peer would have, or the code that it fails with. */
  private static String sent(InetAddress peer, SecurityLevel level) {
    AtomicReference<String> out = new AtomicReference<>();
    CallCredentials.RequestInfo call =
        new CallCredentials.RequestInfo() {
          @Override
          public MethodDescriptor<?, ?> getMethodDescriptor() {
            return RetrievalServiceGrpc.getNearestNeighborsMethod();
          }

          @Override
          public SecurityLevel getSecurityLevel() {
            return level;
          }

          @Override
          public String getAuthority() {
            return "segue";
          }

          @Override
          public Attributes getTransportAttrs() {
            return Attributes.newBuilder().set(Grpc.TRANSPORT_ATTR_REMOTE_ADDR, new InetSocketAddress(peer, 7070)).build();
          }
        };
    Connections.token("secret")
        .applyRequestMetadata(
            call,
            Runnable::run,
            new CallCredentials.MetadataApplier() {
              @Override
              public void apply(Metadata headers) {
                out.set(headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)));
              }

              @Override
              public void fail(Status status) {
                out.set(status.getCode().name());
              }
            });
    return out.get();
  }

  /** What is repeated: reads and idempotent writes, not the making of collections, and no streams. */
  @Test
  public void retriesAreThoseOfTheAPI() {
    List<?> methods = (List<?>) Connections.serviceConfig().get("methodConfig");
    List<?> names = (List<?>) ((Map<?, ?>) methods.get(0)).get("name");
    assertTrue(names.contains(Map.of("service", "segue.v1.RetrievalService", "method", "NearestNeighbors")));
    assertTrue(names.contains(Map.of("service", "segue.v1.ItemService", "method", "UpsertItem")));
    assertTrue(!names.contains(Map.of("service", "segue.v1.CollectionService", "method", "CreateCollection")));
    assertTrue(!names.contains(Map.of("service", "segue.v1.ImportService", "method", "WriteImport")));
    assertTrue(!names.contains(Map.of("service", "segue.v1.RetrievalService", "method", "StreamNearestNeighbors")));
    assertEquals(Map.of("maxTokens", 1000.0, "tokenRatio", 0.1), Connections.serviceConfig().get("retryThrottling"));
  }

  /** The bytes of a vector are those that the API describes, whatever the machine. */
  @Test
  public void vectorsAreLittleEndian() {
    byte[] bytes = Vectors.of(1f, -2f).getFloat32Le().toByteArray();
    assertArrayEquals(new byte[] {0, 0, (byte) 0x80, 0x3f, 0, 0, 0, (byte) 0xc0}, bytes);
    assertArrayEquals(new float[] {1f, -2f}, Vectors.values(Vectors.of(1f, -2f)), 0);
  }
}
