package edge.vision.core;

/** Input that is refused: one line that says what was wrong, what was expected and what was there instead. */
public final class Refusal extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public Refusal(String message) {
        super(message);
    }

    public Refusal(String message, Object expected, Object got) {
        super(message + ", expected " + expected + ", got " + got);
    }
}
