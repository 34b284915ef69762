package segue.client;

import com.google.protobuf.FieldMask;
import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import segue.v1.AttributeSpec;
import segue.v1.AttributeType;
import segue.v1.AttributeValue;
import segue.v1.BatchUpsertItemsRequest;
import segue.v1.Collection;
import segue.v1.CollectionServiceGrpc;
import segue.v1.CreateCollectionRequest;
import segue.v1.DeleteCollectionRequest;
import segue.v1.Item;
import segue.v1.ItemServiceGrpc;
import segue.v1.Keywords;
import segue.v1.Metric;
import segue.v1.NearestNeighborsRequest;
import segue.v1.NearestNeighborsResponse;
import segue.v1.Neighbor;
import segue.v1.Query;
import segue.v1.RetrievalServiceGrpc;

/**
 * A tour: a collection of songs is made, filled, asked, and deleted. Takes HOST:PORT of a server on this machine; or HOST:PORT, the file
 * of an authority's certificate, and the file of a token, of a server anywhere.
 */
public final class Example {
  private static final int DIMENSION = 64;
  private static final int SONGS = 2_000;
  private static final int BATCH = 500;

  private Example() {}

  public static void main(String[] args) throws IOException, InterruptedException {
    String target = args.length > 0 ? args[0] : "127.0.0.1:7070";
    boolean secure = args.length == 3;
    ManagedChannel channel = secure ? Connections.tls(target, new File(args[1])) : Connections.plaintext(target);
    try {
      // Every stub that is made of this channel sends the token.
      run(secure ? ClientInterceptors.intercept(channel, token(new File(args[2]))) : channel);
    } catch (StatusRuntimeException e) {
      System.err.println(SegueError.of(e));
      System.exit(1);
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static ClientInterceptor token(File file) throws IOException {
    CallCredentials credentials = Connections.token(Files.readString(file.toPath()).trim());
    return new ClientInterceptor() {
      @Override
      public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
        return next.newCall(method, options.withCallCredentials(credentials));
      }
    };
  }

  private static void run(Channel channel) {
    CollectionServiceGrpc.CollectionServiceBlockingStub collections = CollectionServiceGrpc.newBlockingStub(channel);
    collections.createCollection(
        CreateCollectionRequest.newBuilder()
            .setCollection(
                Collection.newBuilder()
                    .setName("java-songs")
                    .setDimension(DIMENSION)
                    .setMetric(Metric.METRIC_COSINE)
                    .addAttributes(AttributeSpec.newBuilder().setName("artist").setType(AttributeType.ATTRIBUTE_TYPE_KEYWORD))
                    .addAttributes(AttributeSpec.newBuilder().setName("year").setType(AttributeType.ATTRIBUTE_TYPE_INT)))
            .build());
    try {
      long revision = fill(channel);
      ask(channel, revision);
    } finally {
      collections.deleteCollection(DeleteCollectionRequest.newBuilder().setName("java-songs").build());
    }
  }

  /** Writes the songs in batches. A batch is durable and visible when the call returns. */
  private static long fill(Channel channel) {
    ItemServiceGrpc.ItemServiceBlockingStub items = ItemServiceGrpc.newBlockingStub(channel);
    Random random = new Random(1);
    long revision = 0;
    for (int first = 0; first < SONGS; first += BATCH) {
      BatchUpsertItemsRequest.Builder batch = BatchUpsertItemsRequest.newBuilder().setCollection("java-songs");
      for (int i = first; i < first + BATCH; i++) {
        float[] vector = new float[DIMENSION];
        for (int d = 0; d < DIMENSION; d++) {
          vector[d] = (float) random.nextGaussian();
        }
        batch.addItems(
            Item.newBuilder()
                .setId("song-" + i)
                .setVector(Vectors.of(vector))
                .putAttributes("artist", keyword("artist-" + i % 100))
                .putAttributes("year", AttributeValue.newBuilder().setIntValue(1950 + i % 70).build()));
      }
      revision = items.withDeadlineAfter(30, TimeUnit.SECONDS).batchUpsertItems(batch.build()).getRevision();
    }
    return revision;
  }

  private static AttributeValue keyword(String value) {
    return AttributeValue.newBuilder().setKeywords(Keywords.newBuilder().addValues(value)).build();
  }

  /** "More like this, from the seventies", within 200 ms, or as much as was found by then. */
  private static void ask(Channel channel, long revision) {
    NearestNeighborsResponse answer =
        RetrievalServiceGrpc.newBlockingStub(channel)
            .withDeadlineAfter(200, TimeUnit.MILLISECONDS)
            .nearestNeighbors(
                NearestNeighborsRequest.newBuilder()
                    .setCollection("java-songs")
                    .setQuery(Query.newBuilder().setItemId("song-7"))
                    .setNeighborCount(5)
                    .setFilterExpression("year >= 1970 AND year < 1980")
                    .setReadMask(FieldMask.newBuilder().addPaths("attributes.artist").addPaths("attributes.year"))
                    .setAllowPartial(true)
                    .setMinRevision(revision) // sees what was just written, by this server
                    .build());
    for (Neighbor n : answer.getNeighborsList()) {
      System.out.printf(
          "%-10s %.4f  %s, %d%n",
          n.getItemId(),
          n.getScore(),
          n.getAttributesOrThrow("artist").getKeywords().getValues(0),
          n.getAttributesOrThrow("year").getIntValue());
    }
    System.out.printf("%d distances, %s%n", answer.getSearchInfo().getDistanceCount(), answer.getSearchInfo().getPlan());
  }
}
