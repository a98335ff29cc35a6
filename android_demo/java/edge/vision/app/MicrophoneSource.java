package edge.vision.app;

import android.annotation.SuppressLint;
import android.media.AudioFormat;
import android.media.AudioRecord;
import android.media.MediaRecorder;

/** Samples of the microphone, block by block, on a thread of its own. */
final class MicrophoneSource implements AutoCloseable {
    static final int RATE = 44100; // the one rate that every device has
    private static final int BLOCK = RATE / 10;

    /** Who gets the samples. */
    interface Listener {
        void onSamples(float[] samples);

        void onMicrophoneError(String why);
    }

    private final Listener listener;
    private volatile boolean closed;

    MicrophoneSource(Listener listener) {
        this.listener = listener;
    }

    /** Starts listening; the permission must have been granted. */
    void open() {
        new Thread(this::listen, "microphone").start();
    }

    @Override
    public void close() {
        closed = true;
    }

    @SuppressLint("MissingPermission")
    private void listen() {
        int least = AudioRecord.getMinBufferSize(RATE, AudioFormat.CHANNEL_IN_MONO, AudioFormat.ENCODING_PCM_16BIT);
        if (least <= 0) {
            listener.onMicrophoneError("this device has no microphone");
            return;
        }
        AudioRecord record = null;
        try {
            record = new AudioRecord(
                    MediaRecorder.AudioSource.MIC, RATE, AudioFormat.CHANNEL_IN_MONO, AudioFormat.ENCODING_PCM_16BIT,
                    Math.max(least, 8 * BLOCK));
            record.startRecording();
            short[] block = new short[BLOCK];
            while (!closed) {
                int count = record.read(block, 0, block.length);
                if (count < 0) {
                    listener.onMicrophoneError("the microphone failed with error " + count);
                    return;
                }
                float[] samples = new float[count];
                for (int i = 0; i < count; i++) {
                    samples[i] = block[i] / 32768f;
                }
                listener.onSamples(samples);
            }
        } catch (RuntimeException failure) {
            listener.onMicrophoneError(Runner.why(failure));
        } finally {
            if (record != null) {
                record.release();
            }
        }
    }
}
