package edge.vision.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** An object of a card while it is read: every key is asked for by name and type, and one that nobody asked for is refused. */
final class Table {
    private final String path;
    private final Map<String, Object> rest = new LinkedHashMap<>();

    Table(Object values, String path) {
        this.path = path;
        if (!(values instanceof Map)) {
            throw new Refusal("`" + path + "` is not a table", "an object", kind(values));
        }
        for (Map.Entry<?, ?> entry : ((Map<?, ?>) values).entrySet()) {
            rest.put((String) entry.getKey(), entry.getValue());
        }
    }

    boolean has(String key) {
        return rest.containsKey(key);
    }

    boolean isNull(String key) {
        return has(key) && rest.get(key) == null;
    }

    /** Returns whatever stands under a key, unchecked; null where there is nothing. */
    Object take(String key) {
        return rest.remove(key);
    }

    Table need(String... keys) {
        for (String key : keys) {
            if (!has(key)) {
                throw new Refusal("`" + path + "` lacks the key `" + key + "`");
            }
        }
        return this;
    }

    String text(String key, String otherwise) {
        return has(key) ? of(String.class, key) : otherwise;
    }

    String word(String key, String otherwise, String... allowed) {
        String found = text(key, otherwise);
        for (String word : allowed) {
            if (word.equals(found)) {
                return found;
            }
        }
        throw new Refusal("`" + path + "." + key + "` is not known", joined(allowed), found);
    }

    /** Joins words as a choice; {@code String.join} is newer than the oldest Android that the app runs on. */
    private static String joined(String... words) {
        StringBuilder text = new StringBuilder();
        for (String word : words) {
            text.append(text.length() == 0 ? "" : " | ").append(word);
        }
        return text.toString();
    }

    boolean flag(String key, boolean otherwise) {
        return has(key) ? of(Boolean.class, key) : otherwise;
    }

    int whole(String key, int otherwise) {
        return has(key) ? whole(rest.remove(key), key) : otherwise;
    }

    double number(String key, double otherwise) {
        return has(key) ? number(rest.remove(key), key) : otherwise;
    }

    int[] wholes(String key, int... otherwise) {
        if (!has(key)) {
            return otherwise;
        }
        List<Object> items = list(key);
        int[] found = new int[items.size()];
        for (int i = 0; i < found.length; i++) {
            found[i] = whole(items.get(i), key);
        }
        return found;
    }

    double[] numbers(String key, double... otherwise) {
        return has(key) ? numbers(list(key), key) : otherwise;
    }

    double[][] numberLists(String key, double[][] otherwise) {
        if (!has(key)) {
            return otherwise;
        }
        List<Object> items = list(key);
        double[][] found = new double[items.size()][];
        for (int i = 0; i < found.length; i++) {
            found[i] = numbers(listOf(items.get(i), key), key);
        }
        return found;
    }

    /** Returns an object, or null where the key is missing or null. */
    Table table(String key) {
        Object value = rest.remove(key);
        return value == null ? null : new Table(value, path + "." + key);
    }

    List<Table> tables(String key) {
        List<Table> found = new ArrayList<>();
        for (Object item : list(key)) {
            found.add(new Table(item, path + "." + key + "[" + found.size() + "]"));
        }
        return found;
    }

    /** Returns the texts of an object that holds nothing else; empty where the key is missing. */
    Map<String, String> texts(String key) {
        if (!has(key)) {
            return Collections.emptyMap();
        }
        Table inner = new Table(rest.remove(key), path + "." + key);
        Map<String, String> found = new LinkedHashMap<>();
        for (String name : new ArrayList<>(inner.rest.keySet())) {
            found.put(name, inner.of(String.class, name));
        }
        return found;
    }

    List<String> keys() {
        return new ArrayList<>(rest.keySet());
    }

    /** Refuses what was not asked for. */
    void done() {
        for (String key : rest.keySet()) {
            throw new Refusal("`" + path + "` has an unknown key `" + key + "`");
        }
    }

    private List<Object> list(String key) {
        return listOf(rest.remove(key), key);
    }

    @SuppressWarnings("unchecked")
    private List<Object> listOf(Object value, String key) {
        if (!(value instanceof List)) {
            throw wrong(key, "list", value);
        }
        return (List<Object>) value;
    }

    private double[] numbers(List<Object> items, String key) {
        double[] found = new double[items.size()];
        for (int i = 0; i < found.length; i++) {
            found[i] = number(items.get(i), key);
        }
        return found;
    }

    private int whole(Object value, String key) {
        if (!(value instanceof Long) || (Long) value != ((Long) value).intValue()) {
            throw wrong(key, "int", value);
        }
        return ((Long) value).intValue();
    }

    private double number(Object value, String key) {
        if (!(value instanceof Number)) {
            throw wrong(key, "float", value);
        }
        return ((Number) value).doubleValue();
    }

    private <T> T of(Class<T> type, String key) {
        Object value = rest.remove(key);
        if (!type.isInstance(value)) {
            throw wrong(key, type.getSimpleName(), value);
        }
        return type.cast(value);
    }

    private Refusal wrong(String key, String expected, Object value) {
        return new Refusal("`" + path + "." + key + "` has the wrong type", expected, kind(value));
    }

    private static String kind(Object value) {
        return value == null ? "null" : value.getClass().getSimpleName();
    }
}
