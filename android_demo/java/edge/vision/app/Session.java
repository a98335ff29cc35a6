package edge.vision.app;

import edge.vision.core.Card;
import edge.vision.core.Pipeline;
import edge.vision.core.TfliteCard;
import java.nio.ByteBuffer;

/** The app's pipeline: a model, under the name that the app has for it, on TFLite. */
final class Session extends Pipeline {
    final String name;
    final Engine engine;

    Session(String name, ByteBuffer model, Backend backend, int threads) {
        this(name, model, TfliteCard.read(model), backend, threads);
    }

    private Session(String name, ByteBuffer model, Card card, Backend backend, int threads) {
        this(name, card, new Engine(model, card, backend, threads));
    }

    private Session(String name, Card card, Engine engine) {
        super(card, engine);
        this.name = name;
        this.engine = engine;
    }
}
