package edge.vision.app;

import android.Manifest;
import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Context;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.content.res.Configuration;
import android.hardware.display.DisplayManager;
import android.net.Uri;
import android.os.Bundle;
import android.os.Handler;
import android.os.SystemClock;
import android.view.Gravity;
import android.view.Surface;
import android.view.View;
import android.view.ViewGroup;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.Button;
import android.widget.HorizontalScrollView;
import android.widget.LinearLayout;
import android.widget.ScrollView;
import android.widget.Spinner;
import android.widget.TextView;
import edge.vision.core.Overlay;
import edge.vision.core.Result;
import edge.vision.demo.R;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * One screen: a model, what runs it, and where its input comes from; the picture with what was found, and the times.
 *
 * <p>This thread owns the views; a {@link Runner} does the work. What the user chose survives rotation and the death of
 * the process.
 */
public final class MainActivity extends Activity
        implements Runner.Screen, AdapterView.OnItemSelectedListener, DisplayManager.DisplayListener {
    private static final int PICK_PICTURE = 1;
    private static final int PICK_SOUND = 2;
    private static final int PICK_MODEL = 3;
    private static final int ASK_CAMERA = 4;
    private static final int ASK_MICROPHONE = 5;
    private static final long SPEECH_GAP_MS = 3000; // a screen reader is not to be drowned
    private static final Integer[] THREADS = {1, 2, 4};

    private StageView stage;
    private TextView status;
    private Spinner modelChoice;
    private Spinner backendChoice;
    private Spinner threadChoice;

    private String source = Choice.SAMPLE;
    private boolean front;
    private String wantedModel;
    private String notice = ""; // stays above the status until the next choice

    private boolean started;
    private Choice opened;
    private Runner runner;
    private String spoken = "";
    private long spokenAt;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        if (saved != null) {
            source = saved.getString("source", source);
            front = saved.getBoolean("front");
            wantedModel = saved.getString("model");
            notice = saved.getString("notice", notice);
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
        out.putString("notice", notice);
        out.putInt("backend", backendChoice.getSelectedItemPosition());
        out.putInt("threads", threadChoice.getSelectedItemPosition());
    }

    @Override
    protected void onStart() {
        super.onStart();
        started = true;
        displays().registerDisplayListener(this, null);
        reopen();
    }

    @Override
    protected void onStop() {
        super.onStop();
        started = false;
        displays().unregisterDisplayListener(this);
        closeRunner();
    }

    @Override
    protected void onActivityResult(int request, int answer, Intent data) {
        super.onActivityResult(request, answer, data);
        if (answer != RESULT_OK || data == null || data.getData() == null) {
            return;
        }
        if (request == PICK_MODEL) {
            bring(data.getData());
        } else {
            choose(data.getData().toString());
        }
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] names, int[] answers) {
        super.onRequestPermissionsResult(request, names, answers);
        if (answers.length == 0) {
            return; // the question was interrupted, or stands already: no answer of the user's
        }
        if (answers[0] == PackageManager.PERMISSION_GRANTED) {
            reopen();
        } else {
            choose(Choice.SAMPLE);
            tell(getString(request == ASK_CAMERA ? R.string.camera_refused : R.string.microphone_refused));
        }
    }

    @Override
    public void onItemSelected(AdapterView<?> parent, View view, int position, long id) {
        describe(parent);
        Choice wanted = choice();
        // The lists also report their first layout, which is no choice.
        if (opened != null && wanted != null && !wanted.equals(opened)) {
            choose(source);
        }
    }

    @Override
    public void onNothingSelected(AdapterView<?> parent) {
        // The lists always have a selection.
    }

    /** Half a turn changes no configuration: this activity lives on, and only here hears of it. */
    @Override
    public void onDisplayChanged(int display) {
        if (runner != null) {
            runner.turn(displayDegrees());
        }
    }

    @Override
    public void onDisplayAdded(int display) {
        // Not ours.
    }

    @Override
    public void onDisplayRemoved(int display) {
        // Not ours.
    }

    @Override
    public void onAnswer(Runner from, Runner.Answer answer) {
        if (from != runner) {
            return;
        }
        if (answer.picture != null) {
            stage.show(answer.picture, answer.result, answer.mirrored);
        }
        String found = summary(answer.result);
        stage.setContentDescription(getString(R.string.stage) + ": " + found);
        status.setText(notice.isEmpty() ? answer.words : notice + "\n" + answer.words);
        if (!found.equals(spoken) && SystemClock.uptimeMillis() - spokenAt > SPEECH_GAP_MS) {
            spoken = found;
            spokenAt = SystemClock.uptimeMillis();
            stage.announceForAccessibility(found);
        }
    }

    @Override
    public void onMessage(Runner from, String text) {
        if (from == runner) {
            status.setText(text);
            status.announceForAccessibility(text);
        }
    }

    /** What is read aloud: without the numbers that never stand still. */
    private static String summary(Result result) {
        return result.emotion == null ? Overlay.words(result) : result.emotion.quadrant();
    }

    private void build() {
        LinearLayout controls = new LinearLayout(this);
        controls.setOrientation(LinearLayout.VERTICAL);
        modelChoice = spinner(R.string.choose_model, new ArrayList<String>());
        backendChoice = spinner(R.string.choose_backend, Arrays.asList(Backend.values()));
        List<String> threads = new ArrayList<>();
        for (int count : THREADS) {
            threads.add(getResources().getQuantityString(R.plurals.threads, count, count));
        }
        threadChoice = spinner(R.string.choose_threads, threads);
        LinearLayout row = new LinearLayout(this);
        row.addView(backendChoice, new LinearLayout.LayoutParams(0, ViewGroup.LayoutParams.WRAP_CONTENT, 1));
        row.addView(threadChoice, new LinearLayout.LayoutParams(0, ViewGroup.LayoutParams.WRAP_CONTENT, 1));
        stage = new StageView(this);
        stage.setContentDescription(getString(R.string.stage));
        status = new TextView(this);
        status.setMinLines(4);
        int gap = (int) (8 * getResources().getDisplayMetrics().density);
        status.setPadding(gap, gap, gap, gap);
        controls.addView(modelChoice);
        controls.addView(row);
        controls.addView(status);
        controls.addView(buttons());
        ScrollView scroll = new ScrollView(this); // for large letters
        scroll.addView(controls);
        setContentView(besides(stage, scroll));
    }

    /** The stage above the controls, or to their left where the screen is wide. */
    private View besides(View first, View second) {
        LinearLayout both = new LinearLayout(this);
        both.setFitsSystemWindows(true);
        boolean wide = getResources().getConfiguration().orientation == Configuration.ORIENTATION_LANDSCAPE;
        both.setOrientation(wide ? LinearLayout.HORIZONTAL : LinearLayout.VERTICAL);
        int all = ViewGroup.LayoutParams.MATCH_PARENT;
        both.addView(first, wide ? new LinearLayout.LayoutParams(0, all, 1) : new LinearLayout.LayoutParams(all, 0, 3));
        both.addView(second, wide ? new LinearLayout.LayoutParams(0, all, 1) : new LinearLayout.LayoutParams(all, 0, 2));
        return both;
    }

    private View buttons() {
        LinearLayout row = new LinearLayout(this);
        row.setGravity(Gravity.CENTER_HORIZONTAL);
        row.addView(button(R.string.sample, () -> choose(Choice.SAMPLE)));
        row.addView(button(R.string.camera, () -> choose(Choice.CAMERA)));
        row.addView(button(R.string.flip, () -> {
            front = !front;
            choose(Choice.CAMERA);
        }));
        row.addView(button(R.string.picture, () -> pick(PICK_PICTURE, "image/*")));
        row.addView(button(R.string.microphone, () -> choose(Choice.MICROPHONE)));
        row.addView(button(R.string.sound, () -> pick(PICK_SOUND, "audio/*")));
        row.addView(button(R.string.import_model, () -> pick(PICK_MODEL, "*/*")));
        row.addView(button(R.string.benchmark, this::benchmark));
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
        spinner.setTag(getString(label));
        spinner.setMinimumHeight((int) (48 * getResources().getDisplayMetrics().density));
        spinner.setAdapter(new ArrayAdapter<>(this, android.R.layout.simple_spinner_dropdown_item, items));
        spinner.setOnItemSelectedListener(this);
        describe(spinner);
        return spinner;
    }

    /** A description stands for the content when it is read aloud: so it must name the selection, too. */
    private static void describe(AdapterView<?> spinner) {
        spinner.setContentDescription(spinner.getTag() + ": " + spinner.getSelectedItem());
    }

    private void fillModels() {
        try {
            List<String> names = Models.names(this);
            modelChoice.setAdapter(
                    new ArrayAdapter<>(this, android.R.layout.simple_spinner_dropdown_item, names));
            modelChoice.setSelection(Math.max(0, names.indexOf(wantedModel)), false);
            describe(modelChoice);
        } catch (IOException failure) {
            tell(Runner.why(failure));
        }
    }

    /** Copies a picked model in the background, as it may be large, and opens it. */
    private void bring(Uri uri) {
        status.setText(R.string.working);
        new Handler(Runner.looper()).post(() -> {
            try {
                String name = Models.bring(getApplicationContext(), uri);
                runOnUiThread(() -> {
                    wantedModel = name;
                    fillModels();
                    choose(source);
                });
            } catch (IOException | RuntimeException refused) {
                runOnUiThread(() -> tell(Runner.why(refused)));
            }
        });
    }

    private void benchmark() {
        Choice wanted = choice();
        if (wanted != null) {
            startActivity(BenchActivity.intent(this, wanted.model, wanted.backend, wanted.threads));
        }
    }

    /** Returns what is chosen now, or null where the app has no model. */
    private Choice choice() {
        String model = (String) modelChoice.getSelectedItem();
        Backend backend = (Backend) backendChoice.getSelectedItem();
        return model == null
                ? null
                : new Choice(model, backend, THREADS[threadChoice.getSelectedItemPosition()], source, front);
    }

    private void choose(String wanted) {
        source = wanted;
        notice = "";
        reopen();
    }

    /** Says something that the next answer must not wipe away. */
    private void tell(String words) {
        notice = words;
        status.setText(words);
        status.announceForAccessibility(words);
    }

    private void pick(int request, String kind) {
        Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT);
        intent.addCategory(Intent.CATEGORY_OPENABLE);
        intent.setType(kind);
        try {
            startActivityForResult(intent, request);
        } catch (ActivityNotFoundException none) {
            tell(getString(R.string.no_files));
        }
    }

    private boolean allowed(Choice wanted) {
        if (wanted.source.equals(Choice.CAMERA)) {
            return allowed(Manifest.permission.CAMERA, ASK_CAMERA);
        }
        return !wanted.source.equals(Choice.MICROPHONE) || allowed(Manifest.permission.RECORD_AUDIO, ASK_MICROPHONE);
    }

    private boolean allowed(String permission, int request) {
        if (checkSelfPermission(permission) == PackageManager.PERMISSION_GRANTED) {
            return true;
        }
        requestPermissions(new String[] {permission}, request);
        return false;
    }

    /** Opens what is chosen, in place of what is open. */
    private void reopen() {
        Choice wanted = choice();
        if (!started || wanted == null || !allowed(wanted)) {
            return;
        }
        closeRunner();
        status.setText(notice.isEmpty() ? getString(R.string.working) : notice);
        stage.clear();
        spoken = "";
        spokenAt = 0;
        opened = wanted;
        runner = new Runner(this, wanted, displayDegrees(), this);
        runner.open();
    }

    private void closeRunner() {
        if (runner != null) {
            runner.close();
            runner = null;
        }
    }

    private DisplayManager displays() {
        return (DisplayManager) getSystemService(Context.DISPLAY_SERVICE);
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
}
