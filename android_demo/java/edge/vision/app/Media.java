package edge.vision.app;

import android.content.ContentResolver;
import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.media.AudioFormat;
import android.media.ExifInterface;
import android.media.MediaCodec;
import android.media.MediaExtractor;
import android.media.MediaFormat;
import android.net.Uri;
import edge.vision.core.Picture;
import edge.vision.core.Refusal;
import edge.vision.core.Rotation;
import edge.vision.core.Sound;
import edge.vision.core.WavReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteOrder;
import java.nio.ShortBuffer;
import java.util.Arrays;

/** Pictures and sound that the user picks, or that the app brings. */
final class Media {
    private static final int MAX_SIDE = 2048;
    private static final int MOST_READ = 24 << 20; // of a sound file: half a minute of float stereo at 96 kHz
    private static final double SPARE_S = 0.1; // more than the resampler looks ahead
    private static final long WAIT_US = 10_000;
    private static final int MOST_WAITS = 500; // in a row: every model waits for the one thread that this may hold up

    private Media() {}

    /** Returns a picked picture, upright, its longer side halved until it is at most {@code MAX_SIDE}. */
    static Picture picture(Context context, Uri source) throws IOException {
        ContentResolver resolver = context.getContentResolver();
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        try (InputStream in = opened(resolver, source)) {
            BitmapFactory.decodeStream(in, null, options);
        }
        int orientation = ExifInterface.ORIENTATION_NORMAL;
        try (InputStream in = opened(resolver, source)) {
            orientation = new ExifInterface(in).getAttributeInt(ExifInterface.TAG_ORIENTATION, orientation);
        } catch (IOException | RuntimeException noExif) {
            orientation = ExifInterface.ORIENTATION_NORMAL; // a PNG, say
        }
        options.inJustDecodeBounds = false;
        options.inSampleSize = 1;
        while (Math.max(options.outWidth, options.outHeight) / options.inSampleSize > MAX_SIDE) {
            options.inSampleSize *= 2;
        }
        try (InputStream in = opened(resolver, source)) {
            Bitmap bitmap = BitmapFactory.decodeStream(in, null, options);
            Picture picture = pixels(bitmap);
            return Rotation.turned(picture, Rotation.ofExif(orientation), Rotation.mirroredByExif(orientation));
        }
    }

    /** Returns the app's own picture for a family of models, or null where it brings none. */
    static Picture sample(Context context, String family) throws IOException {
        String name = "samples/" + family + ".png";
        if (!Arrays.asList(context.getAssets().list("samples")).contains(family + ".png")) {
            return null;
        }
        try (InputStream in = context.getAssets().open(name)) {
            return pixels(BitmapFactory.decodeStream(in));
        }
    }

    /** Returns the app's own sound. */
    static Sound sampleSound(Context context) throws IOException {
        try (InputStream in = context.getAssets().open("samples/emotion.wav")) {
            return WavReader.read(beginning(in));
        }
    }

    /** Returns the beginning of a picked sound file: WAV by our own reader, others by the platform's decoders. */
    static Sound sound(Context context, Uri source, double seconds) throws IOException {
        byte[] head = new byte[12];
        try (InputStream in = opened(context.getContentResolver(), source)) {
            int count = in.read(head);
            if (count == head.length && WavReader.isWav(head)) {
                try (InputStream whole = opened(context.getContentResolver(), source)) {
                    byte[] start = beginning(whole);
                    return WavReader.beginning(start, start.length == MOST_READ, seconds + SPARE_S);
                }
            }
        }
        MediaExtractor extractor = new MediaExtractor();
        try {
            extractor.setDataSource(context, source, null);
            for (int track = 0; track < extractor.getTrackCount(); track++) {
                MediaFormat format = extractor.getTrackFormat(track);
                String kind = format.getString(MediaFormat.KEY_MIME);
                if (kind != null && kind.startsWith("audio/")) {
                    extractor.selectTrack(track);
                    return decoded(extractor, format, kind, seconds);
                }
            }
            throw new Refusal("the file has no sound");
        } finally {
            extractor.release();
        }
    }

