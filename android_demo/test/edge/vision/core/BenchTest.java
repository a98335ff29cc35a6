package edge.vision.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/** What the benchmark's loop says, without TFLite: that path is the stand-in's. */
public final class BenchTest {
    private static final String ITEM = "{\"path\":\"/a\",\"sha256\":\"00\"}";
    private static final String TENSOR = "{\"path\":\"/t\",\"sha256\":\"00\"}";
    private static final String CARD = "{\"model\":\"m\",\"outputs\":[{\"name\":\"a\",\"shape\":[1,2]}],"
            + "\"input\":{\"shape\":[1,3,4,5],\"kind\":\"tensor\"}}";

    private final List<String> lines = new ArrayList<>();

    @Test
    public void aPlanThatIsNoneIsSaidAndEndsAsUsageDoes() {
        for (String plan : new String[] {"", "{}", "[]", plan("\"threads\":0"), plan("\"seconds\":-1"),
                plan("\"seconds\":1e9"), plan("\"schema\":2"), plan("\"else\":1"), plan("\"model\":1")}) {
            lines.clear();

            assertEquals(plan, BenchLoop.REFUSED, BenchLoop.run(plan, place(ByteBuffer.allocate(0))));

            assertEquals(1, lines.size());
            Map<?, ?> event = event(0);
            assertEquals("failed", event.get("event"));
            assertEquals(2L, event.get("exit_code"));
        }
    }

    @Test
    public void aFileThatIsNoModelIsSaidAfterTheStateOfTheMachine() {
        assertEquals(BenchLoop.REFUSED, BenchLoop.run(plan(""), place(ByteBuffer.allocate(16))));

        assertEquals("start", event(0).get("event"));
        Map<?, ?> environment = (Map<?, ?>) event(0).get("environment");
        assertEquals(8L, environment.get("cores"));
        assertTrue(((Number) environment.get("probe_ms")).doubleValue() > 0);
        assertEquals(3L, environment.get("thermal_status"));
        assertTrue(((String) event(1).get("message")).contains("no TFLite model file"));
        assertEquals(2, lines.size());
    }

    @Test
    public void whatABrokenPlaceThrowsIsSaid() {
        assertEquals(BenchLoop.BROKEN, BenchLoop.run(plan(""), place(null)));

        assertEquals(70L, event(1).get("exit_code"));
        assertTrue(((String) event(1).get("message")).contains("IllegalStateException: broken"));
    }

    @Test
    public void aReportGathersSamplesUnderTheirNames() {
        BenchReport report = new BenchReport(Collections.singletonMap("device", "x"));
        report.add("{\"event\":\"loaded\",\"engine\":{\"name\":\"tflite\"},\"load_ms\":1.5,\"first_ms\":2}");
        report.add("{\"event\":\"infer\",\"wall_ms\":[1,3],\"cpu_ms\":[1,2]}");
        report.add("{\"event\":\"infer\",\"wall_ms\":[2],\"cpu_ms\":[2]}");
        report.add("{\"event\":\"frame\",\"pre_ms\":[4],\"infer_ms\":[5],\"decode_ms\":[6]}");

        Map<String, Object> values = report.values(9);

        assertEquals(Arrays.asList(1L, 3L, 2L), values.get("wall_ms"));
        assertEquals(Arrays.asList(6L), values.get("decode_ms"));
        assertEquals(1.5, values.get("load_ms"));
        assertEquals("x", values.get("device"));
        assertEquals(null, report.error());
        assertTrue(report.summary(), report.summary().startsWith("wall_ms: p50 2.00, p90 3.00 of 3"));
        report.add("{\"event\":\"failed\",\"message\":\"error: why\"}");
        assertEquals("error: why", report.error());
    }

    @Test
    public void aReportThatIsHandedOnHasNoMoreSamplesThanAllowedAndSaysHowManyThereWere() {
        BenchReport report = new BenchReport(Collections.<String, Object>emptyMap());
        report.add("{\"event\":\"infer\",\"wall_ms\":[1,3,2],\"cpu_ms\":[1,2,2]}");

        Map<String, Object> values = report.values(2);

        assertEquals(Arrays.asList(1L, 3L), values.get("wall_ms"));
        assertEquals(3, ((Map<?, ?>) values.get("counts")).get("wall_ms"));
        assertEquals(0, ((Map<?, ?>) values.get("counts")).get("pre_ms"));
    }

    @Test
    public void aModelIsMeasuredFromStartToDone() {
        assertEquals(BenchLoop.DONE, BenchLoop.run(plan(""), new Measured("XNNPACK")));

        List<Object> kinds = new ArrayList<>();
        for (int i = 0; i < lines.size(); i++) {
            kinds.add(event(i).get("event"));
        }
        assertEquals(Arrays.asList("start", "loaded", "output", "infer", "done"), kinds);
    }

