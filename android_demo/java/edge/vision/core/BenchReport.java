package edge.vision.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The lines of one benchmark, gathered into one object under the names that {@code edge bench --json} has for a launch. */
public final class BenchReport {
    private static final String[] SAMPLES = {"wall_ms", "cpu_ms", "pre_ms", "infer_ms", "decode_ms"};

    private final Map<String, Object> facts = new LinkedHashMap<>();
    private final Map<String, List<Object>> samples = new LinkedHashMap<>();

    /** Starts with what the caller knows beforehand. */
    public BenchReport(Map<String, Object> known) {
        facts.put("schema", BenchPlan.SCHEMA);
        facts.putAll(known);
        for (String name : SAMPLES) {
            samples.put(name, new ArrayList<>());
        }
    }

    /** Takes one event. */
    public void add(String line) {
        Map<?, ?> event = (Map<?, ?>) Json.parse(line);
        switch (String.valueOf(event.get("event"))) {
            case "start":
                facts.put("started", event.get("environment"));
                break;
            case "loaded":
                for (String name : new String[] {"engine", "load_ms", "first_ms"}) {
                    facts.put(name, event.get(name));
                }
                break;
            case "done":
                facts.put("peak_rss_bytes", event.get("peak_rss_bytes"));
                facts.put("ended", event.get("environment"));
                break;
            case "failed":
                facts.put("error", event.get("message"));
                break;
            default:
                for (String name : SAMPLES) {
                    if (event.get(name) instanceof List) {
                        samples.get(name).addAll((List<?>) event.get(name));
                    }
                }
        }
    }

    /** Why it is not complete; null where it is. */
    public String error() {
        return (String) facts.get("error");
    }

    /** Returns p50 and p90 of each kind of sample that there is, a line each. */
    public String summary() {
        StringBuilder text = new StringBuilder();
        for (Map.Entry<String, List<Object>> column : samples.entrySet()) {
            Timings times = new Timings(Math.max(1, column.getValue().size()));
            for (Object value : column.getValue()) {
                times.add(((Number) value).doubleValue());
            }
            if (times.size() > 0) {
                text.append(String.format(Locale.ROOT, "%s: p50 %.2f, p90 %.2f of %d%n", column.getKey(),
                        times.percentile(0.5), times.percentile(0.9), times.size()));
            }
        }
        return text.toString();
    }

    /** Returns all of it as plain JSON values, of each kind of sample the first {@code most}, and how many there were. */
    public Map<String, Object> values(int most) {
        Map<String, Object> all = new LinkedHashMap<>(facts);
        Map<String, Object> counts = new LinkedHashMap<>();
        for (Map.Entry<String, List<Object>> column : samples.entrySet()) {
            List<Object> found = column.getValue();
            counts.put(column.getKey(), found.size());
            all.put(column.getKey(), new ArrayList<>(found.subList(0, Math.min(most, found.size()))));
        }
        all.put("counts", counts);
        return all;
    }
}
