package secondlook.peers;

import java.util.ArrayList;
import java.util.List;

/** What the model says of one answer, and what follows from it; filled again for each. */
final class Scores {
    private static final int DRIVERS = 3;

    record Driver(String predictor, double push) {}

    record Ruling(boolean automatic, boolean scored, String reason) {}

    private static final Ruling NO_OUTCOME = new Ruling(false, false, "outcome_missing");
    private static final Ruling NO_EVIDENCE = new Ruling(false, false, "evidence_deficiency");
    private static final Ruling NO_POLICY = new Ruling(false, false, "policy_gap");
    private static final Ruling LACKING = new Ruling(false, false, "predictors_missing");
    private static final Ruling ABOVE = new Ruling(false, true, "above_threshold");
    private static final Ruling BELOW = new Ruling(true, true, "below_threshold");

    final double threshold;
    final String[] terms;
    float probability;
    float[] pushes;
    final int[] strongest = new int[DRIVERS];
    private final int[] needed;

    Scores(Card card) {
        threshold = card.number("threshold");
        terms = card.words("terms").toArray(new String[0]);
        needed = card.indices("needed");
    }

    /** Where the answer goes, and why. */
    Ruling rule(int outcome, float[] values) {
        if (outcome < 0) return NO_OUTCOME;
        if (outcome > 1) return outcome == 2 ? NO_EVIDENCE : NO_POLICY;
        for (int column : needed) {
            if (Float.isNaN(values[column])) return LACKING;
        }
        return rounded(probability, 7) >= threshold ? ABOVE : BELOW;
    }

    /** The terms that pushed most, the strongest first, in `strongest`. */
    void rank() {
        for (int place = 0; place < DRIVERS; place++) {
            int best = -1;
            for (int term = 0; term < pushes.length; term++) {
                boolean taken = false;
                for (int before = 0; before < place; before++) taken |= strongest[before] == term;
                if (!taken && (best < 0 || Math.abs(pushes[term]) > Math.abs(pushes[best]))) best = term;
            }
            strongest[place] = best;
        }
    }

    List<Driver> drivers() {
        rank();
        List<Driver> drivers = new ArrayList<>(DRIVERS);
        for (int term : strongest) drivers.add(new Driver(terms[term], rounded(pushes[term], 6)));
        return drivers;
    }

    static double rounded(float value, int digits) {
        double scale = digits == 7 ? 1e7 : 1e6;
        return Math.rint(value * scale) / scale;
    }
}
