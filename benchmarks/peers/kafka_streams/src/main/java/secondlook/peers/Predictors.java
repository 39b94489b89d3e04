package secondlook.peers;

/** The 41 predictors of lpp/1 in one pass over the tokens; their definitions are those of `benchmarks/plain.py`. */
final class Predictors {
    static final int COUNT = 41;
    private static final int SPANS = 26;
    private static final int OF_SPAN = 5;
    private static final double LIKELY = Math.log(0.5);
    private static final double IMPOSSIBLE = -9999;

    private double[] entropies = new double[64];
    private double[] margins = new double[64];
    private final double[] masses = new double[Answer.LABELS];
    final float[] values = new float[COUNT];

    /** Fill `values`, NaN where one is missing. */
    void compute(Answer answer) {
        int tokens = answer.tokens;
        if (entropies.length < tokens) {
            entropies = new double[2 * tokens];
            margins = new double[2 * tokens];
        }
        for (int token = 0; token < tokens; token++) distribution(answer, token);
        whole(answer, tokens);
        for (int part = 0; part < answer.spans.length; part++) part(answer, part);
        label(answer);
        boolean stated = !Double.isNaN(answer.confidence);
        set(17, answer.confidence);
        if (!stated) set(18, Double.NaN);
        set(19, stated ? 0 : 1);
        for (int flag = 0; flag < 3; flag++) { // evidence deficiency, policy gap, violation
            int code = flag == 2 ? 1 : flag + 2;
            set(flag == 2 ? 25 : 22 + flag, answer.outcome < 0 ? Double.NaN : answer.outcome == code ? 1 : 0);
        }
    }

    private void set(int column, double value) {
        values[column] = (float) value;
    }

    /** Entropy and margin of a token's alternatives, renormalised. */
    private void distribution(Answer answer, int token) {
        double total = 0, weighted = 0, first = 0, second = 0;
        int known = 0;
        for (int at = answer.firsts[token]; at < answer.firsts[token + 1]; at++) {
            double logprob = answer.alternatives[at];
            if (!(logprob > IMPOSSIBLE)) continue;
            double p = Math.exp(logprob);
            known++;
            total += p;
            weighted += p * logprob;
            if (p > first) {
                second = first;
                first = p;
            } else if (p > second) {
                second = p;
            }
        }
        boolean enough = known >= 2;
        entropies[token] = enough ? Math.max(Math.log(total) - weighted / total, 0) : Double.NaN;
        margins[token] = enough ? (first - second) / total : Double.NaN;
    }

    private void whole(Answer answer, int tokens) {
        double sum = 0, least = Double.POSITIVE_INFINITY, highest = Double.NEGATIVE_INFINITY;
        double narrowest = Double.POSITIVE_INFINITY, entropy = 0, margin = 0;
        int unlikely = 0;
        for (int token = 0; token < tokens; token++) {
            double logprob = answer.logprobs[token];
            sum += logprob;
            least = Math.min(least, logprob);
            if (logprob < LIKELY) unlikely++;
            entropy += entropies[token];
            margin += margins[token];
            highest = Math.max(highest, entropies[token]);
            narrowest = Math.min(narrowest, margins[token]);
        }
        double mean = sum / tokens;
        double squares = 0;
        for (int token = 0; token < tokens; token++) {
            double beyond = answer.logprobs[token] - mean;
            squares += beyond * beyond;
        }
        set(6, mean);
        set(7, least);
        set(8, Math.sqrt(squares / tokens));
        set(9, sum);
        set(10, Math.exp(-mean));
        set(11, entropy / tokens);
        set(12, highest);
        set(13, margin / tokens);
        set(14, narrowest);
        set(15, tokens);
        set(16, (double) unlikely / tokens);
    }

    /** The statistics of one part of the answer, over the tokens that overlap its characters. */
    private void part(Answer answer, int part) {
        int from = answer.spans[part][0], to = answer.spans[part][1];
        int count = 0;
        double sum = 0, least = Double.POSITIVE_INFINITY, entropy = 0, margin = 0;
        for (int token = 0; token < answer.tokens; token++) {
            if (from == to || answer.begins[token] >= to || answer.begins[token + 1] <= from) continue;
            count++;
            sum += answer.logprobs[token];
            least = Math.min(least, answer.logprobs[token]);
            entropy += entropies[token];
            margin += margins[token];
        }
        int column = SPANS + part * OF_SPAN;
        set(column, count == 0 ? Double.NaN : sum / count);
        set(column + 1, count == 0 ? Double.NaN : least);
        set(column + 2, count == 0 ? Double.NaN : entropy / count);
        set(column + 3, count == 0 ? Double.NaN : margin / count);
        set(column + 4, count == 0 ? Double.NaN : count);
        if (part != Answer.RATIONALE) set(part == Answer.OUTCOME ? 0 : 18, count == 0 ? Double.NaN : sum);
    }

    /** The label distribution at the outcome's first token. */
    private void label(Answer answer) {
        java.util.Arrays.fill(masses, 0);
        int from = answer.spans[Answer.OUTCOME][0];
        double coverage = 0;
        for (int token = 0; token < answer.tokens && answer.outcome >= 0; token++) {
            if (answer.begins[token + 1] <= from) continue;
            for (int at = answer.firsts[token]; at < answer.firsts[token + 1]; at++) {
                int code = answer.label(at);
                if (code < 0) continue;
                double p = Math.exp(answer.alternatives[at]);
                masses[code] += p;
                coverage += p;
            }
            break;
        }
        double first = 0, second = 0, entropy = 0;
        for (int code = 0; code < masses.length; code++) {
            double q = masses[code] /= coverage; // NaN where nothing is known
            if (q > first) {
                second = first;
                first = q;
            } else if (q > second) {
                second = q;
            }
            if (q > 0) entropy -= q * Math.log(q);
        }
        boolean known = coverage > 0;
        set(1, known ? first : Double.NaN);
        set(2, known ? Math.max(entropy, 0) : Double.NaN);
        set(3, known ? first - second : Double.NaN);
        set(4, known && second > 0 ? Math.log(first / second) : Double.NaN);
        set(5, known ? Math.min(coverage, 1) : Double.NaN);
        set(24, masses[1]);
        set(20, masses[2]);
        set(21, masses[3]);
    }
}
