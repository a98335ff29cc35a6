package edge.vision.app;

import android.os.Build;
import edge.vision.core.Card;
import edge.vision.core.Declared;
import edge.vision.core.Network;
import edge.vision.core.Refusal;
import edge.vision.core.TfliteCard;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;
import org.tensorflow.lite.nnapi.NnApiDelegate;

/**
 * One model in TFLite. It falls back to the CPU where the backend that was asked for is not to be had, and says so: what
 * was asked for, what runs, and why. One thread owns an engine from opening to closing.
 */
final class Engine implements Network {
    private static final int NNAPI_FROM = Build.VERSION_CODES.O_MR1; // Android 8.1
    private static final String STEPS = "getExecutionPlanLength";

    final Backend requested;
    final int threads;
    private final ByteBuffer model;
    private final Card card;
    private final FloatBuffer input;
    private final ByteBuffer inputBytes;
    private final float[][] outputs;
    private final int operators;
    private Interpreter interpreter;
    private NnApiDelegate delegate;
    private Backend actual;
    private String reason = "";
    private int steps;
    private int[] order;
    private Map<Integer, Object> buffers;

    /** Opens a model; a {@link Refusal} says why it cannot run here at all. */
    Engine(ByteBuffer model, Card card, Backend requested, int threads) {
        this.model = model;
        this.card = card;
        this.requested = requested;
        this.threads = threads;
        operators = TfliteCard.operators(model);
        inputBytes = ByteBuffer.allocateDirect(4 * card.input.size()).order(ByteOrder.nativeOrder());
        input = inputBytes.asFloatBuffer();
        outputs = new float[card.outputs.size()][];
        for (int i = 0; i < outputs.length; i++) {
            outputs[i] = new float[card.outputs.get(i).size()];
        }
        if (requested != Backend.NNAPI || !openedOnNnapi()) {
            openOnCpu();
        }
    }

    /** What runs now; it may change to the CPU with the first inference. */
    Backend actual() {
        return actual;
    }

    /** Why it is not what was requested; empty where it is. */
    String reason() {
        return reason;
    }

    @Override
    public float[][] run(float[] tensor) {
        input.clear();
        input.put(tensor);
        try {
            infer();
            if (delegate != null && delegate.hasErrors()) {
                fallBack("NNAPI failed with error " + delegate.getNnapiErrno());
                infer();
            }
        } catch (IllegalStateException | IllegalArgumentException failure) {
            if (delegate == null) {
                throw new Refusal("the model failed while it ran: " + failure.getMessage());
            }
            fallBack("NNAPI failed: " + failure.getMessage());
            infer();
        }
        return outputs;
    }

    /** How many steps run, where a backend's whole share of ops between two others is one; -1: TFLite does not say. */
    int steps() {
        return steps;
    }

    /** How many ops the model's graph has. */
    int operators() {
        return operators;
    }

    @Override
    public void close() {
        if (interpreter != null) {
            interpreter.close();
            interpreter = null;
        }
        if (delegate != null) {
            delegate.close();
            delegate = null;
        }
    }

    private void infer() {
        inputBytes.rewind();
        for (Object buffer : buffers.values()) {
            ((ByteBuffer) buffer).rewind();
        }
        interpreter.runForMultipleInputsOutputs(new Object[] {inputBytes}, buffers);
        for (int i = 0; i < outputs.length; i++) {
            ByteBuffer buffer = (ByteBuffer) buffers.get(order[i]);
            buffer.rewind();
            buffer.asFloatBuffer().get(outputs[i]);
        }
    }

    private boolean openedOnNnapi() {
        if (Build.VERSION.SDK_INT < NNAPI_FROM) {
            reason = "NNAPI needs Android 8.1, this is " + Build.VERSION.RELEASE;
            return false;
        }
        try {
            NnApiDelegate.Options options = new NnApiDelegate.Options();
            options.setUseNnapiCpu(false); // its own CPU is slower than ours, and would run unseen
            delegate = new NnApiDelegate(options);
        } catch (RuntimeException | UnsatisfiedLinkError failure) {
            reason = "NNAPI is not to be had: " + failure.getMessage();
            return false;
        }
        return opened(Backend.NNAPI, new Interpreter.Options().setUseXNNPACK(false).addDelegate(delegate));
    }

