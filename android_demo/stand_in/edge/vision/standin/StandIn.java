package edge.vision.standin;

import edge.vision.core.BenchLoop;
import edge.vision.core.BenchPlace;
import edge.vision.core.BenchPlan;
import edge.vision.core.Card;
import edge.vision.core.Picture;
import edge.vision.core.ProcStatus;
import edge.vision.core.Refusal;
import edge.vision.core.Network;
import edge.vision.core.Sound;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;

/**
 * The app's harness on this machine's JVM, for the stand-in of a phone: what {@code edge.vision.app.Bench} is to Android.
 * It prints what {@code am instrument -w -r} prints. The argument is the plan, each byte in two hexadecimal digits.
 */
public final class StandIn implements BenchPlace {
    private static final int SAMPLE_RATE = 22050;

    private final PrintStream out;
    private final ThreadMXBean clock = ManagementFactory.getThreadMXBean();
    private TfliteNetwork engine;

    private StandIn(PrintStream out) {
        this.out = out;
    }

    /** Runs one plan; the exit status is the harness's own. */
    public static void main(String[] arguments) throws IOException {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        int code = BenchLoop.run(text(arguments[0]), new StandIn(out));
        out.println("INSTRUMENTATION_RESULT: exit_code=" + code);
        out.println("INSTRUMENTATION_CODE: " + (code == BenchLoop.DONE ? -1 : 0));
        System.exit(code);
    }

    @Override
    public ByteBuffer read(BenchPlan.Item item) throws IOException {
        Path path = Paths.get(item.path);
        byte[] hash = digest().digest(Files.readAllBytes(path));
        StringBuilder found = new StringBuilder();
        for (byte value : hash) {
            found.append(String.format("%02x", value));
        }
        if (!found.toString().equals(item.sha256)) {
            throw new Refusal("what the app can read is not what was sent", item.sha256, found);
        }
        try (FileChannel file = FileChannel.open(path)) {
            return file.map(FileChannel.MapMode.READ_ONLY, 0, file.size());
        }
    }

    @Override
    public Network open(ByteBuffer model, Card card, int threads) {
        engine = new TfliteNetwork(model, card, threads);
        return engine;
    }

    @Override
    public Map<String, Object> engine() {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("name", "tflite");
        facts.put("version", TfliteNetwork.version());
        facts.put("threads", engine.threads);
        return facts;
    }

    /** Chance pixels or chance sound: the app's own samples are Android assets. */
    @Override
    public Object sample(Card card) {
        Random random = new Random(1);
        if (card.input.kind.equals("audio")) {
            float[] samples = new float[(int) (card.input.audio.seconds * SAMPLE_RATE)];
            for (int i = 0; i < samples.length; i++) {
                samples[i] = (float) random.nextGaussian() / 10;
            }
            return new Sound(samples, SAMPLE_RATE);
        }
        if (!card.input.kind.equals("image")) {
            return null;
        }
        int[] pixels = new int[640 * 480];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = random.nextInt(1 << 24);
        }
        return new Picture(640, 480, pixels);
    }

    @Override
    public Map<String, Object> environment() {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("cores", Runtime.getRuntime().availableProcessors());
        facts.put("cpus_allowed", ProcStatus.value("Cpus_allowed_list"));
        facts.put("memory_bytes", null);
        return facts;
    }

    @Override
    public long cpuNanos() {
        return engine != null && engine.threads == 1 ? clock.getCurrentThreadCpuTime() : -1;
    }

    @Override
    public int thermalStatus() {
        return -1;
    }

    @Override
    public long peakBytes() {
        return ProcStatus.peakBytes();
    }

    @Override
    public void say(String line) {
        out.println("INSTRUMENTATION_STATUS: edge=" + line);
        out.println("INSTRUMENTATION_STATUS_CODE: 1");
        if (out.checkError()) {
            throw new IllegalStateException("nobody listens any more");
        }
    }

    private static MessageDigest digest() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException never) {
            throw new IllegalStateException(never);
        }
    }

    private static String text(String hex) {
        byte[] bytes = new byte[hex.length() / 2];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
        }
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
