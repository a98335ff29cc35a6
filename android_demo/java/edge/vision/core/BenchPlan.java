package edge.vision.core;

import java.util.Locale;

/**
 * How one model is measured in one process, as {@code edge/bench/android.py} asks for it: JSON, checked key by key.
 *
 * <p>Files are named by where they were put and by the SHA-256 of what was put there.
 */
public final class BenchPlan {
    public static final int SCHEMA = 1;
    private static final double MOST_S = 86_400;

    /** A file on the device. */
    public static final class Item {
        public final String path;
        public final String sha256;

        Item(Table table) {
            table.need("path", "sha256");
            path = table.text("path", null);
            sha256 = table.text("sha256", null).toLowerCase(Locale.ROOT);
            table.done();
        }
    }

    public final Item model;
    /** The tensor that is inferred back to back: float32, little-endian, the shape of the card. */
    public final Item tensor;
    /** A picture, three bytes a pixel, or a WAV file; null where frames are the app's own sample, or left out. */
    public final Item source;
    /** Size of the picture, pixels; 0 where the source is a sound. */
    public final int width;
    public final int height;
    public final int threads;
    /** Whether the app's own screen and sample are used. */
    public final boolean app;
    public final double warmUpS;
    public final double seconds;
    public final int runs;
    /** Shortest loop of whole frames, seconds; 0 leaves it out. */
    public final double stagesS;
    public final int stageRuns;

    private BenchPlan(Table table) {
        table.need("schema", "model", "tensor", "threads", "warmup_s", "seconds", "runs", "stages_s", "stage_runs");
        if (table.whole("schema", 0) != SCHEMA) {
            throw new Refusal("the plan is of another version than this app", SCHEMA, "another");
        }
        model = new Item(table.table("model"));
        tensor = new Item(table.table("tensor"));
        Table given = table.table("source");
        source = given == null ? null : new Item(given);
        width = table.whole("width", 0);
        height = table.whole("height", 0);
        threads = table.whole("threads", 1);
        app = table.flag("app", false);
        warmUpS = seconds(table, "warmup_s");
        seconds = seconds(table, "seconds");
        runs = table.whole("runs", 1);
        stagesS = seconds(table, "stages_s");
        stageRuns = table.whole("stage_runs", 1);
        table.done();
        if (threads < 1 || runs < 1 || stageRuns < 1 || width < 0 || height < 0) {
            throw new Refusal("the plan counts below 1");
        }
    }

    /** Returns the plan of a JSON text. */
    public static BenchPlan fromJson(String text) {
        return new BenchPlan(new Table(Json.parse(text), "plan"));
    }

    private static double seconds(Table table, String key) {
        double found = table.number(key, 0);
        if (!(found >= 0 && found <= MOST_S)) {
            throw new Refusal("`plan." + key + "` is out of range", "0 to " + (int) MOST_S + " s", found);
        }
        return found;
    }
}
