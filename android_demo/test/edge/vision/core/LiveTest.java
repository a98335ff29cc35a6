package edge.vision.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import org.junit.Test;

/** Live sound gives the tensor that the same seconds give as a clip; and percentiles by hand. */
public final class LiveTest {
    private static final String CARD = "{\"model\": \"m\", \"outputs\": [{\"name\": \"a\", \"shape\": [1, 2]}], \"input\": "
            + "{\"shape\": [1, 3, 20, 24], \"kind\": \"audio\", \"audio\": {\"sample_rate\": 8000, \"fmax\": 4000, "
            + "\"seconds\": 1.01, \"n_fft\": 512, \"hop\": 128, \"mels\": 20}}}";

    @Test
    public void framesThatAreKeptEqualFramesThatAreMade() {
        Card card = Card.fromJson(CARD);
        SoundPreprocessor live = new SoundPreprocessor(card.input);
        SoundPreprocessor clip = new SoundPreprocessor(card.input);
        float[] sound = noise(4 * live.length());
        live.next(Arrays.copyOf(sound, live.length()), Integer.MAX_VALUE);
        int start = 0;
        for (int hops : new int[] {1, 3, 0, 20, 55, 2}) {
            start += hops * 128;
            float[] window = Arrays.copyOfRange(sound, start, start + live.length());
            live.next(window, hops);
            clip.prepare(new Sound(window, 8000));
            assertArrayEquals(clip.tensor(), live.tensor(), 1e-6f);
        }
    }

    @Test
    public void aMicrophoneAtAnotherRateGivesTheClipsSamples() {
        Card card = Card.fromJson(CARD);
        float[] sound = noise(40_000);
        float[] wanted = new Resampler(11025, 8000).resample(sound);
        LiveSound live = new LiveSound(card.input.audio, 8000, 11025);
        int hops = 0;
        for (int at = 0; at < sound.length; at += 1000) {
            live.add(Arrays.copyOfRange(sound, at, at + 1000), 1000);
            hops += live.takeHops();
        }
        int end = hops * 128;
        assertTrue(end > 20_000);
        assertArrayEquals(Arrays.copyOfRange(wanted, end - 8000, end), live.window(), 1e-6f);
    }

    @Test
    public void percentilesAreByNearestRank() {
        Timings timings = new Timings(10);
        for (int i = 1; i <= 13; i++) {
            timings.add(i); // 4..13 are kept
        }
        assertEquals(8, timings.percentile(0.5), 0);
        assertEquals(12, timings.percentile(0.9), 0);
        assertEquals(10, timings.size());
    }

    @Test
    public void theBeginningOfALongWavIsReadFromItsFirstBytes() {
        byte[] file = wav(1000);
        assertEquals(1000, WavReader.read(file).samples.length);
        byte[] start = Arrays.copyOf(file, 44 + 2 * 600);
        assertEquals(250, WavReader.beginning(start, true, 0.25).samples.length); // 1000 Hz
        assertEquals(600, WavReader.beginning(start, true, 10).samples.length);
        assertEquals(WavReader.read(file).samples[249], WavReader.beginning(start, true, 0.25).samples[249], 0);
        assertThrows(Refusal.class, () -> WavReader.beginning(start, false, 0.25)); // a whole file that lacks its end
    }

    /** 16 bits, mono, 1000 Hz. */
    private static byte[] wav(int samples) {
        ByteBuffer file = ByteBuffer.allocate(44 + 2 * samples).order(ByteOrder.LITTLE_ENDIAN);
        file.put("RIFF".getBytes(StandardCharsets.US_ASCII)).putInt(36 + 2 * samples);
        file.put("WAVEfmt ".getBytes(StandardCharsets.US_ASCII)).putInt(16).putShort((short) 1).putShort((short) 1);
        file.putInt(1000).putInt(2000).putShort((short) 2).putShort((short) 16);
        file.put("data".getBytes(StandardCharsets.US_ASCII)).putInt(2 * samples);
        for (int i = 0; i < samples; i++) {
            file.putShort((short) (17 * i));
        }
        return file.array();
    }

    private static float[] noise(int count) {
        Random random = new Random(4);
        float[] samples = new float[count];
        for (int i = 0; i < count; i++) {
            samples[i] = (float) random.nextGaussian() / 8;
        }
        return samples;
    }
}
