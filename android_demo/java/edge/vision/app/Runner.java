package edge.vision.app;

import android.content.Context;
import android.net.Uri;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.Looper;
import edge.vision.core.LiveSound;
import edge.vision.core.Overlay;
import edge.vision.core.Picture;
import edge.vision.core.Result;
import edge.vision.core.Smoother;
import edge.vision.core.Sound;
import edge.vision.core.Timings;
import edge.vision.demo.R;
import java.io.IOException;
import java.util.Locale;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicReference;

/**
 * One choice while it runs. It owns the interpreter, the camera or the microphone, and the decoder.
 *
 * <p>All runners share one thread, which lives as long as the process: what one closes is closed before the next opens,
 * and a camera that opens late still finds somebody who closes it.
 */
final class Runner implements AutoCloseable, CameraSource.Listener, MicrophoneSource.Listener {
    private static final double HALF_LIFE_S = 2;
    private static Looper looper;

    /** Who shows what was found; called on the main thread. */
    interface Screen {
        void onAnswer(Runner from, Answer answer);

        void onMessage(Runner from, String text);
    }

    /** A result and what goes with it. */
    static final class Answer {
        /** Null for sound. */
        final Picture picture;
        final Result result;
        final boolean mirrored;
        /** The result, the backend and the times. */
        final String words;

        Answer(Picture picture, Result result, boolean mirrored, String words) {
            this.picture = picture;
            this.result = result;
            this.mirrored = mirrored;
            this.words = words;
        }
    }

    private final Context context;
    private final Choice choice;
    private final Screen screen;
    private final Handler worker = new Handler(looper());
    private final Handler main = new Handler(Looper.getMainLooper());
    private final AtomicReference<Answer> latest = new AtomicReference<>(); // not yet on the screen
    private final Queue<float[]> heard = new ConcurrentLinkedQueue<>();
    private volatile boolean closed;

    // The worker's own.
    private int displayDegrees;
    private Session session;
    private CameraSource camera;
    private MicrophoneSource microphone;
    private LiveSound live;
    private Smoother smoother;

    Runner(Context context, Choice choice, int displayDegrees, Screen screen) {
        this.context = context.getApplicationContext();
        this.choice = choice;
        this.displayDegrees = displayDegrees;
        this.screen = screen;
    }

    /** The thread on which every model is opened, run and closed. */
    static synchronized Looper looper() {
        if (looper == null) {
            HandlerThread thread = new HandlerThread("worker");
            thread.start();
            looper = thread.getLooper();
        }
        return looper;
    }

    /** Why something failed, in words even where the platform has none. */
    static String why(Throwable failure) {
        String message = failure.getMessage();
        return message == null || message.isEmpty() ? failure.getClass().getSimpleName() : message;
    }

    /** Opens the model and its source; permissions must have been granted. */
    void open() {
        worker.post(() -> attempt(this::begin));
    }

    /** Takes note that the display was turned. */
    void turn(int degrees) {
        worker.post(() -> {
            displayDegrees = degrees;
            if (camera != null) {
                camera.turn(degrees);
            }
        });
    }

    /** Ends everything; nothing is shown from now on. */
    @Override
    public void close() {
        closed = true;
        worker.removeCallbacksAndMessages(null);
        worker.post(this::end);
    }

    @Override
    public void onFrame(Picture picture, boolean mirrored) {
        if (!closed) {
            attempt(() -> {
                Result result = session.run(picture);
                show(new Picture(picture.width, picture.height, picture.pixels.clone()), result, mirrored);
            });
        }
    }

    @Override
    public void onCameraError(String why) {
        say(why);
    }

    /** On the microphone's thread. */
    @Override
    public void onSamples(float[] samples) {
        heard.add(samples);
        worker.post(() -> attempt(this::listen));
    }

    @Override
    public void onMicrophoneError(String why) {
        say(why);
    }

    /** Something that files, drivers and the memory may forbid. */
    private interface Step {
        void take() throws IOException;
    }

    private void attempt(Step step) {
        if (closed) {
            return;
        }
        try {
            step.take();
        } catch (IOException | RuntimeException | OutOfMemoryError | LinkageError failure) {
            say(why(failure)); // the last: TFLite's native library does not load on this device
        }
    }

    private void begin() throws IOException {
        session = new Session(choice.model, Models.open(context, choice.model), choice.backend, choice.threads);
        boolean forSound = choice.source.equals(Choice.MICROPHONE);
        boolean forPictures = choice.source.equals(Choice.CAMERA);
        if (forSound && !session.takesSound() || forPictures && !session.takesPictures()) {
            say(context.getString(R.string.wrong_kind));
        } else if (forPictures) {
            camera = new CameraSource(this, displayDegrees);
            camera.open(context, choice.front);
        } else if (forSound) {
            live = new LiveSound(session.card.input.audio, session.soundLength(), MicrophoneSource.RATE);
            smoother = new Smoother(HALF_LIFE_S);
            session.run(live.window(), Integer.MAX_VALUE); // silence, so that what follows costs only what is new
            for (Timings times : new Timings[] {session.pre, session.infer, session.decode}) {
                times.clear();
            }
            microphone = new MicrophoneSource(this);
            microphone.open();
        } else if (session.takesSound()) {
            Sound sound = choice.source.equals(Choice.SAMPLE)
                    ? Media.sampleSound(context)
                    : Media.sound(context, Uri.parse(choice.source), session.card.input.audio.seconds);
            show(null, session.run(sound), false);
        } else {
            still();
        }
    }

    private void still() throws IOException {
        Picture picture = choice.source.equals(Choice.SAMPLE)
                ? Media.sample(context, session.card.family)
                : Media.picture(context, Uri.parse(choice.source));
        if (picture == null) {
            say(context.getString(R.string.wrong_kind));
        } else {
            show(picture, session.run(picture), false);
        }
    }

    /** All blocks that wait are taken at once: a slow model skips windows, and never lags behind. */
    private void listen() {
        for (float[] block = heard.poll(); block != null; block = heard.poll()) {
            live.add(block, block.length);
        }
        int hops = live.takeHops();
        if (hops > 0) {
            show(null, session.run(live.window(), hops), false);
        }
    }

    private void end() {
        if (camera != null) {
            camera.close();
        }
        if (microphone != null) {
            microphone.close();
        }
        if (session != null) {
            session.close();
        }
    }

    /** An answer that comes before the last one is on the screen takes its place there. */
    private void show(Picture picture, Result result, boolean mirrored) {
        Answer answer = new Answer(picture, result, mirrored, words(result));
        if (latest.getAndSet(answer) == null) {
            main.post(() -> screen.onAnswer(this, latest.getAndSet(null)));
        }
    }

    private void say(String text) {
        if (!closed) {
            main.post(() -> screen.onMessage(this, text));
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
        if (engine.steps() >= 0) {
            text.append(String.format(Locale.ROOT, ", %d ops in %d steps", engine.operators(), engine.steps()));
        }
        if (!engine.reason().isEmpty()) {
            text.append("\n").append(engine.reason());
        }
        return text.append("\n").append(times("pre", session.pre)).append(times(", infer", session.infer))
                .append(times(", decode", session.decode)).append(" ms (p50/p90)").toString();
    }

    private static String times(String stage, Timings times) {
        return String.format(Locale.ROOT, "%s %.1f/%.1f", stage, times.percentile(0.5), times.percentile(0.9));
    }
}
