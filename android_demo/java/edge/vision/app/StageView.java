package edge.vision.app;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.graphics.Color;
import android.graphics.Matrix;
import android.graphics.Paint;
import android.view.View;
import edge.vision.core.Overlay;
import edge.vision.core.Picture;
import edge.vision.core.Placement;
import edge.vision.core.Result;

/** The picture that the network saw, and over it what was found: both through one {@link Placement}. */
final class StageView extends View {
    private static final int[] PALETTE = {
        Color.rgb(0, 200, 255), Color.rgb(255, 170, 0), Color.rgb(120, 255, 90), Color.rgb(255, 90, 160),
        Color.rgb(255, 240, 60), Color.rgb(170, 130, 255),
    };

    private final Paint paint = new Paint(Paint.ANTI_ALIAS_FLAG | Paint.FILTER_BITMAP_FLAG);
    private final float unit;
    private Bitmap bitmap;
    private Result result;
    private boolean mirrored;

    StageView(Context context) {
        super(context);
        unit = getResources().getDisplayMetrics().density;
    }

    /** Shows a picture, which is copied, and its result; to be called on the main thread. */
    void show(Picture picture, Result found, boolean mirror) {
        if (bitmap == null || bitmap.getWidth() != picture.width || bitmap.getHeight() != picture.height) {
            bitmap = Bitmap.createBitmap(picture.width, picture.height, Bitmap.Config.ARGB_8888);
        }
        bitmap.setPixels(picture.pixels, 0, picture.width, 0, 0, picture.width, picture.height);
        result = found;
        mirrored = mirror;
        invalidate();
    }

    /** Shows nothing. */
    void clear() {
        bitmap = null;
        result = null;
        invalidate();
    }

    @Override
    protected void onDraw(Canvas canvas) {
        canvas.drawColor(Color.BLACK);
        if (bitmap == null) {
            return;
        }
        Placement placement =
                new Placement(bitmap.getWidth(), bitmap.getHeight(), getWidth(), getHeight(), mirrored);
        Matrix matrix = new Matrix();
        matrix.setValues(placement.matrix());
        canvas.drawBitmap(bitmap, matrix, paint);
        if (result != null) {
            draw(canvas, new Overlay(result, placement));
        }
    }

    private void draw(Canvas canvas, Overlay overlay) {
        paint.setStrokeWidth(3 * unit);
        paint.setStyle(Paint.Style.STROKE);
        for (Overlay.Mark mark : overlay.lines) {
            paint.setColor(PALETTE[mark.colour % PALETTE.length]);
            canvas.drawLine(mark.at[0], mark.at[1], mark.at[2], mark.at[3], paint);
        }
        for (Overlay.Mark mark : overlay.boxes) {
            paint.setColor(PALETTE[mark.colour % PALETTE.length]);
            canvas.drawRect(mark.at[0], mark.at[1], mark.at[2], mark.at[3], paint);
        }
        paint.setStyle(Paint.Style.FILL);
        for (Overlay.Mark mark : overlay.dots) {
            paint.setColor(Color.WHITE);
            canvas.drawCircle(mark.at[0], mark.at[1], 3 * unit, paint);
        }
        paint.setTextSize(14 * unit);
        for (Overlay.Label label : overlay.labels) {
            paint.setColor(Color.WHITE);
            // Above the box, or in it where that would be off the view.
            float y = label.y < 16 * unit ? label.y + 14 * unit : label.y - 2 * unit;
            canvas.drawText(label.text, Math.max(0, label.x), y, paint);
        }
    }
}