    @Test
    public void timesOfTwoBackendsAreNotTakenForThoseOfOne() {
        assertEquals(BenchLoop.REFUSED, BenchLoop.run(plan(""), new Measured("NNAPI", "XNNPACK")));

        String why = (String) event(lines.size() - 1).get("message");
        assertTrue(why, why.contains("another backend took over") && why.contains("NNAPI") && why.contains("XNNPACK"));
    }

    private static class Hides {
        int steps() {
            return 3;
        }
    }

    private static final class Heir extends Hides {}

    @Test
    public void aMethodIsFoundInTheClassThatDeclaresIt() throws ReflectiveOperationException {
        assertEquals(3, Declared.method(Heir.class, "steps").invoke(new Heir()));
        assertThrows(NoSuchMethodException.class, () -> Declared.method(Heir.class, "else"));
    }

    private Map<?, ?> event(int number) {
        return (Map<?, ?>) Json.parse(lines.get(number));
    }

    /** Returns a plan with one key changed, or with all as it should be. */
    private static String plan(String change) {
        String whole = "\"schema\":1,\"model\":" + ITEM + ",\"tensor\":" + TENSOR + ",\"threads\":1,\"warmup_s\":0,"
                + "\"seconds\":0,\"runs\":1,\"stages_s\":0,\"stage_runs\":1";
        return "{" + whole + (change.isEmpty() ? "" : "," + change) + "}"; // of two keys of one name the later counts
    }

    private BenchPlace place(ByteBuffer content) {
        return new Place() {
            @Override
            public ByteBuffer read(BenchPlan.Item item) {
                if (content == null) {
                    throw new IllegalStateException("broken");
                }
                return content.order(ByteOrder.LITTLE_ENDIAN);
            }
        };
    }

    private abstract class Place implements BenchPlace {
        @Override
        public Network open(ByteBuffer model, Card card, int threads) {
            throw new AssertionError("no model gets this far");
        }

        @Override
        public Map<String, Object> engine() {
            return Collections.emptyMap();
        }

        @Override
        public Object sample(Card card) {
            return null;
        }

        @Override
        public Map<String, Object> environment() {
            return Collections.singletonMap("cores", 8);
        }

        @Override
        public long cpuNanos() {
            return -1;
        }

        @Override
        public int thermalStatus() {
            return 3;
        }

        @Override
        public long peakBytes() {
            return 0;
        }

        @Override
        public void say(String line) {
            lines.add(line);
        }
    }

    /** A place with a model of two outputs, and an engine that calls itself by one name after the other. */
    private final class Measured extends Place {
        private final String[] backends;
        private int asked;

        Measured(String... backends) {
            this.backends = backends;
        }

        @Override
        public ByteBuffer read(BenchPlan.Item item) {
            return item.path.equals("/t") ? ByteBuffer.allocate(4 * 3 * 4 * 5) : model(CARD);
        }

        @Override
        public Network open(ByteBuffer model, Card card, int threads) {
            return new Network() {
                @Override
                public float[][] run(float[] tensor) {
                    return new float[][] {{1, 2}};
                }

                @Override
                public void close() {}
            };
        }

        @Override
        public Map<String, Object> engine() {
            return Collections.singletonMap("backend_actual", backends[Math.min(asked++, backends.length - 1)]);
        }
    }

    /** Returns a .tflite file with an empty graph and a card, put together by hand. */
    private static ByteBuffer model(String card) {
        byte[] text = card.getBytes(StandardCharsets.UTF_8);
        byte[] name = TfliteCard.KEY.getBytes(StandardCharsets.UTF_8);
        int entries = 88 + (text.length + 3) / 4 * 4;
        ByteBuffer file = ByteBuffer.allocate(entries + 48).order(ByteOrder.LITTLE_ENDIAN);
        file.putInt(28).put("TFL3".getBytes(StandardCharsets.UTF_8));
        shorts(file, 18, 16, 0, 0, 4, 0, 8, 0, 12, 0); // the model's fields: graphs, buffers, metadata
        ints(file, 20, 12, 24, entries - 40);
        ints(file, 1, 8);
        shorts(file, 4, 4); // a graph without fields
        ints(file, 4);
        ints(file, 1, 12);
        shorts(file, 6, 8, 4, 0); // a buffer: its bytes
        ints(file, 8, 4, text.length);
        file.put(text).position(entries);
        ints(file, 1, 12);
        shorts(file, 8, 12, 4, 8); // an entry of metadata: name, number of the buffer
        ints(file, 8, 8, 0, name.length);
        file.put(name).rewind();
        return file;
    }

    private static void shorts(ByteBuffer file, int... values) {
        for (int value : values) {
            file.putShort((short) value);
        }
    }

    private static void ints(ByteBuffer file, int... values) {
        for (int value : values) {
            file.putInt(value);
        }
    }
}
