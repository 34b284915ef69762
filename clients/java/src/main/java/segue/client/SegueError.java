package segue.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.List;
import segue.client.StatusOuterClass.BadRequest;
import segue.client.StatusOuterClass.ErrorInfo;

/** What a server says about a call that failed. */
public final class SegueError {
  private static final String DOMAIN = "segue.v1";
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private final Status.Code code;
  private final String reason;
  private final List<BadRequest.FieldViolation> violations;

  private SegueError(Status.Code code, String reason, List<BadRequest.FieldViolation> violations) {
    this.code = code;
    this.reason = reason;
    this.violations = violations;
  }

  /** Reads the exception of a stub. An answer that does not come from a Segue server has a code and nothing else. */
  public static SegueError of(Throwable failure) {
    String reason = "";
    List<BadRequest.FieldViolation> violations = List.of();
    Metadata trailers = Status.trailersFromThrowable(failure);
    byte[] details = trailers == null ? null : trailers.get(DETAILS);
    try {
      for (Any detail : StatusOuterClass.Status.parseFrom(details == null ? new byte[0] : details).getDetailsList()) {
        if (detail.getTypeUrl().endsWith("/google.rpc.ErrorInfo")) {
          ErrorInfo info = ErrorInfo.parseFrom(detail.getValue());
          reason = info.getDomain().equals(DOMAIN) ? info.getReason() : "";
        } else if (detail.getTypeUrl().endsWith("/google.rpc.BadRequest")) {
          violations = BadRequest.parseFrom(detail.getValue()).getFieldViolationsList();
        }
      }
    } catch (InvalidProtocolBufferException e) {
      // Details that cannot be read explain nothing; the code stands.
    }
    return new SegueError(Status.fromThrowable(failure).getCode(), reason, violations);
  }

  public Status.Code code() {
    return code;
  }

  /** One of the names in segue/v1/error.proto, such as DIMENSION_MISMATCH; empty where the server gave none. */
  public String reason() {
    return reason;
  }

  /** The fields of the request that broke a rule, each with its own reason and the rule in words. */
  public List<BadRequest.FieldViolation> violations() {
    return violations;
  }

  @Override
  public String toString() {
    StringBuilder out = new StringBuilder(code.name()).append(' ').append(reason);
    for (BadRequest.FieldViolation v : violations) {
      out.append("; ").append(v.getField()).append(": ").append(v.getDescription());
    }
    return out.toString();
  }
}
