package edge.vision.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/**
 * The golden vectors that {@code golden.py} wrote, and what each kind of case demands. {@code main} checks them on a bare
 * JVM, {@link GoldenTest} under JUnit.
 */
public final class Golden {
    private static final double SCORE_NEAR = 1e-4; // of the score: sums of float32 in another order
    private static final double TENSOR_NEAR = 2e-3; // of a z-score of decibels: float32 logarithms
    private static final double MOST_OFF = 3e-3; // of values that may be a level off, where a level is cut

    private final List<Case> cases = new ArrayList<>();

    /** One case; a failure is an {@link AssertionError} that says what differs. */
    public static final class Case {
        public final String name;
        private final String kind;
        private final Map<?, ?> values;
        private final byte[] blob;

        Case(Map<?, ?> values, byte[] blob) {
            this.values = values;
            this.blob = blob;
            kind = (String) values.get("kind");
            name = (String) values.get("name");
        }

        public void check() {
            switch (kind) {
                case "picture":
                    checkPicture();
                    break;
                case "sound":
                    checkSound();
                    break;
                case "resampled":
                    checkResampled();
                    break;
                case "wav":
                    Sound sound = WavReader.read(bytes("file"));
                    same("rate", whole("rate"), sound.rate);
                    near("samples", floats("samples"), sound.samples, 1e-7);
                    break;
                case "smoothed":
                    checkSmoothed();
                    break;
                case "card":
                    same("accepted", values.get("right"), accepted((String) values.get("text")));
                    break;
                case "file":
                    checkFile();
                    break;
                default:
                    checkDecoded();
            }
        }

        /** Returns the outputs of a decoder's case if a network with that card could have given them, else null. */
        float[][] outputsOf(Card wanted) {
            if (!values.containsKey("outputs") || !card().decoder.equals(wanted.decoder)) {
                return null;
            }
            Card own = card();
            float[][] outputs = new float[own.outputs.size()][];
            for (int i = 0; i < outputs.length; i++) {
                if (!Arrays.equals(own.outputs.get(i).shape, wanted.outputs.get(i).shape)) {
                    return null;
                }
                outputs[i] = floats((List<?>) list("outputs").get(i));
            }
            return outputs;
        }

        private void checkPicture() {
            Card card = card();
            byte[] rgb = bytes("picture");
            int[] pixels = new int[rgb.length / 3];
            for (int i = 0; i < pixels.length; i++) {
                pixels[i] = 0xFF << 24 | (rgb[3 * i] & 255) << 16 | (rgb[3 * i + 1] & 255) << 8 | rgb[3 * i + 2] & 255;
            }
            List<?> hw = list("hw");
            Preprocessor preprocessor = new Preprocessor(card.input);
            if (!card.input.resize.rule.equals("none")) {
                preprocessor.prepare(new Picture(3, 2, new int[6])); // its padding must not be left over
            }
            Geometry found = preprocessor.prepare(new Picture(number(hw.get(1)), number(hw.get(0)), pixels));
            List<?> content = list("content_hw");
            same("content height", number(content.get(0)), found.contentHeight);
            same("content width", number(content.get(1)), found.contentWidth);
            sameLevels(floats("tensor"), preprocessor.tensor(), 0, real("level"));
        }

        private void checkSound() {
            SoundPreprocessor preprocessor = new SoundPreprocessor(card().input);
            preprocessor.prepare(new Sound(floats("clip"), whole("rate")));
            sameLevels(floats("tensor"), preprocessor.tensor(), TENSOR_NEAR, real("level"));
        }

        private void checkResampled() {
            List<?> rates = list("rates");
            float[] found = new Resampler(number(rates.get(0)), number(rates.get(1))).resample(floats("clip"));
            near("samples", floats("out"), found, 1e-5);
        }