    private void openOnCpu() {
        if (requested != Backend.CPU && opened(Backend.XNNPACK, new Interpreter.Options().setUseXNNPACK(true))) {
            return;
        }
        try {
            open(new Interpreter.Options().setUseXNNPACK(false));
        } catch (IllegalArgumentException | IllegalStateException failure) {
            close();
            throw new Refusal("TFLite cannot run this file: " + failure.getMessage());
        }
        actual = Backend.CPU;
    }

    /** Opens on a backend; otherwise gives the reason, unless one from before stands, and closes again. */
    private boolean opened(Backend backend, Interpreter.Options options) {
        String why;
        try {
            open(options);
            if (steps < 0 || steps < operators || operators == 1) {
                actual = backend;
                return true;
            }
            why = " took no op of this model";
        } catch (Refusal refused) { // of the file, whatever runs it
            close();
            throw refused;
        } catch (RuntimeException failure) {
            why = " refused the model: " + failure.getMessage();
        }
        close();
        reason = reason.isEmpty() ? backend + why : reason + "; " + backend + why;
        return false;
    }

    private void fallBack(String why) {
        close();
        reason = why;
        openOnCpu();
    }

    private void open(Interpreter.Options options) {
        interpreter = new Interpreter(model, options.setNumThreads(threads));
        interpreter.allocateTensors();
        steps = planned();
        if (interpreter.getInputTensorCount() != 1) {
            throw new Refusal("a model has one input here", 1, interpreter.getInputTensorCount());
        }
        check("input", interpreter.getInputTensor(0), card.input.shape);
        order = order();
        buffers = new HashMap<>();
        for (int i = 0; i < order.length; i++) {
            Tensor tensor = interpreter.getOutputTensor(order[i]);
            check("output `" + card.outputs.get(i).name + "`", tensor, card.outputs.get(i).shape);
            buffers.put(order[i], ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder()));
        }
    }

    /** The steps of the plan, which TFLite counts but shows to its own package only. */
    private int planned() {
        try {
            Method count = Declared.method(Interpreter.class, STEPS);
            count.setAccessible(true);
            return (Integer) count.invoke(interpreter);
        } catch (ReflectiveOperationException | RuntimeException unknown) {
            return -1;
        }
    }

    /** Where the file keeps each of the card's outputs: by the signature's names, by the tensors', else in graph order. */
    private int[] order() {
        int count = interpreter.getOutputTensorCount();
        if (count != card.outputs.size()) {
            throw new Refusal("the file has another number of outputs than its card", card.outputs.size(), count);
        }
        String[] keys = interpreter.getSignatureKeys();
        List<String> tensors = new ArrayList<>();
        Map<Integer, Integer> places = new HashMap<>(); // of a tensor among the outputs
        for (int i = 0; i < count; i++) {
            tensors.add(interpreter.getOutputTensor(i).name());
            places.put(interpreter.getOutputTensor(i).index(), i);
        }
        List<String> named = keys.length == 1 ? Arrays.asList(interpreter.getSignatureOutputs(keys[0])) : tensors;
        int[] order = new int[count];
        boolean bySignature = keys.length == 1;
        boolean byTensor = true;
        for (Card.Output spec : card.outputs) {
            bySignature &= named.contains(spec.name);
            byTensor &= tensors.contains(spec.name);
        }
        for (int i = 0; i < count; i++) {
            String name = card.outputs.get(i).name;
            if (bySignature) {
                order[i] = places.get(interpreter.getOutputTensorFromSignature(name, keys[0]).index());
            } else {
                order[i] = byTensor ? tensors.indexOf(name) : i;
            }
        }
        return order;
    }

    private static void check(String what, Tensor tensor, int[] shape) {
        if (tensor.dataType() != DataType.FLOAT32 || !Arrays.equals(tensor.shape(), shape)) {
            throw new Refusal(
                    "the file's " + what + " is not what its card says", Arrays.toString(shape),
                    Arrays.toString(tensor.shape()) + " " + tensor.dataType());
        }
    }
}
