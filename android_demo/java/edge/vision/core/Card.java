package edge.vision.core;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The card inside a model file: all that is needed to use it without its code, as {@code runtime/card.py} defines it.
 *
 * <p>Read once, checked key by key, and immutable after that. {@link Refusal} is what a malformed card gives.
 */
public final class Card {
    public static final int SCHEMA = 1;
    private static final int MAX_TEXT = 1 << 20;
    private static final long MAX_ELEMENTS = 1L << 28;

    public final String model;
    /** "pose", "face", "emotion" or "custom". */
    public final String family;
    public final Input input;
    /** In graph order. */
    public final List<Output> outputs;
    public final String decoder;
    public final Map<String, String> provenance;
    /** Target, precision, route and recipe of the file. */
    public final Map<String, String> artifact;
    private final Object decoderParams;

    private Card(Table card) {
        card.need("model", "input", "outputs");
        model = card.text("model", null);
        family = card.text("family", "custom");
        input = new Input(card.table("input"));
        outputs = new ArrayList<>();
        Set<String> names = new HashSet<>();
        for (Table output : card.tables("outputs")) {
            outputs.add(new Output(output));
            if (!names.add(outputs.get(outputs.size() - 1).name)) {
                throw new Refusal("output names must differ");
            }
        }
        if (outputs.isEmpty()) {
            throw new Refusal("a card needs at least one output");
        }
        Table spec = card.table("decoder");
        decoder = spec == null ? "none" : spec.text("name", "none");
        decoderParams = spec == null ? null : spec.take("params");
        if (spec != null) {
            spec.done();
        }
        checkLimits(card);
        provenance = card.texts("provenance");
        artifact = card.texts("artifact");
        if (card.whole("schema", SCHEMA) != SCHEMA) {
            throw new Refusal("card schema not known", SCHEMA, "another");
        }
        card.done();
    }

    /** Returns the card of a JSON text. */
    public static Card fromJson(String text) {
        if (text.length() > MAX_TEXT) {
            throw new Refusal("card is over 1 MiB", "at most " + MAX_TEXT + " characters", text.length());
        }
        return new Card(new Table(Json.parse(text), "card"));
    }

    /** Returns the decoder's constants as they stand on the card. */
    Table decoderParams() {
        return new Table(decoderParams == null ? Json.parse("{}") : decoderParams, "card.decoder.params");
    }

    /** Returns the precision that the file's name promises, or "" where the card does not say. */
    public String precision() {
        String found = artifact.get("precision");
        return found == null ? "" : found;
    }

    private static void checkLimits(Table card) {
        Table parity = card.table("parity");
        if (parity != null) {
            for (String precision : parity.keys()) {
                Table limit = parity.table(precision);
                for (String key : new String[] {"max_error", "min_cosine", "min_sqnr_db"}) {
                    if (limit.isNull(key)) {
                        limit.take(key);
                    }
                    limit.number(key, 0);
                }
                limit.done();
            }
        }
        Table budget = card.table("budget");
        if (budget != null) {
            budget.whole("size_bytes", 0);
            budget.number("p90_ms", 0);
            budget.done();
        }
    }

    private static void checkShape(String what, int[] shape) {
        long elements = shape.length == 0 ? 0 : 1;
        for (int side : shape) {
            elements = side < 1 || elements > MAX_ELEMENTS ? 0 : elements * side;
        }
        if (elements < 1 || elements > MAX_ELEMENTS) {
            throw new Refusal("`" + what + "` needs a static shape of 1 to 2**28 elements");
        }
    }

    /** The input contract. */
    public static final class Input {
        public final String name;
        public final int[] shape;
        /** "NCHW", "NHWC" or "any". */
        public final String layout;
        /** "image", "audio" or "tensor". */
        public final String kind;
        /** "BGR", "RGB" or "GRAY". */
        public final String colour;
        public final double[] mean;
        public final double[] std;
        public final Resizing resize;
        /** Null but for sound. */
        public final Audio audio;