        private void checkSmoothed() {
            Smoother smoother = new Smoother(real("half_life_s"));
            for (Object item : list("steps")) {
                List<?> step = (List<?>) item;
                Result.Emotion given = new Result.Emotion(value(step.get(1)), value(step.get(2)));
                Result.Emotion found = smoother.add(given, value(step.get(0)));
                near("valence", value(step.get(3)), found.valence, 1e-12);
                near("arousal", value(step.get(4)), found.arousal, 1e-12);
            }
        }

        private void checkFile() {
            ByteBuffer file = ByteBuffer.wrap(bytes("file"));
            if (values.get("model") == null) {
                try {
                    TfliteCard.read(file);
                } catch (Refusal refused) {
                    return;
                }
                throw new AssertionError("a damaged file is read");
            }
            Card card = TfliteCard.read(file);
            same("model", values.get("model"), card.model);
            same("decoder", values.get("decoder"), card.decoder);
            Decoders.of(card);
        }

        /** Returns what the decoder makes of a decoder's case. */
        Result decoded() {
            Card card = card();
            float[][] outputs = new float[card.outputs.size()][];
            for (int i = 0; i < outputs.length; i++) {
                outputs[i] = floats((List<?>) list("outputs").get(i));
            }
            Geometry geometry = null;
            if (values.get("picture_hw") != null) {
                List<?> hw = list("picture_hw");
                List<?> content = list("content_hw");
                geometry = new Geometry(number(hw.get(0)), number(hw.get(1)), number(content.get(0)), number(content.get(1)));
            }
            Decoder decoder = Decoders.of(card);
            decoder.decode(outputs, geometry, Decoder.DEFAULT); // nothing may be left over for the next call
            return decoder.decode(outputs, geometry, Decoder.DEFAULT);
        }

        private void checkDecoded() {
            Result found = decoded();
            same("kind", kind, found.kind);
            same("truncated", values.get("truncated"), found.truncated);
            same("nonfinite", whole("nonfinite"), found.nonfinite);
            comparePeople(found.people);
            compareFaces(found.faces);
            List<?> emotion = (List<?>) values.get("emotion");
            same("emotion", emotion == null, found.emotion == null);
            if (emotion != null) {
                near("valence", value(emotion.get(0)), found.emotion.valence, 1e-6);
                near("arousal", value(emotion.get(1)), found.emotion.arousal, 1e-6);
                same("quadrant", values.get("quadrant"), found.emotion.quadrant());
            }
        }

        private void comparePeople(List<Result.Person> found) {
            List<?> wanted = list("people");
            same("number of people", wanted.size(), found.size());
            for (int i = 0; i < wanted.size(); i++) {
                Map<?, ?> person = (Map<?, ?>) wanted.get(i);
                double score = value(person.get("score"));
                near("score of person " + i, score, found.get(i).score, SCORE_NEAR * Math.max(1, Math.abs(score)));
                List<?> points = (List<?>) person.get("keypoints");
                for (int part = 0; part < points.size(); part++) {
                    String what = "person " + i + " " + Skeleton.KEYPOINTS.get(part);
                    Result.Keypoint point = found.get(i).keypoints[part];
                    same("presence of " + what, points.get(part) != null, point != null);
                    if (point != null) {
                        List<?> place = (List<?>) points.get(part);
                        near(what + " x", value(place.get(0)), point.x, real("near"));
                        near(what + " y", value(place.get(1)), point.y, real("near"));
                        near(what + " height", value(place.get(2)), point.score, SCORE_NEAR);
                    }
                }
            }
        }

        private void compareFaces(List<Result.Face> found) {
            List<?> wanted = list("faces");
            same("number of faces", wanted.size(), found.size());
            for (int i = 0; i < wanted.size(); i++) {
                List<?> face = (List<?>) wanted.get(i);
                near("score of face " + i, value(face.get(4)), found.get(i).score, 1e-6);
                for (int j = 0; j < 14; j++) {
                    float got = j < 4 ? found.get(i).box[j] : found.get(i).landmarks[j - 4];
                    double right = value(face.get(j < 4 ? j : j + 1));
                    // A box of wild offsets is far larger than the picture: then it is its own size that counts.
                    near("face " + i + " number " + j, right, got, Math.max(real("near"), 1e-5 * Math.abs(right)));
                }
            }
        }

