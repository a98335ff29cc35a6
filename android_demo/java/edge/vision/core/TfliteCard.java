package edge.vision.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * The card inside a .tflite file: the buffer that the metadata entry {@code edge.card} names.
 *
 * <p>The file is untrusted: each offset is checked against the file's size before it is followed, each loop has a
 * bound, nothing recurses. Source: FlatBuffers "internals"; TFLite schema v3; {@code runtime/embedded.py}.
 */
public final class TfliteCard {
    public static final String KEY = "edge.card";
    private static final int MAX_CARD = 1 << 20;
    private static final int MAX_ITEMS = 100_000;

    // Places of fields in their tables.
    private static final int MODEL_CODES = 1;
    private static final int MODEL_SUBGRAPHS = 2;
    private static final int MODEL_BUFFERS = 4;
    private static final int MODEL_METADATA = 6;
    private static final int GRAPH_TENSORS = 0;
    private static final int GRAPH_OPERATORS = 3;
    private static final int METADATA_NAME = 0;
    private static final int METADATA_BUFFER = 1;
    private static final int BUFFER_DATA = 0;
    private static final int BUFFER_OFFSET = 1;
    private static final int BUFFER_SIZE = 2;

    private final ByteBuffer data;
    private final long size;

    private TfliteCard(ByteBuffer file) {
        data = file.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        size = data.limit();
    }

    /** Returns the card of a whole file from position 0 to its limit; its position is left alone. */
    public static Card read(ByteBuffer file) {
        return Card.fromJson(text(file));
    }

    /** Returns the card's JSON text. */
    public static String text(ByteBuffer file) {
        return new TfliteCard(file).text();
    }

    /** Returns how many ops the first graph of a file has. */
    public static int operators(ByteBuffer file) {
        TfliteCard tables = new TfliteCard(file);
        long[] graphs = tables.tables(tables.u32(0), MODEL_SUBGRAPHS);
        return graphs.length == 0 ? 0 : tables.tables(graphs[0], GRAPH_OPERATORS).length;
    }

    private String text() {
        if (size < 8 || data.getInt(4) != 0x334C4654) { // "TFL3"
            throw new Refusal("this is no TFLite model file");
        }
        long model = u32(0);
        if (slot(model, MODEL_SUBGRAPHS) < 0) {
            throw new Refusal("this is no TFLite model", "a subgraph", "none");
        }
        checkTables(model); // writers put these last, so that they are what a truncated file lacks first
        List<long[]> buffers = new ArrayList<>();
        for (long table : tables(model, MODEL_BUFFERS)) {
            buffers.add(buffer(table));
        }
        byte[] found = null;
        for (long entry : tables(model, MODEL_METADATA)) {
            long name = slot(entry, METADATA_NAME);
            if (name < 0 || !string(name).equals(KEY)) {
                continue;
            }
            if (found != null) {
                throw new Refusal("the file holds two cards");
            }
            long slot = slot(entry, METADATA_BUFFER);
            long index = slot < 0 ? 0 : u32(slot);
            if (index >= buffers.size()) {
                throw damaged();
            }
            found = bytes(buffers.get((int) index)[0], buffers.get((int) index)[1], MAX_CARD);
        }
        if (found == null) {
            throw new Refusal("the file holds no card; export it with `edge export`");
        }
        String text = new String(found, StandardCharsets.UTF_8);
        if (text.indexOf('\uFFFD') >= 0) {
            throw new Refusal("the card in the file is not UTF-8");
        }
        return text;
    }

    private void checkTables(long model) {
        List<Long> parts = new ArrayList<>();
        parts.add(model);
        addTables(parts, model, MODEL_CODES);
        for (long graph : tables(model, MODEL_SUBGRAPHS)) {
            parts.add(graph);
            addTables(parts, graph, GRAPH_TENSORS);
            addTables(parts, graph, GRAPH_OPERATORS);
        }
        for (long table : parts) {
            long vtable = vtable(table);
            if (u16(vtable) < 4 || table + u16(vtable + 2) > size) {
                throw damaged();
            }
        }
    }

    private void addTables(List<Long> parts, long table, int field) {
        for (long entry : tables(table, field)) {
            parts.add(entry);
        }
        if (parts.size() > MAX_ITEMS) {
            throw damaged();
        }
    }

    private long vtable(long table) {
        check(table, 4);
        return table - data.getInt((int) table);
    }

    /** Returns where a table keeps a field, or -1 where the field has its default. */
    private long slot(long table, int field) {
        long vtable = vtable(table);
        int where = 4 + 2 * field;
        if (where + 2 > u16(vtable)) {
            return -1;
        }
        int offset = u16(vtable + where);
        return offset == 0 ? -1 : table + offset;
    }

    private long[] tables(long table, int field) {
        long slot = slot(table, field);
        if (slot < 0) {
            return new long[0];
        }
        long start = slot + u32(slot);
        long count = u32(start);
        if (count > MAX_ITEMS || start + 4 + 4 * count > size) {
            throw damaged();
        }
        long[] found = new long[(int) count];
        for (int i = 0; i < found.length; i++) {
            long entry = start + 4 + 4L * i;
            found[i] = entry + u32(entry);
        }
        return found;
    }

    /** Returns start and length of a buffer's content, both inside the file. */
    private long[] buffer(long table) {
        long slot = slot(table, BUFFER_DATA);
        long start;
        long length;
        if (slot >= 0) {
            start = slot + u32(slot);
            length = u32(start);
            start += 4;
        } else { // content outside the flatbuffer
            long far = slot(table, BUFFER_OFFSET);
            long extent = slot(table, BUFFER_SIZE);
            start = far < 0 ? 0 : u64(far);
            length = extent < 0 ? 0 : u64(extent);
        }
        if (start < 0 || length < 0 || length > size || start > size - length) {
            throw damaged();
        }
        return new long[] {start, length};
    }

    private String string(long slot) {
        long start = slot + u32(slot);
        long length = u32(start);
        check(start + 4, length);
        return new String(bytes(start + 4, Math.min(length, 64), 64), StandardCharsets.ISO_8859_1);
    }

    private byte[] bytes(long start, long length, int most) {
        if (length > most) {
            throw new Refusal("the card in the file is over 1 MiB");
        }
        check(start, length);
        byte[] found = new byte[(int) length];
        ByteBuffer view = data.duplicate();
        view.position((int) start);
        view.get(found);
        return found;
    }

    private int u16(long offset) {
        check(offset, 2);
        return data.getShort((int) offset) & 0xFFFF;
    }

    private long u32(long offset) {
        check(offset, 4);
        return data.getInt((int) offset) & 0xFFFFFFFFL;
    }

    private long u64(long offset) {
        check(offset, 8);
        return data.getLong((int) offset);
    }

    private void check(long offset, long count) {
        if (offset < 0 || count < 0 || offset + count > size) {
            throw damaged();
        }
    }

    private static Refusal damaged() {
        return new Refusal("the model file is damaged or truncated; copy or export it again");
    }
}
