package secondlook.peers;

/** One answer in columns, as the numeric core needs them; it is filled again for each. Characters are Java's. */
abstract class Answer {
    static final int LABELS = 4;
    static final String AROUND = " \t\r\n\"'`:=,.;!?{}[]()<>*_#|/\\-";

    String llm;
    String text;
    boolean truncated;
    int tokens;
    /** Where each token begins in the text, and where the last one ends. */
    int[] begins = new int[64];
    double[] logprobs = new double[64];
    /** Where each token's alternatives begin in `alternatives`, and where the last one's end. */
    int[] firsts = new int[64];
    double[] alternatives = new double[640];

    /** The characters of a field's value in the text; none where it is absent. */
    final int[][] spans = new int[3][2];
    static final int OUTCOME = 0;
    static final int CONFIDENCE = 1;
    static final int RATIONALE = 2;
    /** The label's code, -1 where there is none, and the stated confidence in 0..1, NaN where there is none. */
    int outcome;
    double confidence;

    /** The code of the label that an alternative spells, -1 if none. */
    abstract int label(int alternative);

    /** The code of a label with no more than blanks and punctuation around it, -1 if it is none. */
    static int label(CharSequence token) {
        int begin = 0;
        int end = token.length();
        while (begin < end && AROUND.indexOf(token.charAt(begin)) >= 0) begin++;
        while (end > begin && AROUND.indexOf(token.charAt(end - 1)) >= 0) end--;
        int code = end - begin == 1 ? token.charAt(begin) - '0' : -1;
        return code >= 0 && code < LABELS ? code : -1;
    }

    /** Take what the fields say. */
    void locate(String outcomeText, String confidenceText) {
        outcome = outcomeText == null ? -1 : label(outcomeText);
        boolean cut = truncated && spans[CONFIDENCE][1] == text.length(); // it may have gone on
        confidence = Double.NaN;
        if (confidenceText == null || cut) {
            spans[CONFIDENCE][1] = spans[CONFIDENCE][0];
            return;
        }
        try {
            double stated = Double.parseDouble(confidenceText) / 100;
            if (stated >= 0 && stated <= 1) confidence = stated;
        } catch (NumberFormatException words) {
            // no number is stated
        }
    }

    /** Room for one more token and its alternatives. */
    void grow(int count) {
        if (tokens + 2 > begins.length) {
            begins = java.util.Arrays.copyOf(begins, 2 * begins.length);
            firsts = java.util.Arrays.copyOf(firsts, 2 * firsts.length);
            logprobs = java.util.Arrays.copyOf(logprobs, 2 * logprobs.length);
        }
        if (count >= alternatives.length) alternatives = java.util.Arrays.copyOf(alternatives, 2 * count);
    }
}
