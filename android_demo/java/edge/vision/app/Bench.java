package edge.vision.app;

import android.app.Activity;
import android.app.Instrumentation;
import android.content.Intent;
import android.os.Bundle;
import android.os.ParcelFileDescriptor;
import android.os.SystemClock;
import edge.vision.core.BenchLoop;
import edge.vision.core.BenchPlan;
import edge.vision.core.Refusal;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Locale;

/**
 * The harness over adb: {@code am instrument -w -r -e plan HEX PACKAGE/edge.vision.app.Bench}. The plan is JSON, each
 * byte of it in two hexadecimal digits, so that no shell finds anything in it. Every event is a status under the key
 * "edge"; the result has "exit_code".
 */
public final class Bench extends Instrumentation {
    private static final String KEY = "edge";
    private static final String PLAIN_PATH = "/[A-Za-z0-9/._-]+";
    private static final String HASH = "[0-9a-f]{64}";
    private static final int SCREEN_MS = 10_000;
    private static final int BACK_MS = 1000; // as long as the system takes to make the screen anew
    private static final int STEP_MS = 50;

    private String plan;
    private boolean needsScreen;

    @Override
    public void onCreate(Bundle arguments) {
        super.onCreate(arguments);
        plan = arguments.getString("plan", "");
        start();
    }

    @Override
    public void onStart() {
        super.onStart();
        File folder = new File(getTargetContext().getCacheDir(), "bench");
        int code;
        try {
            empty(folder);
            String json = text(plan);
            if (BenchPlan.fromJson(json).app) {
                showScreen();
            }
            code = BenchLoop.run(json, new Phone(
                    getTargetContext(), Backend.XNNPACK, item -> fetched(item, folder), this::sayIfSeen));
        } catch (Refusal refused) {
            code = BenchLoop.failed(this::say, BenchLoop.REFUSED, refused.getMessage());
        } finally {
            empty(folder);
        }
        Bundle result = new Bundle();
        result.putInt("exit_code", code);
        finish(code == BenchLoop.DONE ? Activity.RESULT_OK : Activity.RESULT_CANCELED, result);
    }

    /** Brings the app's screen to the front: what is not seen gets slower cores. */
    private void showScreen() {
        getTargetContext().startActivity(
                BenchActivity.watched(getTargetContext()).addFlags(Intent.FLAG_ACTIVITY_NEW_TASK));
        waitForScreen(SCREEN_MS, "the app's screen does not come to the front; unlock the phone");
        needsScreen = true;
    }

    private static void waitForScreen(int mostMs, String otherwise) {
        for (int waited = 0; !BenchActivity.inFront; waited += STEP_MS) {
            if (waited > mostMs) {
                throw new Refusal(otherwise);
            }
            SystemClock.sleep(STEP_MS);
        }
    }

    /** Says what was measured, unless the screen that belongs to it has left the front meanwhile. */
    private void sayIfSeen(String line) {
        if (needsScreen) {
            waitForScreen(BACK_MS, "the app's screen left the front while it was measured");
        }
        say(line);
    }

    private void say(String line) {
        Bundle status = new Bundle();
        status.putString(KEY, line);
        sendStatus(1, status);
    }

    /** Copies what adb has pushed into the app's own folder, and maps it: what runs is what was sent, byte for byte. */
    private ByteBuffer fetched(BenchPlan.Item item, File folder) throws IOException {
        if (!item.path.matches(PLAIN_PATH) || !item.sha256.matches(HASH)) {
            throw new Refusal("the plan names no plain path, or no SHA-256");
        }
        File copy = new File(folder, item.sha256);
        String found = copied(item.path, copy);
        if (!found.equals(item.sha256)) {
            throw new Refusal("what the app can read is not what was sent", item.sha256, found);
        }
        try (FileInputStream file = new FileInputStream(copy)) {
            return file.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, file.getChannel().size());
        }
    }

    private String copied(String path, File target) throws IOException {
        MessageDigest digest;
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException never) {
            throw new IllegalStateException(never);
        }
        try (InputStream in = opened(path); OutputStream out = new FileOutputStream(target)) {
            byte[] block = new byte[1 << 16];
            for (int count = in.read(block); count >= 0; count = in.read(block)) {
                digest.update(block, 0, count);
                out.write(block, 0, count);
            }
        }
        StringBuilder hash = new StringBuilder();
        for (byte value : digest.digest()) {
            hash.append(String.format(Locale.ROOT, "%02x", value));
        }
        return hash.toString();
    }

    /** Opens a file of the shell's: as any app may today, or through the shell itself where that has been forbidden. */
    private InputStream opened(String path) throws IOException {
        try {
            return new FileInputStream(path);
        } catch (FileNotFoundException | SecurityException forbidden) {
            return new ParcelFileDescriptor.AutoCloseInputStream(
                    getUiAutomation().executeShellCommand("cat " + path));
        }
    }

    private static String text(String hex) {
        byte[] bytes = new byte[hex.length() / 2];
        for (int i = 0; i < bytes.length; i++) {
            int high = Character.digit(hex.charAt(2 * i), 16);
            int low = Character.digit(hex.charAt(2 * i + 1), 16);
            if (high < 0 || low < 0) {
                throw new Refusal("the plan is not hexadecimal");
            }
            bytes[i] = (byte) (16 * high + low);
        }
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static void empty(File folder) {
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new Refusal("the app cannot make a folder of its own");
        }
        File[] old = folder.listFiles();
        for (File file : old == null ? new File[0] : old) {
            if (!file.delete()) {
                throw new Refusal("the app cannot remove a file of its own");
            }
        }
    }
}
