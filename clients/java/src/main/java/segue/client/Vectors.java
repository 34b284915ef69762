package segue.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.UnsafeByteOperations;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import segue.v1.Vector;

/** Embeddings as the wire has them. */
public final class Vectors {
  private Vectors() {}

  /**
   * The vector in the encoding that costs the server least: 4 bytes a number, little-endian. One copy is made; {@code values}
   * stays the caller's.
   */
  public static Vector of(float... values) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values);
    // The buffer is nobody else's, so it need not be copied again.
    return Vector.newBuilder().setFloat32Le(UnsafeByteOperations.unsafeWrap(bytes)).build();
  }

  /** The numbers of a vector that came from a server or from {@link #of}. */
  public static float[] values(Vector vector) {
    if (vector.hasFloats()) {
      float[] out = new float[vector.getFloats().getValuesCount()];
      for (int i = 0; i < out.length; i++) {
        out[i] = vector.getFloats().getValues(i);
      }
      return out;
    }
    ByteString bytes = vector.getFloat32Le();
    float[] out = new float[bytes.size() / 4];
    bytes.asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(out);
    return out;
  }
}