    private static Sound decoded(MediaExtractor extractor, MediaFormat format, String kind, double seconds)
            throws IOException {
        MediaCodec codec = MediaCodec.createDecoderByType(kind);
        try {
            codec.configure(format, null, null, 0);
            codec.start();
            return drained(codec, extractor, format, seconds);
        } finally {
            codec.release();
        }
    }

    private static Sound drained(MediaCodec codec, MediaExtractor extractor, MediaFormat format, double seconds) {
        MediaFormat output = format;
        MediaCodec.BufferInfo info = new MediaCodec.BufferInfo();
        float[] samples = new float[0];
        int filled = 0;
        boolean fed = false;
        int waits = 0;
        while (waits < MOST_WAITS) {
            int into = fed ? -1 : codec.dequeueInputBuffer(WAIT_US);
            if (into >= 0) {
                int count = extractor.readSampleData(codec.getInputBuffer(into), 0);
                fed = count < 0;
                codec.queueInputBuffer(into, 0, Math.max(count, 0), Math.max(extractor.getSampleTime(), 0),
                        fed ? MediaCodec.BUFFER_FLAG_END_OF_STREAM : 0);
                extractor.advance();
            }
            int from = codec.dequeueOutputBuffer(info, WAIT_US);
            waits = into < 0 && from == MediaCodec.INFO_TRY_AGAIN_LATER ? waits + 1 : 0;
            if (from == MediaCodec.INFO_OUTPUT_FORMAT_CHANGED) {
                output = codec.getOutputFormat();
                refuseOtherThanShorts(output);
            } else if (from >= 0) {
                int channels = output.getInteger(MediaFormat.KEY_CHANNEL_COUNT);
                ShortBuffer shorts =
                        codec.getOutputBuffer(from).order(ByteOrder.nativeOrder()).asShortBuffer();
                int frames = shorts.remaining() / channels;
                if (filled + frames > samples.length) {
                    samples = Arrays.copyOf(samples, 2 * (filled + frames));
                }
                for (int i = 0; i < frames; i++) {
                    float sum = 0;
                    for (int channel = 0; channel < channels; channel++) {
                        sum += shorts.get();
                    }
                    samples[filled++] = sum / channels / 32768f;
                }
                codec.releaseOutputBuffer(from, false);
                int rate = output.getInteger(MediaFormat.KEY_SAMPLE_RATE);
                boolean end = (info.flags & MediaCodec.BUFFER_FLAG_END_OF_STREAM) != 0;
                if (end || filled >= (seconds + SPARE_S) * rate) {
                    return new Sound(Arrays.copyOf(samples, filled), rate);
                }
            }
        }
        throw new Refusal("the sound's decoder does not come to an end");
    }

    private static void refuseOtherThanShorts(MediaFormat format) {
        int encoding = format.containsKey(MediaFormat.KEY_PCM_ENCODING)
                ? format.getInteger(MediaFormat.KEY_PCM_ENCODING)
                : AudioFormat.ENCODING_PCM_16BIT;
        if (encoding != AudioFormat.ENCODING_PCM_16BIT) {
            throw new Refusal("the sound's decoder gives samples of another kind", "16-bit integers", "encoding " + encoding);
        }
    }

    private static Picture pixels(Bitmap bitmap) {
        if (bitmap == null) {
            throw new Refusal("this is no picture that Android reads");
        }
        int[] pixels = new int[bitmap.getWidth() * bitmap.getHeight()];
        bitmap.getPixels(pixels, 0, bitmap.getWidth(), 0, 0, bitmap.getWidth(), bitmap.getHeight());
        return new Picture(bitmap.getWidth(), bitmap.getHeight(), pixels);
    }

    private static InputStream opened(ContentResolver resolver, Uri source) throws IOException {
        InputStream in = resolver.openInputStream(source);
        if (in == null) {
            throw new IOException("the file cannot be opened");
        }
        return in;
    }

    private static byte[] beginning(InputStream in) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] block = new byte[1 << 16];
        int count = 0;
        while (count >= 0 && out.size() < MOST_READ) {
            out.write(block, 0, count);
            count = in.read(block, 0, Math.min(block.length, MOST_READ - out.size()));
        }
        return out.toByteArray();
    }
}
