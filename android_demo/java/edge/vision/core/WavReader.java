package edge.vision.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Sound from the bytes of a WAV file, as {@code runtime/audio.py} reads it: 8, 16, 24 or 32-bit integers or 32 or 64-bit
 * floats, channels averaged. Lengths are checked against the file, not believed.
 */
public final class WavReader {
    private static final int PCM = 1;
    private static final int FLOAT = 3;
    private static final int EXTENSIBLE = 0xFFFE;
    private static final long STREAMED = 0xFFFFFFFFL; // of a WAV that was written to a pipe: what is there counts

    private WavReader() {}

    /** Returns whether a file begins as WAV files do. */
    public static boolean isWav(byte[] file) {
        return file.length >= 12 && starts(file, 0, "RIFF") && starts(file, 8, "WAVE");
    }

    /** Returns the samples of a file. */
    public static Sound read(byte[] file) {
        return beginning(file, false, Double.POSITIVE_INFINITY);
    }

    /**
     * Returns the first seconds of a file.
     *
     * @param file from its first byte on
     * @param cut whether the file goes on behind these bytes: then samples may be missing, and less is returned
     * @param seconds what is used of it, at most
     */
    public static Sound beginning(byte[] file, boolean cut, double seconds) {
        if (!isWav(file)) {
            throw new Refusal("this is no WAV file");
        }
        ByteBuffer data = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        int format = -1;
        long at = 12;
        while (at + 8 <= file.length) {
            int start = (int) at + 8;
            long length = data.getInt((int) at + 4) & 0xFFFFFFFFL;
            if (starts(file, (int) at, "data")) {
                if (format < 0) {
                    throw new Refusal("the WAV file has its data before its format");
                }
                return samples(data, format, start, cut && length > file.length - start ? STREAMED : length, seconds);
            }
            if (starts(file, (int) at, "fmt ")) {
                if (Math.min(length, file.length - start) < 16) {
                    throw new Refusal("the WAV file has a short format chunk");
                }
                format = start;
            }
            at = start + length + length % 2; // chunks are padded to even lengths
        }
        throw new Refusal("the WAV file is cut short: it has no samples");
    }

    private static Sound samples(ByteBuffer data, int format, int start, long declared, double seconds) {
        int tag = data.getShort(format) & 0xFFFF;
        int channels = data.getShort(format + 2) & 0xFFFF;
        int rate = data.getInt(format + 4);
        int frameBytes = data.getShort(format + 12) & 0xFFFF;
        int bits = data.getShort(format + 14) & 0xFFFF;
        if (tag == EXTENSIBLE) {
            if (format + 26 > data.limit()) {
                throw new Refusal("the WAV file has a sub-format that is not known");
            }
            tag = data.getShort(format + 24) & 0xFFFF;
        }
        boolean known = tag == PCM && (bits == 8 || bits == 16 || bits == 24 || bits == 32)
                || tag == FLOAT && (bits == 32 || bits == 64);
        if (!known || channels < 1 || channels > 64 || rate < 1 || frameBytes != channels * bits / 8) {
            throw new Refusal("the WAV file has an encoding that is not read", "PCM or float",
                    "format " + tag + ", " + channels + " channels, " + bits + " bits, " + rate + " Hz");
        }
        long present = data.limit() - start;
        long length = declared == STREAMED ? present - present % frameBytes : declared;
        if (length > present || length % frameBytes != 0 || length == 0) {
            throw new Refusal("the WAV file is cut short", length + " bytes of samples", present);
        }
        float[] out = new float[(int) Math.min(length / frameBytes, Math.ceil(seconds * rate))];
        for (int i = 0; i < out.length; i++) {
            double sum = 0;
            for (int channel = 0; channel < channels; channel++) {
                sum += sample(data, start + i * frameBytes + channel * bits / 8, tag, bits);
            }
            out[i] = (float) (sum / channels);
        }
        if (Decoders.nonfinite(out) > 0) {
            throw new Refusal("the WAV file has samples that are not finite");
        }
        return new Sound(out, rate);
    }

    private static double sample(ByteBuffer data, int at, int tag, int bits) {
        if (tag == FLOAT) {
            return bits == 32 ? data.getFloat(at) : data.getDouble(at);
        }
        switch (bits) {
            case 8: // the one unsigned width
                return ((data.get(at) & 255) - 128) / 128.0;
            case 16:
                return data.getShort(at) / 32768.0;
            case 24:
                return ((data.get(at) & 255) | (data.get(at + 1) & 255) << 8 | data.get(at + 2) << 16) / 8388608.0;
            default:
                return data.getInt(at) / 2147483648.0;
        }
    }

    private static boolean starts(byte[] file, int at, String label) {
        for (int i = 0; i < 4; i++) {
            if (file[at + i] != label.charAt(i)) {
                return false;
            }
        }
        return true;
    }
}
