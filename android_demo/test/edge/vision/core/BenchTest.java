package edge.vision.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/** What the benchmark's loop says, without a model file: that path is the stand-in's. */
public final class BenchTest {
    private static final String ITEM = "{\"path\":\"/a\",\"sha256\":\"00\"}";

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

        Map<String, Object> values = report.values();

        assertEquals(Arrays.asList(1L, 3L, 2L), values.get("wall_ms"));
        assertEquals(Arrays.asList(6L), values.get("decode_ms"));
        assertEquals(1.5, values.get("load_ms"));
        assertEquals("x", values.get("device"));
        assertEquals(null, report.error());
        assertTrue(report.summary(), report.summary().startsWith("wall_ms: p50 2.00, p90 3.00 of 3"));
        report.add("{\"event\":\"failed\",\"message\":\"error: why\"}");
        assertEquals("error: why", report.error());
    }

    private Map<?, ?> event(int number) {
        return (Map<?, ?>) Json.parse(lines.get(number));
    }

    /** Returns a plan with one key changed, or with all as it should be. */
    private static String plan(String change) {
        String whole = "\"schema\":1,\"model\":" + ITEM + ",\"tensor\":" + ITEM + ",\"threads\":1,\"warmup_s\":0,"
                + "\"seconds\":0,\"runs\":1,\"stages_s\":0,\"stage_runs\":1";
        return "{" + whole + (change.isEmpty() ? "" : "," + change) + "}"; // of two keys of one name the later counts
    }

    private BenchPlace place(ByteBuffer content) {
        return new BenchPlace() {
            @Override
            public ByteBuffer read(BenchPlan.Item item) {
                if (content == null) {
                    throw new IllegalStateException("broken");
                }
                return content.order(ByteOrder.LITTLE_ENDIAN);
            }

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
        };
    }
}
