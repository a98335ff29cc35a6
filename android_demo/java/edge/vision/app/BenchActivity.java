package edge.vision.app;

import android.app.Activity;
import android.content.Context;
import android.content.Intent;
import android.os.Build;
import android.os.Bundle;
import android.widget.Button;
import android.widget.LinearLayout;
import android.widget.ScrollView;
import android.widget.TextView;
import edge.vision.core.Json;
import edge.vision.core.Picture;
import edge.vision.core.Refusal;
import edge.vision.core.Sound;
import edge.vision.core.Timings;
import edge.vision.demo.R;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Times one model on the app's own sample, raw samples and all, as JSON that can be shared. */
public final class BenchActivity extends Activity {
    private static final int WARM_UP = 10;
    private static final int RUNS = 100;

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

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
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
    }

    @Override
    protected void onSaveInstanceState(Bundle out) {
        super.onSaveInstanceState(out);
        out.putString("report", report);
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
        new Thread(() -> {
            String found;
            try {
                found = Json.write(measured());
            } catch (IOException | Refusal failure) {
                found = null;
                runOnUiThread(() -> text.setText(failure.getMessage()));
            }
            String done = found;
            runOnUiThread(() -> {
                run.setEnabled(true);
                if (done != null) {
                    show(done);
                }
            });
        }, "benchmark").start();
    }

    private Map<String, Object> measured() throws IOException {
        String name = getIntent().getStringExtra("model");
        Backend backend = Backend.valueOf(getIntent().getStringExtra("backend"));
        int threads = getIntent().getIntExtra("threads", 1);
        long start = System.nanoTime();
        try (Session session = new Session(name, Models.open(this, name), backend, threads)) {
            double loadMs = (System.nanoTime() - start) / 1e6;
            Picture picture = session.takesPictures() ? Media.sample(this, session.card.family) : null;
            Sound sound = session.takesSound() ? Media.sampleSound(this) : null;
            if (picture == null && sound == null) {
                throw new Refusal("the app has no sample for this model");
            }
            start = System.nanoTime();
            ask(session, picture, sound);
            double firstMs = (System.nanoTime() - start) / 1e6;
            for (int i = 0; i < WARM_UP && !stopped; i++) {
                ask(session, picture, sound);
            }
            for (Timings times : new Timings[] {session.pre, session.infer, session.decode}) {
                times.clear();
            }
            for (int i = 0; i < RUNS && !stopped; i++) {
                ask(session, picture, sound);
            }
            return report(session, loadMs, firstMs);
        }
    }

    private static void ask(Session session, Picture picture, Sound sound) {
        if (picture != null) {
            session.run(picture);
        } else {
            session.run(sound);
        }
    }

    private static Map<String, Object> report(Session session, double loadMs, double firstMs) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("schema", 1);
        out.put("device", Build.MANUFACTURER + " " + Build.MODEL);
        out.put("android", Build.VERSION.RELEASE);
        out.put("model", session.card.model);
        out.put("file", session.name);
        out.put("precision", session.card.precision());
        out.put("threads", session.engine.threads);
        out.put("backend_requested", session.engine.requested.name());
        out.put("backend_actual", session.engine.actual().name());
        out.put("backend_reason", session.engine.reason());
        out.put("load_ms", loadMs);
        out.put("first_ms", firstMs);
        out.put("pre", stage(session.pre));
        out.put("infer", stage(session.infer));
        out.put("decode", stage(session.decode));
        return out;
    }

    private static Map<String, Object> stage(Timings times) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("p50_ms", times.percentile(0.5));
        out.put("p90_ms", times.percentile(0.9));
        List<Object> samples = new ArrayList<>();
        for (double sample : times.samples()) {
            samples.add(sample);
        }
        out.put("samples_ms", samples);
        return out;
    }

    private void send() {
        Intent intent = new Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, report);
        startActivity(Intent.createChooser(intent, getString(R.string.share)));
    }
}
