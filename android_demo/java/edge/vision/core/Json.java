package edge.vision.core;

import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON text to plain values and back, with what the platform's own parser lacks: whole numbers and fractions stay apart,
 * as cards demand, nesting is bounded, and it runs on any JVM.
 *
 * <p>Objects become {@code Map<String, Object>} in the order of the text, arrays {@code List<Object>}, whole numbers
 * {@code Long}, other numbers {@code Double}.
 */
public final class Json {
    private static final int MAX_DEPTH = 64;
    private static final BigInteger LARGEST = BigInteger.ONE.shiftLeft(53); // what a JSON number holds exactly

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** Returns the value of a text; a {@link Refusal} says where it is not JSON. */
    public static Object parse(String text) {
        Json reader = new Json(text);
        Object value = reader.value(0);
        reader.space();
        if (reader.at != text.length()) {
            throw reader.refusal("the end");
        }
        return value;
    }

    /** Returns the text of plain values; a number that is not finite is refused, as no JSON holds it. */
    public static String write(Object value) {
        StringBuilder out = new StringBuilder();
        append(out, value);
        return out.toString();
    }

    private Object value(int depth) {
        if (depth > MAX_DEPTH) {
            throw refusal("at most " + MAX_DEPTH + " levels");
        }
        space();
        switch (peek()) {
            case '{':
                return object(depth);
            case '[':
                return array(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> object(int depth) {
        Map<String, Object> found = new LinkedHashMap<>();
        at++;
        space();
        if (peek() == '}') {
            at++;
            return found;
        }
        while (true) {
            space();
            if (peek() != '"') {
                throw refusal("a key");
            }
            String key = string();
            space();
            take(':');
            found.put(key, value(depth + 1));
            space();
            if (peek() != ',') {
                take('}');
                return found;
            }
            at++;
        }
    }

    private List<Object> array(int depth) {
        List<Object> found = new ArrayList<>();
        at++;
        space();
        if (peek() == ']') {
            at++;
            return found;
        }
        while (true) {
            found.add(value(depth + 1));
            space();
            if (peek() != ',') {
                take(']');
                return found;
            }
            at++;
        }
    }

    private String string() {
        StringBuilder out = new StringBuilder();
        for (at++; peek() != '"'; at++) {
            char letter = peek();
            if (letter < ' ') {
                throw refusal("a string without control characters");
            }
            out.append(letter == '\\' ? escaped() : letter);
        }
        at++;
        return out.toString();
    }

    private char escaped() {
        at++;
        int place = "\"\\/bfnrt".indexOf(peek());
        if (place >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(place);
        }
        if (peek() != 'u' || at + 4 >= text.length()) {
            throw refusal("an escape");
        }
        int code = 0;
        for (int i = 1; i <= 4; i++) {
            int digit = Character.digit(text.charAt(at + i), 16);
            if (digit < 0) {
                throw refusal("four hexadecimal digits");
            }
            code = 16 * code + digit;
        }
        at += 4;
        return (char) code;
    }

    private Object number() {
        int start = at;
        if (peek() == '-') {
            at++;
        }
        int first = at;
        digits();
        if (text.charAt(first) == '0' && at > first + 1) {
            throw refusal("a number without leading zeros");
        }
        boolean whole = true;
        if (at < text.length() && text.charAt(at) == '.') {
            whole = false;
            at++;
            digits();
        }
        if (at < text.length() && (text.charAt(at) | 0x20) == 'e') {
            whole = false;
            at++;
            if (peek() == '+' || peek() == '-') {
                at++;
            }
            digits();
        }
        String number = text.substring(start, at);
        if (whole) {
            if (number.length() > 17 || new BigInteger(number).abs().compareTo(LARGEST) > 0) {
                throw refusal("a whole number up to 2**53");
            }
            return Long.valueOf(number);
        }
        double value = Double.parseDouble(number);
        if (Double.isInfinite(value)) {
            throw refusal("a finite number");
        }
        return value;
    }

    private void digits() {
        int start = at;
        while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        if (at == start) {
            throw refusal("a value");
        }
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw refusal("a value");
        }
        at += word.length();
        return value;
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private char peek() {
        if (at >= text.length()) {
            throw refusal("more");
        }
        return text.charAt(at);
    }

    private void take(char wanted) {
        if (peek() != wanted) {
            throw refusal("`" + wanted + "`");
        }
        at++;
    }

    private Refusal refusal(String expected) {
        return new Refusal("text is not JSON", expected, "something else at character " + at);
    }

    private static void append(StringBuilder out, Object value) {
        if (value instanceof Map) {
            String separator = "{";
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                quote(out.append(separator), String.valueOf(entry.getKey()));
                append(out.append(':'), entry.getValue());
                separator = ",";
            }
            out.append(separator.equals("{") ? "{}" : "}");
        } else if (value instanceof Iterable) {
            String separator = "[";
            for (Object item : (Iterable<?>) value) {
                append(out.append(separator), item);
                separator = ",";
            }
            out.append(separator.equals("[") ? "[]" : "]");
        } else if (value instanceof String) {
            quote(out, (String) value);
        } else {
            if (value instanceof Number && !Double.isFinite(((Number) value).doubleValue())) {
                throw new Refusal("JSON holds finite numbers only", "a finite number", value);
            }
            out.append(value);
        }
    }

    private static void quote(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char letter = text.charAt(i);
            if (letter == '"' || letter == '\\') {
                out.append('\\').append(letter);
            } else if (letter < ' ' || letter > '~') {
                out.append(String.format("\\u%04x", (int) letter));
            } else {
                out.append(letter);
            }
        }
        out.append('"');
    }
}
