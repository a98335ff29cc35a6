package edge.vision.app;

import android.app.Activity;
import android.content.Context;
import android.content.Intent;
import android.content.pm.ActivityInfo;
import android.os.Build;
import android.os.Bundle;
import android.view.WindowManager;
import android.widget.Button;
import android.widget.LinearLayout;
import android.widget.ScrollView;
import android.widget.TextView;
import edge.vision.core.BenchLoop;
import edge.vision.core.BenchPlan;
import edge.vision.core.BenchReport;
import edge.vision.core.Card;
import edge.vision.core.Json;
import edge.vision.core.Refusal;
import edge.vision.core.TfliteCard;
import edge.vision.demo.R;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;

/** Times one model on the app's own sample, raw samples and all, as JSON that can be shared. */
public final class BenchActivity extends Activity {
    private static final String NOISE = "noise";
    private static final int MOST_SAMPLES = 1000; // of a kind: Android ends an app that hands on a text of a megabyte

    /** Whether this screen is the one that the user sees. */
    static volatile boolean inFront;

    private TextView text;
    private Button share;
    private volatile boolean stopped;
    private String report;

    static Intent intent(Context context, String model, Backend backend, int threads) {
        return new Intent(context, BenchActivity.class)
                .putExtra("model", model)
                .putExtra("backend", backend.name())
                .putExtra("threads", threads);
    }

    /** The screen that stands in front while a benchmark runs over adb, and measures nothing itself. */
    static Intent watched(Context context) {
        return new Intent(context, BenchActivity.class);
    }

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        LinearLayout column = new LinearLayout(this);
        column.setOrientation(LinearLayout.VERTICAL);
        column.setFitsSystemWindows(true);
        Button run = new Button(this);
        run.setText(R.string.run);
        run.setOnClickListener(view -> start(run));
        share = new Button(this);
        share.setText(R.string.share);
        share.setOnClickListener(view -> send());
        text = new TextView(this);
        text.setTextIsSelectable(true);
        ScrollView scroll = new ScrollView(this);
        scroll.addView(text);
        column.addView(run);
        column.addView(share);
        column.addView(scroll);
        setContentView(column);
        show(saved == null ? null : saved.getString("report"));
        if (!getIntent().hasExtra("model")) {
            run.setEnabled(false);
            text.setText(R.string.watched);
            setRequestedOrientation(ActivityInfo.SCREEN_ORIENTATION_LOCKED); // a turn would take it from the front
        }
    }

    @Override
    protected void onSaveInstanceState(Bundle out) {
        super.onSaveInstanceState(out);
        out.putString("report", report);
    }

    @Override
    protected void onResume() {
        super.onResume();
        inFront = true;
    }

    @Override
    protected void onPause() {
        inFront = false;
        super.onPause();
    }

    @Override
    protected void onDestroy() {
        stopped = true;
        super.onDestroy();
    }

    private void show(String found) {
        report = found;
        share.setEnabled(found != null);
        text.setText(found == null ? "" : found);
    }

    private void start(Button run) {
        run.setEnabled(false);
        text.setText(R.string.working);
        setRequestedOrientation(ActivityInfo.SCREEN_ORIENTATION_LOCKED);  // a turn would end this screen, and the run
        new Thread(() -> {
            String found;
            try {
                BenchReport done = measured();
                found = done.error() != null ? done.error() : done.summary() + Json.write(done.values(MOST_SAMPLES));
            } catch (IOException | RuntimeException failure) {
                found = Runner.why(failure);
            }
            String told = found;
            runOnUiThread(() -> {
                setRequestedOrientation(ActivityInfo.SCREEN_ORIENTATION_UNSPECIFIED);
                run.setEnabled(true);
                show(told);
            });
        }, "benchmark").start();
    }

    /** Runs the same loop as {@code edge bench --device android}, on the app's own sample. */
    private BenchReport measured() throws IOException {
        String name = getIntent().getStringExtra("model");
        Backend backend = Backend.valueOf(getIntent().getStringExtra("backend"));
        ByteBuffer model = Models.open(this, name);
        Card card = TfliteCard.read(model);
        Map<String, Object> known = new LinkedHashMap<>();
        known.put("device", Build.MANUFACTURER + " " + Build.MODEL);
        known.put("model", card.model);
        known.put("file", name);
        known.put("precision", card.precision());
        BenchReport report = new BenchReport(known);
        BenchLoop.run(plan(name), new Phone(this, backend, item -> item.path.equals(NOISE) ? noise(card) : model, line -> {
            if (stopped || !inFront) {
                throw new Refusal("the screen was left while it measured, and what is not seen gets slower cores");
            }
            report.add(line);
        }));
        return report;
    }

    private String plan(String model) {
        Map<String, Object> plan = new LinkedHashMap<>();
        plan.put("schema", BenchPlan.SCHEMA);
        plan.put("model", item(model));
        plan.put("tensor", item(NOISE));
        plan.put("threads", getIntent().getIntExtra("threads", 1));
        plan.put("app", true);
        plan.put("warmup_s", 0.5);
        plan.put("seconds", 2.0);
        plan.put("runs", 64);
        plan.put("stages_s", 2.0);
        plan.put("stage_runs", 64);
        return Json.write(plan);
    }

    private static Map<String, Object> item(String path) {
        Map<String, Object> item = new LinkedHashMap<>();
        item.put("path", path);
        item.put("sha256", "");
        return item;
    }

    private static ByteBuffer noise(Card card) {
        ByteBuffer values = ByteBuffer.allocate(4 * card.input.size()).order(ByteOrder.LITTLE_ENDIAN);
        Random random = new Random(1);
        while (values.hasRemaining()) {
            values.putFloat((float) random.nextGaussian());
        }
        values.rewind();
        return values;
    }

    private void send() {
        Intent intent = new Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, report);
        startActivity(Intent.createChooser(intent, getString(R.string.share)));
    }
}