        Input(Table table) {
            table.need("shape");
            name = table.text("name", "input");
            shape = table.wholes("shape");
            layout = table.word("layout", "NCHW", "NCHW", "NHWC", "any");
            table.word("dtype", "float32", "float32");
            kind = table.word("kind", "image", "image", "audio", "tensor");
            colour = table.word("colour", "BGR", "BGR", "RGB", "GRAY");
            mean = table.numbers("mean", 0, 0, 0);
            std = table.numbers("std", 1, 1, 1);
            resize = new Resizing(table.table("resize"));
            Table sound = table.table("audio");
            audio = sound == null ? null : new Audio(sound);
            table.done();
            checkShape("input", shape);
            if (!kind.equals("tensor")) {
                if (layout.equals("any") || shape.length != 4) {
                    throw new Refusal("an image or audio input must be 4-D with layout NCHW or NHWC");
                }
                boolean positive = true;
                for (double value : std) {
                    positive &= value > 0;
                }
                if (mean.length != channels() || std.length != channels() || !positive) {
                    throw new Refusal("mean and std need one value a channel, std above 0");
                }
            }
            if (kind.equals("audio") && audio == null) {
                throw new Refusal("an audio input needs its `audio` settings");
            }
        }

        public boolean channelsFirst() {
            return layout.equals("NCHW");
        }

        public int channels() {
            return channelsFirst() ? shape[1] : shape[shape.length - 1];
        }

        /** Height, pixels. */
        public int height() {
            return channelsFirst() ? shape[2] : shape[1];
        }

        /** Width, pixels. */
        public int width() {
            return channelsFirst() ? shape[3] : shape[2];
        }

        /** Number of values. */
        public int size() {
            return count(shape);
        }
    }

    /** How a picture of any size becomes one of the network's size. */
    public static final class Resizing {
        /** "letterbox", "stretch" or "none". */
        public final String rule;
        /** "bilinear" or "bicubic". */
        public final String interpolation;
        /** "truncate" or "round". */
        public final String rounding;
        public final double[] fill;
        public final boolean upscale;

        Resizing(Table given) {
            Table table = given == null ? new Table(Json.parse("{}"), "card.input.resize") : given;
            rule = table.word("rule", "letterbox", "letterbox", "stretch", "none");
            interpolation = table.word("interpolation", "bilinear", "bilinear", "bicubic");
            rounding = table.word("rounding", "round", "truncate", "round");
            fill = table.numbers("fill", 0, 0, 0);
            upscale = table.flag("upscale", true);
            table.done();
        }
    }

    /** How sound becomes a mel spectrogram. */
    public static final class Audio {
        public final int sampleRate;
        public final double seconds;
        public final int fft;
        public final int hop;
        public final int mels;
        public final double fmin;
        public final double fmax;
        public final double topDb;
        /** "zscore" or "minmax-uint8". */
        public final String normalise;

        Audio(Table table) {
            sampleRate = table.whole("sample_rate", 22050);
            seconds = table.number("seconds", 30);
            fft = table.whole("n_fft", 2048);
            hop = table.whole("hop", 512);
            mels = table.whole("mels", 128);
            fmin = table.number("fmin", 20);
            fmax = table.number("fmax", 8000);
            topDb = table.number("top_db", 80);
            normalise = table.word("normalise", "zscore", "zscore", "minmax-uint8");
            table.done();
            if (Math.min(Math.min(sampleRate, fft), Math.min(hop, mels)) <= 0 || !(0 < seconds && seconds <= 600)) {
                throw new Refusal("audio settings must be positive and at most 600 s");
            }
        }
    }

    /** One output: name and shape in the file, layout, and what its numbers mean. */
    public static final class Output {
        public final String name;
        public final int[] shape;
        public final String layout;
        public final String meaning;

        Output(Table table) {
            table.need("name", "shape");
            name = table.text("name", null);
            shape = table.wholes("shape");
            layout = table.word("layout", "any", "NCHW", "NHWC", "any");
            meaning = table.text("meaning", "");
            table.done();
            checkShape("output " + name, shape);
        }

        /** Number of values. */
        public int size() {
            return count(shape);
        }
    }

    static int count(int[] shape) {
        int count = 1;
        for (int side : shape) {
            count *= side;
        }
        return count;
    }
}
