package secondlook.peers;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

/** By hand: one pass over the bytes, no object a token, the model as a loop, output as bytes. */
final class TunedWork implements Work {
    private static final byte[] REQUEST_ID = "request_id".getBytes(StandardCharsets.UTF_8);
    private static final byte[] POLICY = "policy".getBytes(StandardCharsets.UTF_8);
    private static final byte[] TENANT = "tenant".getBytes(StandardCharsets.UTF_8);
    private static final byte[] LANGUAGE = "language".getBytes(StandardCharsets.UTF_8);

    private final Scores scores;
    private final HandModel model;
    private final Scanner answer = new Scanner();
    private final Predictors predictors = new Predictors();
    private final Writer out = new Writer();
    private final byte[][] drivers;
    private final byte[] threshold;
    private final byte[] tail;
    private long second;
    private String secondText;

    TunedWork(Card card) {
        scores = new Scores(card);
        model = new HandModel(card);
        threshold = Double.toString(scores.threshold).getBytes(StandardCharsets.US_ASCII);
        drivers = new byte[scores.terms.length][];
        for (int term = 0; term < drivers.length; term++) {
            drivers[term] = ("{\"predictor\":" + Writer.quoted(scores.terms[term]) + ",\"push\":")
                    .getBytes(StandardCharsets.UTF_8);
        }
        tail = (",\"category\":null},\"spec\":\"lpp\",\"model\":{\"name\":" + Writer.quoted(card.word("name"))
                        + ",\"sha256\":" + Writer.quoted(card.word("sha256")) + "},\"control_version\":0,\"decided_at\":\"")
                .getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public Decided decide(byte[] request, byte[] response) {
        String id = answer.field(request, REQUEST_ID);
        String policy = answer.field(request, POLICY);
        String tenant = answer.field(request, TENANT);
        String language = answer.field(request, LANGUAGE);
        answer.read(response);
        predictors.compute(answer);
        model.score(predictors.values, policy, scores);
        Scores.Ruling ruling = scores.rule(answer.outcome, predictors.values);
        return new Decided(
                ruling.automatic(), decision(id, policy, tenant, ruling, request),
                vector(id, policy, tenant, language, ruling.automatic()));
    }

    private byte[] decision(String id, String policy, String tenant, Scores.Ruling ruling, byte[] request) {
        boolean automatic = ruling.automatic();
        out.clear().raw("{\"request_id\":").string(id).raw(",\"policy\":").string(policy).raw(",\"tenant\":").string(tenant);
        out.raw(automatic ? ",\"route\":\"auto-action\",\"action\":\"" : ",\"route\":\"human-review\",\"action\":\"");
        out.raw(automatic ? answer.outcome == 0 ? "allow" : "remove" : "review");
        out.raw("\",\"error_probability\":");
        if (ruling.scored()) out.decimal(scores.probability, 7);
        else out.raw("null");
        out.raw(",\"threshold\":");
        if (ruling.scored()) out.raw(threshold);
        else out.raw("null");
        out.raw(automatic ? ",\"audit_probability\":0.0,\"reasons\":[\"" : ",\"audit_probability\":1.0,\"reasons\":[\"");
        out.raw(ruling.reason()).raw("\"],\"drivers\":[");
        if (ruling.scored()) {
            scores.rank();
            for (int place = 0; place < scores.strongest.length; place++) {
                int term = scores.strongest[place];
                if (place > 0) out.raw(",");
                out.raw(drivers[term]).decimal(scores.pushes[term], 6).raw("}");
            }
        }
        out.raw("],\"llm\":{\"name\":").string(answer.llm).raw(",\"outcome\":");
        if (answer.outcome < 0) out.raw("null");
        else out.digit(answer.outcome);
        out.raw(",\"confidence\":");
        if (Double.isNaN(answer.confidence)) out.raw("null");
        else out.decimal((float) answer.confidence, 7);
        out.raw(tail).raw(now()).raw("\"");
        if (!automatic) {
            out.raw(",\"priority\":");
            if (ruling.scored()) out.decimal(scores.probability, 7);
            else out.raw("1.0");
            out.raw(",\"request\":").raw(request);
        }
        return out.raw("}").bytes();
    }

    private byte[] vector(String id, String policy, String tenant, String language, boolean automatic) {
        out.clear().raw("{\"request_id\":").string(id).raw(",\"schema\":\"lpp/1\",\"values\":[");
        for (int column = 0; column < Predictors.COUNT; column++) {
            if (column > 0) out.raw(",");
            out.float32(predictors.values[column]);
        }
        out.raw("],\"llm\":").string(answer.llm).raw(",\"policy\":").string(policy).raw(",\"tenant\":").string(tenant);
        out.raw(",\"language\":").string(language);
        out.raw(",\"spec\":\"lpp\",\"audit_probability\":").raw(automatic ? "0.0" : "1.0");
        out.raw(automatic ? ",\"stratum\":\"automated\"" : ",\"stratum\":\"escalated\"");
        return out.raw(",\"decided_at\":\"").raw(now()).raw("\"}").bytes();
    }

    /** RFC 3339 in ms; all but the ms is written once a second. */
    private String now() {
        long now = System.currentTimeMillis();
        if (now / 1000 != second || secondText == null) {
            second = now / 1000;
            secondText = Instant.ofEpochSecond(second).truncatedTo(ChronoUnit.SECONDS).toString().replace("Z", ".");
        }
        long rest = now % 1000;
        return secondText + (char) ('0' + rest / 100) + (char) ('0' + rest / 10 % 10) + (char) ('0' + rest % 10) + "Z";
    }
}
