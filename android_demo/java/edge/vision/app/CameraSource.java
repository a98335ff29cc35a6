package edge.vision.app;

import android.annotation.SuppressLint;
import android.content.Context;
import android.graphics.ImageFormat;
import android.hardware.camera2.CameraAccessException;
import android.hardware.camera2.CameraCaptureSession;
import android.hardware.camera2.CameraCharacteristics;
import android.hardware.camera2.CameraDevice;
import android.hardware.camera2.CameraManager;
import android.hardware.camera2.CaptureRequest;
import android.hardware.camera2.params.StreamConfigurationMap;
import android.media.Image;
import android.media.ImageReader;
import android.os.Handler;
import android.os.Looper;
import android.util.Size;
import edge.vision.core.Picture;
import edge.vision.core.Rotation;
import edge.vision.core.YuvFrame;
import java.nio.ByteBuffer;
import java.util.Collections;

/**
 * Upright frames of a camera; late ones are dropped. Everything runs on the thread that made the source, which must
 * outlive it: a camera may open only after the source was closed, and is then closed by what it calls back.
 */
final class CameraSource implements AutoCloseable {
    private static final int WANTED_PIXELS = 640 * 480;

    /** Who gets the frames. */
    interface Listener {
        /** The picture is overwritten after this returns; the front camera's is to be shown mirrored. */
        void onFrame(Picture picture, boolean mirrored);

        void onCameraError(String why);
    }

    private final Handler handler = new Handler(Looper.myLooper()); // its own: nobody else may remove its messages
    private final Listener listener;
    private final YuvFrame frame = new YuvFrame();
    private int displayDegrees;
    private CameraDevice device;
    private ImageReader reader;
    private int sensorDegrees;
    private boolean continuousFocus;
    private boolean front;
    private boolean closed;

    CameraSource(Listener listener, int displayDegrees) {
        this.listener = listener;
        this.displayDegrees = displayDegrees;
    }

    /** Takes note that the display was turned. */
    void turn(int degrees) {
        displayDegrees = degrees;
    }

    /** Opens the camera; the permission must have been granted. */
    @SuppressLint("MissingPermission")
    void open(Context context, boolean wantFront) {
        try {
            CameraManager manager = (CameraManager) context.getSystemService(Context.CAMERA_SERVICE);
            String id = chosen(manager, wantFront);
            if (id == null) {
                listener.onCameraError("this device has no camera");
                return;
            }
            CameraCharacteristics facts = manager.getCameraCharacteristics(id);
            Integer facing = facts.get(CameraCharacteristics.LENS_FACING);
            Integer sensor = facts.get(CameraCharacteristics.SENSOR_ORIENTATION);
            front = facing != null && facing == CameraCharacteristics.LENS_FACING_FRONT;
            sensorDegrees = sensor == null ? 0 : sensor;
            continuousFocus = offers(facts.get(CameraCharacteristics.CONTROL_AF_AVAILABLE_MODES));
            Size size = size(facts.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP));
            reader = ImageReader.newInstance(size.getWidth(), size.getHeight(), ImageFormat.YUV_420_888, 2);
            reader.setOnImageAvailableListener(this::onImage, handler);
            manager.openCamera(id, new Opened(), handler);
        } catch (CameraAccessException | RuntimeException failure) {
            listener.onCameraError(Runner.why(failure));
        }
    }

    @Override
    public void close() {
        closed = true;
        if (device != null) {
            device.close();
            device = null;
        }
        if (reader != null) {
            reader.close();
            reader = null;
        }
    }

    private static String chosen(CameraManager manager, boolean wantFront) throws CameraAccessException {
        String other = null;
        for (String id : manager.getCameraIdList()) {
            Integer facing = manager.getCameraCharacteristics(id).get(CameraCharacteristics.LENS_FACING);
            if (facing != null && (facing == CameraCharacteristics.LENS_FACING_FRONT) == wantFront) {
                return id;
            }
            other = other == null ? id : other;
        }
        return other;
    }

    private static boolean offers(int[] focusModes) {
        boolean found = false;
        for (int mode : focusModes == null ? new int[0] : focusModes) {
            found |= mode == CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE;
        }
        return found;
    }

    private static Size size(StreamConfigurationMap map) {
        Size best = new Size(640, 480);
        long nearest = Long.MAX_VALUE;
        Size[] offered = map == null ? null : map.getOutputSizes(ImageFormat.YUV_420_888);
        for (Size size : offered == null ? new Size[0] : offered) {
            long off = Math.abs((long) size.getWidth() * size.getHeight() - WANTED_PIXELS);
            if (off < nearest) {
                nearest = off;
                best = size;
            }
        }
        return best;
    }

    private void onImage(ImageReader from) {
        if (closed) {
            return;
        }
        Picture picture;
        try (Image image = from.acquireLatestImage()) {
            if (image == null) {
                return;
            }
            Image.Plane[] planes = image.getPlanes();
            ByteBuffer[] buffers = new ByteBuffer[3];
            int[] rows = new int[3];
            int[] steps = new int[3];
            for (int i = 0; i < 3; i++) {
                buffers[i] = planes[i].getBuffer();
                rows[i] = planes[i].getRowStride();
                steps[i] = planes[i].getPixelStride();
            }
            picture = frame.upright(buffers, rows, steps, image.getWidth(), image.getHeight(),
                    Rotation.upright(sensorDegrees, displayDegrees, front));
        } catch (RuntimeException failure) {
            listener.onCameraError(Runner.why(failure));
            return;
        }
        listener.onFrame(picture, front); // with the camera's buffer given back
    }

    private final class Opened extends CameraDevice.StateCallback {
        @Override
        public void onOpened(CameraDevice opened) {
            if (closed) {
                opened.close();
                return;
            }
            device = opened;
            try {
                device.createCaptureSession(Collections.singletonList(reader.getSurface()), new Started(), handler);
            } catch (CameraAccessException | RuntimeException failure) {
                listener.onCameraError(Runner.why(failure));
            }
        }

        @Override
        public void onDisconnected(CameraDevice gone) {
            gone.close();
            listener.onCameraError("another app took the camera");
        }

        @Override
        public void onError(CameraDevice broken, int code) {
            broken.close();
            listener.onCameraError("the camera failed with error " + code);
        }
    }

    private final class Started extends CameraCaptureSession.StateCallback {
        @Override
        public void onConfigured(CameraCaptureSession session) {
            if (closed) {
                return;
            }
            try {
                CaptureRequest.Builder request = device.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW);
                request.addTarget(reader.getSurface());
                if (continuousFocus) {
                    request.set(CaptureRequest.CONTROL_AF_MODE, CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE);
                }
                session.setRepeatingRequest(request.build(), null, handler);
            } catch (CameraAccessException | RuntimeException failure) {
                listener.onCameraError(Runner.why(failure));
            }
        }

        @Override
        public void onConfigureFailed(CameraCaptureSession session) {
            listener.onCameraError("the camera gives no frames of this kind");
        }
    }
}
