package secondlook.peers;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** JSON into one buffer that is used again. */
final class Writer {
    private static final double LEAST_FIXED = 1e-3;
    private static final double MOST_FIXED = 1e6;
    private static final long[] TENS = {1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000,
        1_000_000_000, 10_000_000_000L, 100_000_000_000L, 1_000_000_000_000L};

    private byte[] buffer = new byte[4096];
    private int size;

    Writer clear() {
        size = 0;
        return this;
    }

    byte[] bytes() {
        return Arrays.copyOf(buffer, size);
    }

    Writer raw(byte[] bytes) {
        room(bytes.length);
        System.arraycopy(bytes, 0, buffer, size, bytes.length);
        size += bytes.length;
        return this;
    }

    private void room(int more) {
        if (size + more > buffer.length) buffer = Arrays.copyOf(buffer, 2 * (size + more));
    }

    /** ASCII that needs no escape. */
    @SuppressWarnings("deprecation") // it copies the low bytes, which is all that there is
    Writer raw(String ascii) {
        room(ascii.length());
        ascii.getBytes(0, ascii.length(), buffer, size);
        size += ascii.length();
        return this;
    }

    Writer string(String text) {
        return text == null ? raw("null") : raw(quoted(text).getBytes(StandardCharsets.UTF_8));
    }

    static String quoted(String text) {
        StringBuilder quoted = new StringBuilder(text.length() + 2).append('"');
        for (int index = 0; index < text.length(); index++) {
            char next = text.charAt(index);
            if (next == '"' || next == '\\') quoted.append('\\').append(next);
            else if (next < ' ') quoted.append(String.format("\\u%04x", (int) next));
            else quoted.append(next);
        }
        return quoted.append('"').toString();
    }

    Writer digit(int value) {
        room(1);
        buffer[size++] = (byte) ('0' + value);
        return this;
    }

    /** So many decimals, rounded; for numbers of up to six digits before the point. */
    Writer decimal(double value, int decimals) {
        long scaled = (long) Math.rint(value * TENS[decimals]);
        room(24);
        if (scaled < 0) buffer[size++] = '-';
        scaled = Math.abs(scaled);
        long whole = scaled / TENS[decimals], rest = scaled % TENS[decimals];
        int digits = 1;
        while (digits < 7 && whole >= TENS[digits]) digits++;
        put(whole, digits);
        buffer[size++] = '.';
        put(rest, decimals);
        return this;
    }

    private void put(long value, int digits) {
        for (int place = size + digits - 1; place >= size; place--) {
            buffer[place] = (byte) ('0' + value % 10);
            value /= 10;
        }
        size += digits;
    }

    /** A float32 with its nine significant digits, null for NaN: more cheaply than the shortest that reads the same. */
    Writer float32(float value) {
        if (Float.isNaN(value)) return raw("null");
        double magnitude = Math.abs((double) value);
        if (magnitude < MOST_FIXED && value == (int) value) return decimal(value, 1);
        if (magnitude < LEAST_FIXED || magnitude >= MOST_FIXED) return raw(Float.toString(value));
        return decimal(value, magnitude < 1 ? 11 : 8);
    }
}
