package secondlook.peers;

/** The logistic model by hand: fill gaps, products, standardise, clip, weigh, calibrate. */
final class HandModel {
    private final String[] policies;
    private final double[] medians;
    private final int factor;
    private final int[] others;
    private final double[] center;
    private final double[] scale;
    private final double low;
    private final double high;
    private final double[] weights;
    private final int[] termOf;
    private final double[] pushes;
    private final double intercept;
    private final double slope;
    private final double offset;
    private final double[] inputs;
    private final double[] sums;

    HandModel(Card card) {
        policies = card.words("policies").toArray(new String[0]);
        medians = card.numbers("medians");
        factor = card.indices("factor")[0];
        others = card.indices("others");
        center = card.numbers("center");
        scale = card.numbers("scale");
        low = card.number("low");
        high = card.number("high");
        weights = card.numbers("weights");
        pushes = card.numbers("pushes");
        termOf = card.indices("term_of");
        intercept = card.number("intercept");
        slope = card.number("slope");
        offset = card.number("offset");
        inputs = new double[weights.length];
        sums = new double[card.words("terms").size()];
    }

    /** P(error), and each term's push on the score. */
    void score(float[] values, String policy, Scores into) {
        int known = -1;
        for (int column = 0; column < policies.length; column++) {
            if (policies[column].equals(policy)) known = column;
        }
        for (int column = 0; column < medians.length; column++) {
            int own = column - values.length;
            double value = own < 0 ? values[column] : known < 0 ? Double.NaN : own == known ? 1 : 0;
            inputs[column] = Double.isNaN(value) ? medians[column] : value;
        }
        for (int product = 0; product < others.length; product++) {
            inputs[medians.length + product] = inputs[factor] * inputs[others[product]];
        }
        java.util.Arrays.fill(sums, 0);
        double score = intercept;
        for (int column = 0; column < weights.length; column++) {
            double standard = (inputs[column] - center[column]) / scale[column];
            double cut = Math.max(low, Math.min(high, standard));
            sums[termOf[column]] += cut * pushes[column];
            score += cut * weights[column];
        }
        if (into.pushes == null) into.pushes = new float[sums.length];
        for (int term = 0; term < sums.length; term++) into.pushes[term] = (float) sums[term];
        into.probability = (float) (1 / (1 + Math.exp(-(slope * score + offset))));
    }
}
