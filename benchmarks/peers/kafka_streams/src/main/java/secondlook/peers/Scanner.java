package secondlook.peers;

import java.nio.charset.StandardCharsets;

/** Reads the few fields that are needed out of a response's bytes, whatever the order of its keys, and passes over the rest. */
final class Scanner extends Answer {
    private static final byte[] TOKEN = name("token");
    private static final byte[] LOGPROB = name("logprob");
    private static final byte[] TOP_LOGPROBS = name("top_logprobs");
    private static final byte[] BODY = name("body");
    private static final byte[] CHOICES = name("choices");
    private static final byte[] MODEL = name("model");
    private static final byte[] MESSAGE = name("message");
    private static final byte[] LOGPROBS = name("logprobs");
    private static final byte[] FINISH_REASON = name("finish_reason");
    private static final byte[] CONTENT = name("content");
    private static final double[] TENS = new double[23];

    static {
        for (int power = 0; power < TENS.length; power++) TENS[power] = Double.parseDouble("1e" + power);
    }

    private byte[] bytes;
    private int at;
    private int keyBegin;
    private int keyEnd;
    private byte[] modelBytes = {};
    /** Where each alternative's string begins: the strings of one token's are looked at, later. */
    private int[] strings = new int[640];

    private static byte[] name(String key) {
        return key.getBytes(StandardCharsets.UTF_8);
    }

    /** Read one response record. */
    void read(byte[] value) {
        bytes = value;
        at = 0;
        tokens = 0;
        begins[0] = firsts[0] = 0;
        while (key()) {
            if (is(BODY)) body();
            else skip();
        }
        find();
    }

    /** A string field of a flat object, null where it is absent or null. */
    String field(byte[] value, byte[] key) {
        bytes = value;
        at = 0;
        String found = null;
        while (key()) {
            if (is(key) && peek() == '"') found = string();
            else skip();
        }
        return found;
    }

    private void body() {
        while (key()) {
            if (is(MODEL)) llm = model();
            else if (is(CHOICES)) {
                for (boolean first = true; item(); first = false) {
                    if (first) choice();
                    else skip();
                }
            } else skip();
        }
    }

    /** The model's name: nearly always the one of the answer before. */
    private String model() {
        int begin = at;
        skip();
        if (llm == null || !java.util.Arrays.equals(bytes, begin, at, modelBytes, 0, modelBytes.length)) {
            modelBytes = java.util.Arrays.copyOfRange(bytes, begin, at);
            at = begin;
            return string();
        }
        return llm;
    }

    private void choice() {
        while (key()) {
            if (is(MESSAGE)) {
                while (key()) {
                    if (is(CONTENT)) text = string();
                    else skip();
                }
            } else if (is(LOGPROBS)) {
                while (key()) {
                    if (is(CONTENT)) while (item()) token();
                    else skip();
                }
            } else if (is(FINISH_REASON)) {
                truncated = peek() == '"' && bytes[at + 1] == 'l'; // of its few words one begins so: length
                skip();
            } else skip();
        }
    }

    private void token() {
        int count = firsts[tokens];
        int length = 0;
        double logprob = Double.NaN;
        while (key()) {
            if (is(TOKEN)) length = passString();
            else if (is(LOGPROB)) logprob = number();
            else if (is(TOP_LOGPROBS)) {
                while (item()) {
                    grow(count + 1);
                    if (strings.length < alternatives.length) strings = java.util.Arrays.copyOf(strings, alternatives.length);
                    alternative(count++);
                }
            } else skip();
        }
        if (length == 0) return; // such as the one that ends the turn
        logprobs[tokens] = logprob;
        begins[tokens + 1] = begins[tokens] + length;
        firsts[++tokens] = count;
    }

    private void alternative(int count) {
        while (key()) {
            if (is(TOKEN)) {
                peek();
                strings[count] = at;
                passString();
            } else if (is(LOGPROB)) alternatives[count] = number();
            else skip();
        }
    }

    @Override
    int label(int alternative) {
        at = strings[alternative];
        int first = bytes[at + 1];
        if (bytes[at + 2] == '"') return first >= '0' && first < '0' + LABELS ? first - '0' : -1; // nearly all labels
        boolean letter = (first | 0x20) >= 'a' && (first | 0x20) <= 'z';
        return letter ? -1 : label(string());
    }

    /** The fields' values in the answer's text. */
    private void find() {
        String outcomeText = value(OUTCOME, "\"outcome\"");
        String confidenceText = value(CONFIDENCE, "\"confidence\"");
        value(RATIONALE, "\"rationale\"");
        locate(outcomeText, confidenceText);
    }

