package edge.vision.standin;

import edge.vision.core.Card;
import edge.vision.core.Refusal;
import edge.vision.core.Network;
import java.nio.ByteBuffer;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.tensorflowlite.TfLiteInterpreter;
import org.bytedeco.tensorflowlite.TfLiteInterpreterOptions;
import org.bytedeco.tensorflowlite.TfLiteModel;
import org.bytedeco.tensorflowlite.TfLiteSignatureRunner;
import org.bytedeco.tensorflowlite.TfLiteTensor;
import org.bytedeco.tensorflowlite.global.tensorflowlite;

/** One model in TFLite's C library for this machine; what {@code edge.vision.app.Engine} is to Android. */
final class TfliteNetwork implements Network {
    private static final int OK = 0;

    final int threads;
    private final BytePointer content;
    private final TfLiteModel model;
    private final TfLiteInterpreter interpreter;
    private final TfLiteTensor input;
    private final FloatPointer inputValues;
    private final TfLiteTensor[] tensors;
    private final FloatPointer[] values;
    private final float[][] outputs;
    private boolean closed;

    TfliteNetwork(ByteBuffer file, Card card, int threads) {
        this.threads = threads;
        byte[] bytes = new byte[file.remaining()];
        file.duplicate().get(bytes);
        content = new BytePointer(bytes); // the library reads from it as long as the model lives
        model = tensorflowlite.TfLiteModelCreate(content, bytes.length);
        if (model == null || model.isNull()) {
            throw new Refusal("TFLite cannot read this file");
        }
        TfLiteInterpreterOptions options = tensorflowlite.TfLiteInterpreterOptionsCreate();
        tensorflowlite.TfLiteInterpreterOptionsSetNumThreads(options, threads);
        interpreter = tensorflowlite.TfLiteInterpreterCreate(model, options);
        tensorflowlite.TfLiteInterpreterOptionsDelete(options);
        if (interpreter == null || interpreter.isNull()
                || tensorflowlite.TfLiteInterpreterAllocateTensors(interpreter) != OK) {
            throw new Refusal("TFLite cannot run this file");
        }
        input = tensorflowlite.TfLiteInterpreterGetInputTensor(interpreter, 0);
        inputValues = new FloatPointer(card.input.size());
        check(input, card.input.size());
        int count = tensorflowlite.TfLiteInterpreterGetOutputTensorCount(interpreter);
        if (count != card.outputs.size()) {
            throw new Refusal("the file has another number of outputs than its card", card.outputs.size(), count);
        }
        tensors = new TfLiteTensor[count];
        values = new FloatPointer[count];
        outputs = new float[count][];
        for (int i = 0; i < count; i++) {
            tensors[i] = output(card.outputs.get(i).name, i);
            outputs[i] = new float[card.outputs.get(i).size()];
            values[i] = new FloatPointer(outputs[i].length);
            check(tensors[i], outputs[i].length);
        }
    }

    static String version() {
        return tensorflowlite.TfLiteVersion().getString();
    }

    @Override
    public float[][] run(float[] tensor) {
        inputValues.put(tensor);
        expect(tensorflowlite.TfLiteTensorCopyFromBuffer(input, inputValues, 4L * tensor.length));
        expect(tensorflowlite.TfLiteInterpreterInvoke(interpreter));
        for (int i = 0; i < outputs.length; i++) {
            expect(tensorflowlite.TfLiteTensorCopyToBuffer(tensors[i], values[i], 4L * outputs[i].length));
            values[i].get(outputs[i]);
        }
        return outputs;
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            tensorflowlite.TfLiteInterpreterDelete(interpreter);
            tensorflowlite.TfLiteModelDelete(model);
            content.deallocate();
        }
    }

    /** Returns an output by the signature's name, else by its place. */
    private TfLiteTensor output(String name, int place) {
        if (tensorflowlite.TfLiteInterpreterGetSignatureCount(interpreter) == 1) {
            BytePointer key = tensorflowlite.TfLiteInterpreterGetSignatureKey(interpreter, 0);
            TfLiteSignatureRunner runner = tensorflowlite.TfLiteInterpreterGetSignatureRunner(interpreter, key);
            if (runner != null && !runner.isNull()) {
                long count = tensorflowlite.TfLiteSignatureRunnerGetOutputCount(runner);
                for (int i = 0; i < count; i++) {
                    if (tensorflowlite.TfLiteSignatureRunnerGetOutputName(runner, i).getString().equals(name)) {
                        return tensorflowlite.TfLiteSignatureRunnerGetOutputTensor(runner, name);
                    }
                }
            }
        }
        return tensorflowlite.TfLiteInterpreterGetOutputTensor(interpreter, place);
    }

    private static void check(TfLiteTensor tensor, int size) {
        if (tensorflowlite.TfLiteTensorByteSize(tensor) != 4L * size) {
            throw new Refusal("a tensor of the file is not what its card says", 4L * size + " bytes",
                    tensorflowlite.TfLiteTensorByteSize(tensor));
        }
    }

    private static void expect(int status) {
        if (status != OK) {
            throw new Refusal("the model failed while it ran");
        }
    }
}
