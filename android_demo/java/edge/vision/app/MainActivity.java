package edge.vision.app;

import android.Manifest;
import android.app.Activity;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.net.Uri;
import android.os.Bundle;
import android.os.Handler;
import android.os.HandlerThread;
import android.view.Gravity;
import android.view.Surface;
import android.view.View;
import android.view.ViewGroup;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.Button;
import android.widget.HorizontalScrollView;
import android.widget.LinearLayout;
import android.widget.Spinner;
import android.widget.TextView;
import edge.vision.core.LiveSound;
import edge.vision.core.Overlay;
import edge.vision.core.Picture;
import edge.vision.core.Refusal;
import edge.vision.core.Result;
import edge.vision.core.Smoother;
import edge.vision.core.Sound;
import edge.vision.core.Timings;
import edge.vision.demo.R;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * One screen: a model, what runs it, and where its input comes from; the picture with what was found, and the times.
 *
 * <p>The worker's thread owns the interpreter, the camera's frames and the decoder; this thread owns the views. What the
 * user chose survives rotation and the death of the process.
 */
public final class MainActivity extends Activity
        implements CameraSource.Listener, MicrophoneSource.Listener, AdapterView.OnItemSelectedListener {
    private static final int PICK_PICTURE = 1;
    private static final int PICK_SOUND = 2;
    private static final int PICK_MODEL = 3;
    private static final int ASK_CAMERA = 4;
    private static final int ASK_MICROPHONE = 5;
    private static final double HALF_LIFE_S = 2;
    private static final Integer[] THREADS = {1, 2, 4};

    private StageView stage;
    private TextView status;
    private Spinner modelChoice;
    private Spinner backendChoice;
    private Spinner threadChoice;

    private HandlerThread thread;
    private Handler worker;
    private String source = "sample"; // "sample", "camera", "microphone" or the address of a picked file
    private boolean front;
    private String wantedModel;

    // The worker's own.
    private Session session;
    private CameraSource camera;
    private MicrophoneSource microphone;
    private LiveSound live;
    private Smoother smoother;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        if (saved != null) {
            source = saved.getString("source", source);
            front = saved.getBoolean("front");
            wantedModel = saved.getString("model");
        }
        build();
        if (saved != null) {
            backendChoice.setSelection(saved.getInt("backend"), false);
            threadChoice.setSelection(saved.getInt("threads"), false);
        } else {
            threadChoice.setSelection(2, false);
        }
        fillModels();
    }

    @Override
    protected void onSaveInstanceState(Bundle out) {
        super.onSaveInstanceState(out);
        out.putString("source", source);
        out.putBoolean("front", front);
        out.putString("model", (String) modelChoice.getSelectedItem());
        out.putInt("backend", backendChoice.getSelectedItemPosition());
        out.putInt("threads", threadChoice.getSelectedItemPosition());
    }

    @Override
    protected void onStart() {
        super.onStart();
        thread = new HandlerThread("worker");
        thread.start();
        worker = new Handler(thread.getLooper());
        reopen();
    }

    @Override
    protected void onStop() {
        super.onStop();
        worker.removeCallbacksAndMessages(null);
        worker.post(this::closeAll);
        thread.quitSafely();
        worker = null;
    }

    @Override
    protected void onActivityResult(int request, int answer, Intent data) {
        super.onActivityResult(request, answer, data);
        if (answer != RESULT_OK || data == null || data.getData() == null) {
            return;
        }
        Uri uri = data.getData();
        if (request == PICK_MODEL) {
            try {
                wantedModel = Models.bring(this, uri);
                fillModels();
            } catch (IOException | Refusal refused) {
                status.setText(refused.getMessage());
            }
            return;
        }
        source = uri.toString();
        reopen();
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] names, int[] answers) {
        super.onRequestPermissionsResult(request, names, answers);
        boolean granted = answers.length > 0 && answers[0] == PackageManager.PERMISSION_GRANTED;
        if (granted) {
            reopen();
        } else {
            source = "sample";
            status.setText(request == ASK_CAMERA ? R.string.camera_refused : R.string.microphone_refused);
        }
    }

    @Override
    public void onItemSelected(AdapterView<?> parent, View view, int position, long id) {
        reopen();
    }

    @Override
    public void onNothingSelected(AdapterView<?> parent) {
        // The lists always have a selection.
    }

    /** On the worker's thread. */
    @Override
    public void onFrame(Picture picture, boolean mirrored) {
        if (session == null || !session.takesPictures()) {
            return;
        }
        answer(() -> session.run(picture), new Picture(picture.width, picture.height, picture.pixels.clone()), mirrored);
    }

    @Override
    public void onCameraError(String why) {
        say(why);
    }

    /** On the microphone's thread. */
    @Override
    public void onSamples(float[] samples) {
        Handler to = worker;
        if (to != null) {
            to.post(() -> listen(samples));
        }
    }

    @Override
    public void onMicrophoneError(String why) {
        say(why);
    }

    private void build() {
        LinearLayout column = new LinearLayout(this);
        column.setOrientation(LinearLayout.VERTICAL);
        column.setFitsSystemWindows(true);
        modelChoice = spinner(R.string.choose_model, new ArrayList<String>());
        backendChoice = spinner(R.string.choose_backend, Arrays.asList(Backend.values()));
        List<String> threads = new ArrayList<>();
        for (int count : THREADS) {
            threads.add(getString(R.string.threads, count));
        }
        threadChoice = spinner(R.string.choose_threads, threads);
        column.addView(modelChoice);
        LinearLayout row = new LinearLayout(this);
        row.addView(backendChoice, new LinearLayout.LayoutParams(0, ViewGroup.LayoutParams.WRAP_CONTENT, 1));
        row.addView(threadChoice, new LinearLayout.LayoutParams(0, ViewGroup.LayoutParams.WRAP_CONTENT, 1));
        column.addView(row);
        stage = new StageView(this);
        stage.setContentDescription(getString(R.string.stage));
        column.addView(stage, new LinearLayout.LayoutParams(ViewGroup.LayoutParams.MATCH_PARENT, 0, 1));
        status = new TextView(this);
        status.setContentDescription(null); // its text is read
        status.setAccessibilityLiveRegion(View.ACCESSIBILITY_LIVE_REGION_POLITE);
        status.setMinLines(4);
        int gap = (int) (8 * getResources().getDisplayMetrics().density);
        status.setPadding(gap, gap, gap, gap);
        column.addView(status);
        column.addView(buttons());
        setContentView(column);
    }

    private View buttons() {
        LinearLayout row = new LinearLayout(this);
        row.setGravity(Gravity.CENTER_HORIZONTAL);
        row.addView(button(R.string.sample, () -> choose("sample")));
        row.addView(button(R.string.camera, () -> choose("camera")));
        row.addView(button(R.string.flip, () -> {
            front = !front;
            choose("camera");
        }));
        row.addView(button(R.string.picture, () -> pick(PICK_PICTURE, "image/*")));
        row.addView(button(R.string.microphone, () -> choose("microphone")));
        row.addView(button(R.string.sound, () -> pick(PICK_SOUND, "audio/*")));
        row.addView(button(R.string.import_model, () -> pick(PICK_MODEL, "*/*")));
        row.addView(button(R.string.benchmark, () -> startActivity(BenchActivity.intent(
                this, (String) modelChoice.getSelectedItem(), backend(), threads()))));
        HorizontalScrollView scroll = new HorizontalScrollView(this);
        scroll.addView(row);
        return scroll;
    }

    private Button button(int text, Runnable action) {
        Button button = new Button(this);
        button.setText(text);
        button.setOnClickListener(view -> action.run());
        return button;
    }

    private <T> Spinner spinner(int label, List<T> items) {
        Spinner spinner = new Spinner(this);
        spinner.setContentDescription(getString(label));
        spinner.setMinimumHeight((int) (48 * getResources().getDisplayMetrics().density));
        spinner.setAdapter(new ArrayAdapter<>(this, android.R.layout.simple_spinner_dropdown_item, items));
        spinner.setOnItemSelectedListener(this);
        return spinner;
    }

    private void fillModels() {
        try {
            List<String> names = Models.names(this);
            modelChoice.setAdapter(
                    new ArrayAdapter<>(this, android.R.layout.simple_spinner_dropdown_item, names));
            modelChoice.setSelection(Math.max(0, names.indexOf(wantedModel)));
        } catch (IOException failure) {
            status.setText(failure.getMessage());
        }
    }

    private Backend backend() {
        return (Backend) backendChoice.getSelectedItem();
    }

    private int threads() {
        return THREADS[threadChoice.getSelectedItemPosition()];
    }

    private void choose(String wanted) {
        source = wanted;
        reopen();
    }

    private void pick(int request, String kind) {
        Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT);
        intent.addCategory(Intent.CATEGORY_OPENABLE);
        intent.setType(kind);
        startActivityForResult(intent, request);
    }

    private boolean allowed(String permission, int request) {
        if (checkSelfPermission(permission) == PackageManager.PERMISSION_GRANTED) {
            return true;
        }
        requestPermissions(new String[] {permission}, request);
        return false;
    }

    /** Opens the chosen model on the chosen source, in place of what is open. */
    private void reopen() {
        String name = (String) modelChoice.getSelectedItem();
        if (worker == null || name == null) {
            return;
        }
        if (source.equals("camera") && !allowed(Manifest.permission.CAMERA, ASK_CAMERA)) {
            return;
        }
        if (source.equals("microphone") && !allowed(Manifest.permission.RECORD_AUDIO, ASK_MICROPHONE)) {
            return;
        }
        Backend backend = backend();
        int threads = threads();
        String from = source;
        boolean facing = front;
        int degrees = displayDegrees();
        status.setText(R.string.working);
        stage.clear();
        worker.removeCallbacksAndMessages(null);
        worker.post(() -> open(name, backend, threads, from, facing, degrees));
    }

    private int displayDegrees() {
        switch (getWindowManager().getDefaultDisplay().getRotation()) {
            case Surface.ROTATION_90:
                return 90;
            case Surface.ROTATION_180:
                return 180;
            case Surface.ROTATION_270:
                return 270;
            default:
                return 0;
        }
    }

    private void open(String name, Backend backend, int threads, String from, boolean facing, int degrees) {
        closeAll();
        try {
            session = new Session(name, Models.open(this, name), backend, threads);
            start(from, facing, degrees);
        } catch (IOException | Refusal | SecurityException refused) {
            say(refused.getMessage());
        }
    }

    private void start(String from, boolean facing, int degrees) throws IOException {
        boolean forSound = from.equals("microphone");
        boolean forPictures = from.equals("camera");
        if (forSound && !session.takesSound() || forPictures && !session.takesPictures()) {
            say(getString(R.string.wrong_kind));
        } else if (forPictures) {
            camera = new CameraSource(worker, this, degrees);
            camera.open(this, facing);
        } else if (forSound) {
            live = new LiveSound(session.card.input.audio, session.soundLength(), MicrophoneSource.RATE);
            smoother = new Smoother(HALF_LIFE_S);
            session.run(live.window(), Integer.MAX_VALUE);
            microphone = new MicrophoneSource(this);
            microphone.open();
        } else if (session.takesSound()) {
            Sound sound = from.equals("sample")
                    ? Media.sampleSound(this)
                    : Media.sound(this, Uri.parse(from), session.card.input.audio.seconds);
            answer(() -> session.run(sound), null, false);
        } else {
            Picture picture = from.equals("sample")
                    ? Media.sample(this, session.card.family)
                    : Media.picture(this, Uri.parse(from));
            if (picture == null) {
                say(getString(R.string.wrong_kind));
            } else {
                answer(() -> session.run(picture), picture, false);
            }
        }
    }

    private void listen(float[] samples) {
        if (session == null || live == null) {
            return;
        }
        live.add(samples, samples.length);
        int hops = live.takeHops();
        if (hops == 0) {
            return;
        }
        answer(() -> session.run(live.window(), hops), null, false);
    }

    private void closeAll() {
        if (camera != null) {
            camera.close();
            camera = null;
        }
        if (microphone != null) {
            microphone.close();
            microphone = null;
        }
        live = null;
        if (session != null) {
            session.close();
            session = null;
        }
    }

    /** One question to the session. */
    private interface Question {
        Result ask();
    }

    private void answer(Question question, Picture shown, boolean mirrored) {
        try {
            Result result = question.ask();
            String words = words(result);
            runOnUiThread(() -> {
                if (shown != null) {
                    stage.show(shown, result, mirrored);
                    stage.setContentDescription(getString(R.string.stage) + ": " + Overlay.words(result));
                }
                status.setText(words);
            });
        } catch (Refusal refused) {
            say(refused.getMessage());
        }
    }

    private String words(Result result) {
        Engine engine = session.engine;
        StringBuilder text = new StringBuilder(Overlay.words(result));
        if (live != null && result.emotion != null) {
            Result.Emotion smooth = smoother.add(result.emotion, System.nanoTime() / 1e9);
            text.append(String.format(
                    Locale.ROOT, "; smoothed %s: %+.2f, %+.2f", smooth.quadrant(), smooth.valence, smooth.arousal));
        }
        text.append(String.format(Locale.ROOT, "%nasked for %s, runs on %s, %d threads", engine.requested,
                engine.actual(), engine.threads));
        if (!engine.reason().isEmpty()) {
            text.append("\n").append(engine.reason());
        }
        return text.append("\n").append(times("pre", session.pre)).append(times(", infer", session.infer))
                .append(times(", decode", session.decode)).append(" ms (p50/p90)").toString();
    }

    private static String times(String stage, Timings times) {
        return String.format(Locale.ROOT, "%s %.1f/%.1f", stage, times.percentile(0.5), times.percentile(0.9));
    }

    private void say(String text) {
        runOnUiThread(() -> status.setText(text));
    }
}