    private String value(int part, String key) {
        spans[part][0] = spans[part][1] = 0;
        int begin = text.indexOf(key);
        if (begin < 0) return null;
        begin = blanks(begin + key.length());
        if (begin >= text.length() || text.charAt(begin) != ':') return null;
        begin = blanks(begin + 1);
        if (begin >= text.length()) return null;
        int end = begin;
        if (text.charAt(begin) == '"') {
            for (end = ++begin; end < text.length() && text.charAt(end) != '"'; end++) {
                if (text.charAt(end) == '\\') end++;
            }
            if (end >= text.length()) return null;
        } else {
            while (end < text.length() && text.charAt(end) > ' ' && "\"',[]{}".indexOf(text.charAt(end)) < 0) end++;
        }
        spans[part][0] = begin;
        spans[part][1] = end;
        return text.substring(begin, end);
    }

    private int blanks(int from) {
        while (from < text.length() && text.charAt(from) <= ' ') from++;
        return from;
    }

    // ---- JSON

    private byte peek() {
        while (bytes[at] <= ' ' && bytes[at] >= 0) at++;
        return bytes[at];
    }

    /** Go to the value of an object's next key; false at its end. */
    private boolean key() {
        if (peek() == ',' || bytes[at] == '{') at++;
        if (peek() == '}') {
            at++;
            return false;
        }
        keyBegin = at + 1;
        passString();
        keyEnd = at - 1;
        peek();
        at++; // the colon
        return true;
    }

    private boolean is(byte[] key) {
        int length = keyEnd - keyBegin;
        if (length != key.length) return false;
        for (int index = 0; index < length; index++) {
            if (bytes[keyBegin + index] != key[index]) return false;
        }
        return true;
    }

    /** Go to an array's next item; false at its end, or where a null stands in its place. */
    private boolean item() {
        if (peek() == 'n') {
            at += 4;
            return false;
        }
        if (bytes[at] == ',' || bytes[at] == '[') {
            at++;
            if (peek() != ']') return true;
        }
        at++;
        return false;
    }

    /** Pass over a string; how many of Java's characters it has. */
    private int passString() {
        peek();
        int position = at + 1, length = 0;
        byte[] bytes = this.bytes;
        for (byte next = bytes[position]; next != '"'; next = bytes[position]) {
            if (next == '\\') {
                position += bytes[position + 1] == 'u' ? 6 : 2;
                length++;
            } else {
                // UTF-8: continuations count nothing, four bytes are a surrogate pair.
                length += next >= 0 || next >= (byte) 0xC0 && next < (byte) 0xF0 ? 1 : next >= (byte) 0xF0 ? 2 : 0;
                position++;
            }
        }
        at = position + 1;
        return length;
    }

    private String string() {
        peek();
        int begin = at + 1;
        passString();
        String raw = new String(bytes, begin, at - 1 - begin, StandardCharsets.UTF_8);
        return raw.indexOf('\\') < 0 ? raw : unescaped(raw);
    }

    private static String unescaped(String raw) {
        StringBuilder plain = new StringBuilder(raw.length());
        for (int index = 0; index < raw.length(); index++) {
            char next = raw.charAt(index);
            if (next == '\\') {
                next = raw.charAt(++index);
                int known = "nrtbf".indexOf(next);
                if (known >= 0) next = "\n\r\t\b\f".charAt(known);
                else if (next == 'u') {
                    next = (char) Integer.parseInt(raw, index + 1, index + 5, 16);
                    index += 4;
                }
            }
            plain.append(next);
        }
        return plain.toString();
    }

    private double number() {
        if (peek() == 'n') {
            at += 4;
            return Double.NaN;
        }
        byte[] bytes = this.bytes;
        int begin = at, position = at;
        boolean negative = bytes[position] == '-';
        if (negative) position++;
        long digits = 0;
        int point = 0;
        for (; ; position++) {
            int digit = bytes[position] - '0';
            if (digit >= 0 && digit <= 9) digits = digits * 10 + digit;
            else if (bytes[position] == '.') point = position + 1;
            else break;
        }
        at = position;
        int below = point == 0 ? 0 : position - point;
        if (position - begin > 20 || bytes[position] == 'e' || bytes[position] == 'E') {
            skip();
            return Double.parseDouble(new String(bytes, begin, at - begin, StandardCharsets.US_ASCII));
        }
        double value = digits / TENS[below];
        return negative ? -value : value;
    }

    private void skip() {
        byte next = peek();
        if (next == '"') {
            passString();
        } else if (next == '[' || next == '{') {
            int depth = 0;
            do {
                next = bytes[at];
                if (next == '"') {
                    passString();
                    continue;
                }
                if (next == '[' || next == '{') depth++;
                else if (next == ']' || next == '}') depth--;
                at++;
            } while (depth > 0);
        } else {
            while (next != ',' && next != '}' && next != ']' && next > ' ') next = bytes[++at];
        }
    }
}