        private static boolean accepted(String text) {
            try {
                Decoders.of(Card.fromJson(text));
                return true;
            } catch (Refusal refused) {
                return false;
            }
        }

        private Card card() {
            return Card.fromJson(Json.write(values.get("card")));
        }

        private List<?> list(String key) {
            return (List<?>) values.get(key);
        }

        private int whole(String key) {
            return number(values.get(key));
        }

        private double real(String key) {
            return value(values.get(key));
        }

        private float[] floats(String key) {
            return floats(list(key));
        }

        private float[] floats(List<?> place) {
            byte[] content = inflated(place, 4);
            float[] found = new float[content.length / 4];
            ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(found);
            return found;
        }

        private byte[] bytes(String key) {
            return inflated(list(key), 1);
        }

        private byte[] inflated(List<?> place, int elementBytes) {
            Inflater inflater = new Inflater();
            inflater.setInput(blob, number(place.get(0)), number(place.get(1)));
            byte[] found = new byte[number(place.get(2)) * elementBytes];
            try {
                int filled = 0;
                while (filled < found.length) {
                    filled += inflater.inflate(found, filled, found.length - filled);
                }
            } catch (DataFormatException damaged) {
                throw new IllegalStateException(damaged);
            } finally {
                inflater.end();
            }
            return found;
        }
    }

    private Golden(Path folder) throws IOException {
        byte[] blob = Files.readAllBytes(folder.resolve("cases.bin"));
        String text = new String(Files.readAllBytes(folder.resolve("cases.json")), StandardCharsets.UTF_8);
        for (Object item : (List<?>) ((Map<?, ?>) Json.parse(text)).get("cases")) {
            cases.add(new Case((Map<?, ?>) item, blob));
        }
    }

    /** Returns the cases of a folder. */
    public static List<Case> read(Path folder) throws IOException {
        return new Golden(folder).cases;
    }

    /** Checks the cases of the folder that is named first, prints what fails, and ends with 1 if any does. */
    public static void main(String[] arguments) throws IOException {
        List<Case> cases = read(Paths.get(arguments[0]));
        int failed = 0;
        for (Case item : cases) {
            try {
                item.check();
            } catch (AssertionError | RuntimeException problem) {
                failed++;
                System.out.println("FAILED " + item.name + ": " + problem);
                if (Boolean.getBoolean("edge.first")) {
                    break;
                }
            }
        }
        System.out.println(cases.size() - failed + " passed, " + failed + " failed");
        System.exit(failed == 0 && !cases.isEmpty() ? 0 : 1);
    }

    private static int number(Object value) {
        return ((Number) value).intValue();
    }

    private static double value(Object value) {
        return ((Number) value).doubleValue();
    }

    private static void same(String what, Object wanted, Object got) {
        if (!wanted.equals(got)) {
            throw new AssertionError(what + ": expected " + wanted + ", got " + got);
        }
    }

    private static void near(String what, double wanted, double got, double most) {
        if (!(Math.abs(wanted - got) <= most)) {
            throw new AssertionError(what + ": expected " + wanted + " within " + most + ", got " + got);
        }
    }

    private static void near(String what, float[] wanted, float[] got, double most) {
        same("number of " + what, wanted.length, got.length);
        for (int i = 0; i < wanted.length; i++) {
            near(what + " " + i, wanted[i], got[i], most);
        }
    }

    /** A few values may be a level off, all others must be near. */
    private static void sameLevels(float[] wanted, float[] got, double most, double level) {
        same("number of values", wanted.length, got.length);
        int off = 0;
        for (int i = 0; i < wanted.length; i++) {
            double difference = Math.abs(wanted[i] - got[i]);
            off += difference <= most ? 0 : 1;
            near("value " + i, wanted[i], got[i], Math.max(most, level));
        }
        if (off > MOST_OFF * wanted.length) {
            throw new AssertionError(off + " of " + wanted.length + " values are a level off");
        }
    }
}
