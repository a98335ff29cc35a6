package edge.vision.app;

import android.app.ActivityManager;
import android.content.Context;
import android.os.Build;
import android.os.Debug;
import android.os.PowerManager;
import edge.vision.core.BenchPlace;
import edge.vision.core.BenchPlan;
import edge.vision.core.Card;
import edge.vision.core.Network;
import edge.vision.core.ProcStatus;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import org.tensorflow.lite.TensorFlowLite;

/** This phone as the place of a benchmark. */
final class Phone implements BenchPlace {
    /** Where a benchmark's files come from. */
    interface Files {
        ByteBuffer read(BenchPlan.Item item) throws IOException;
    }

    private final Context context;
    private final Backend backend;
    private final Files files;
    private final Consumer<String> lines;
    private Engine engine;

    Phone(Context context, Backend backend, Files files, Consumer<String> lines) {
        this.context = context;
        this.backend = backend;
        this.files = files;
        this.lines = lines;
    }

    @Override
    public ByteBuffer read(BenchPlan.Item item) throws IOException {
        return files.read(item);
    }

    @Override
    public Network open(ByteBuffer model, Card card, int threads) {
        engine = new Engine(model, card, backend, threads);
        return engine;
    }

    @Override
    public Map<String, Object> engine() {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("name", "tflite");
        facts.put("version", TensorFlowLite.runtimeVersion());
        facts.put("threads", engine.threads);
        facts.put("backend_requested", engine.requested.name());
        facts.put("backend_actual", engine.actual().name());
        facts.put("backend_reason", engine.reason());
        facts.put("operators", engine.operators());
        facts.put("steps", engine.steps());
        return facts;
    }

    @Override
    public Object sample(Card card) throws IOException {
        if (card.input.kind.equals("audio")) {
            return Media.sampleSound(context);
        }
        return card.input.kind.equals("image") ? Media.sample(context, card.family) : null;
    }

    @Override
    public Map<String, Object> environment() {
        ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
        ((ActivityManager) context.getSystemService(Context.ACTIVITY_SERVICE)).getMemoryInfo(memory);
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("board", Build.MANUFACTURER + " " + Build.MODEL);
        facts.put("system", "Android " + Build.VERSION.RELEASE + ", API " + Build.VERSION.SDK_INT);
        facts.put("abis", Arrays.asList(Build.SUPPORTED_ABIS));
        facts.put("cores", Runtime.getRuntime().availableProcessors());
        facts.put("cpus_allowed", ProcStatus.value("Cpus_allowed_list"));
        facts.put("memory_bytes", memory.totalMem);
        return facts;
    }

    @Override
    public long cpuNanos() {
        // Android has no fine clock for a whole process; with one thread, this one does all of the work, unless NNAPI does.
        boolean alone = engine != null && engine.threads == 1 && engine.actual() != Backend.NNAPI;
        return alone ? Debug.threadCpuTimeNanos() : -1;
    }

    @Override
    public int thermalStatus() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) {
            return -1;
        }
        return ((PowerManager) context.getSystemService(Context.POWER_SERVICE)).getCurrentThermalStatus();
    }

    @Override
    public long peakBytes() {
        return ProcStatus.peakBytes();
    }

    @Override
    public void say(String line) {
        lines.accept(line);
    }
}
