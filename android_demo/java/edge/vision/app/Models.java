package edge.vision.app;

import android.content.Context;
import android.content.res.AssetFileDescriptor;
import android.net.Uri;
import edge.vision.core.Refusal;
import edge.vision.core.TfliteCard;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** The models inside the app, and one that the user brought. */
final class Models {
    private static final String FOLDER = "models";
    private static final String IMPORTED = "imported.tflite";
    private static final long MAX_IMPORT = 200L << 20;

    private Models() {}

    static List<String> names(Context context) throws IOException {
        List<String> names = new ArrayList<>(Arrays.asList(context.getAssets().list(FOLDER)));
        names.sort(null);
        if (imported(context).isFile()) {
            names.add(IMPORTED);
        }
        return names;
    }

    /** Returns a model's bytes, mapped and not copied: its asset is stored without compression. */
    static ByteBuffer open(Context context, String name) throws IOException {
        if (name.equals(IMPORTED)) {
            try (FileInputStream file = new FileInputStream(imported(context))) {
                return file.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, file.getChannel().size());
            }
        }
        try (AssetFileDescriptor asset = context.getAssets().openFd(FOLDER + "/" + name);
                FileInputStream file = new FileInputStream(asset.getFileDescriptor())) {
            return file.getChannel().map(FileChannel.MapMode.READ_ONLY, asset.getStartOffset(), asset.getLength());
        }
    }

    /** Copies a file that the user picked, if it is a model with a card, and returns its name here. */
    static String bring(Context context, Uri source) throws IOException {
        File part = new File(context.getFilesDir(), IMPORTED + ".part");
        try {
            copy(context, source, part);
            try (FileInputStream file = new FileInputStream(part)) {
                TfliteCard.read(file.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, file.getChannel().size()));
            }
            if (!part.renameTo(imported(context))) {
                throw new IOException("the file cannot be kept");
            }
        } finally {
            part.delete(); // of no use where it was refused
        }
        return IMPORTED;
    }

    private static void copy(Context context, Uri source, File target) throws IOException {
        try (InputStream in = context.getContentResolver().openInputStream(source);
                OutputStream out = new FileOutputStream(target)) {
            if (in == null) {
                throw new IOException("the file cannot be opened");
            }
            byte[] block = new byte[1 << 16];
            long total = 0;
            for (int count = in.read(block); count >= 0; count = in.read(block)) {
                total += count;
                if (total > MAX_IMPORT) {
                    throw new Refusal("the model file is too large", MAX_IMPORT + " bytes", "more");
                }
                out.write(block, 0, count);
            }
        }
    }

    private static File imported(Context context) {
        return new File(context.getFilesDir(), IMPORTED);
    }
}
