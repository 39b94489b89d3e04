package secondlook.peers;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonRawValue;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** As one writes it by the documentation: Jackson binds what is needed and skips the rest, onnxruntime scores each record. */
final class DocumentedWork implements Work {
    record Request(String requestId, String policy, String tenant, String language) {}

    // Classes with fields, not records: Jackson fills those in half the time, and tokens are most of what it reads.
    static final class Response {
        public Body body;
    }

    static final class Body {
        public String model;
        public List<Choice> choices;
    }

    static final class Choice {
        public Message message;
        public Logprobs logprobs;
        public String finishReason;
    }

    static final class Message {
        public String content;
    }

    static final class Logprobs {
        public List<Token> content;
    }

    static final class Token {
        public String token;
        public Double logprob;
        public List<Token> topLogprobs;
    }

    record Vector(
            String requestId, String schema, Float[] values, String llm, String policy, String tenant,
            String language, String spec,
            double auditProbability, String stratum, String decidedAt) {}

    record Llm(String name, Integer outcome, Double confidence, String category) {}

    record Model(String name, String sha256) {}

    record Decision(
            String requestId, String policy, String tenant, String route, String action, Double errorProbability,
            Double threshold, double auditProbability, List<String> reasons, List<Scores.Driver> drivers, Llm llm,
            String spec, Model model, int controlVersion, String decidedAt,
            @JsonInclude(JsonInclude.Include.NON_NULL) Double priority,
            @JsonRawValue @JsonInclude(JsonInclude.Include.NON_NULL) String request) {}

    private static final ObjectMapper JSON = new ObjectMapper(
                    JsonFactory.builder().enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER).build())
            .setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
            .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);
    private static final ObjectReader REQUESTS = JSON.readerFor(Request.class);
    private static final ObjectReader RESPONSES = JSON.readerFor(Response.class);
    private static final Pattern FIELDS =
            Pattern.compile("\"(outcome|confidence|rationale)\"\\s*:\\s*(?:\"((?:[^\"\\\\]|\\\\.)*)\"|([^\\s\"',\\[\\]{}]+))");
    private static final List<String> PARTS = List.of("outcome", "confidence", "rationale");

    private final Scores scores;
    private final List<String> policies;
    private final Model model;
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final Predictors predictors = new Predictors();
    private final Read answer = new Read();

    DocumentedWork(Card card, String modelFile) {
        scores = new Scores(card);
        policies = card.words("policies");
        model = new Model(card.word("name"), card.word("sha256"));
        try {
            OrtSession.SessionOptions options = new OrtSession.SessionOptions();
            options.setIntraOpNumThreads(1); // a pool of threads costs more than one row does
            session = environment.createSession(modelFile, options);
        } catch (OrtException problem) {
            throw new IllegalStateException(problem);
        }
    }

    @Override
    public Decided decide(byte[] requestBytes, byte[] response) {
        try {
            Request request = REQUESTS.readValue(requestBytes);
            answer.take(RESPONSES.readValue(response));
            predictors.compute(answer);
            score(request.policy());
            Scores.Ruling ruling = scores.rule(answer.outcome, predictors.values);
            return new Decided(
                    ruling.automatic(),
                    JSON.writeValueAsBytes(decision(request, ruling, requestBytes)),
                    JSON.writeValueAsBytes(vector(request, ruling.automatic())));
        } catch (IOException problem) {
            throw new UncheckedIOException(problem);
        } catch (OrtException problem) {
            throw new IllegalStateException(problem);
        }
    }

    private void score(String policy) throws OrtException {
        FloatBuffer row = FloatBuffer.allocate(Predictors.COUNT + policies.size());
        row.put(predictors.values);
        int known = policies.indexOf(policy);
        for (int column = 0; column < policies.size(); column++) {
            row.put(known < 0 ? Float.NaN : column == known ? 1 : 0);
        }
        row.flip();
        try (OnnxTensor input = OnnxTensor.createTensor(environment, row, new long[] {1, row.limit()});
                OrtSession.Result result = session.run(Map.of("predictors", input))) {
            scores.probability = ((float[]) result.get("error_probability").orElseThrow().getValue())[0];
            scores.pushes = ((float[][]) result.get("contributions").orElseThrow().getValue())[0];
        }
    }

    private Decision decision(Request request, Scores.Ruling ruling, byte[] requestBytes) {
        boolean automatic = ruling.automatic();
        Double known = ruling.scored() ? Scores.rounded(scores.probability, 7) : null;
        Double confidence = Double.isNaN(answer.confidence) ? null : Scores.rounded((float) answer.confidence, 7);
        return new Decision(
                request.requestId(), request.policy(), request.tenant(),
                automatic ? "auto-action" : "human-review",
                automatic ? answer.outcome == 0 ? "allow" : "remove" : "review",
                known, ruling.scored() ? scores.threshold : null, automatic ? 0 : 1,
                List.of(ruling.reason()), ruling.scored() ? scores.drivers() : List.of(),
                new Llm(answer.llm, answer.outcome < 0 ? null : answer.outcome, confidence, null),
                "lpp", model, 0, Instant.now().truncatedTo(ChronoUnit.MILLIS).toString(),
                automatic ? null : known == null ? Double.valueOf(1) : known,
                automatic ? null : new String(requestBytes, StandardCharsets.UTF_8));
    }

    private Vector vector(Request request, boolean automatic) {
        Float[] values = new Float[Predictors.COUNT];
        for (int column = 0; column < values.length; column++) {
            values[column] = Float.isNaN(predictors.values[column]) ? null : predictors.values[column];
        }
        return new Vector(
                request.requestId(), "lpp/1", values, answer.llm, request.policy(), request.tenant(),
                request.language(), "lpp",
                automatic ? 0 : 1, automatic ? "automated" : "escalated",
                Instant.now().truncatedTo(ChronoUnit.MILLIS).toString());
    }

    /** An answer from Jackson's objects. */
    private static final class Read extends Answer {
        private String[] strings = new String[640];

        void take(Response response) {
            Choice choice = response.body.choices.get(0);
            llm = response.body.model;
            text = choice.message.content;
            truncated = "length".equals(choice.finishReason);
            tokens = 0;
            int position = 0, count = 0;
            for (Token token : choice.logprobs.content) {
                if (token.token.isEmpty()) continue; // such as the one that ends the turn
                grow(count + token.topLogprobs.size());
                if (strings.length < alternatives.length) strings = java.util.Arrays.copyOf(strings, alternatives.length);
                begins[tokens] = position;
                firsts[tokens] = count;
                logprobs[tokens++] = number(token);
                position += token.token.length();
                for (Token alternative : token.topLogprobs) {
                    strings[count] = alternative.token;
                    alternatives[count++] = number(alternative);
                }
            }
            begins[tokens] = position;
            firsts[tokens] = count;
            find();
        }

        private static double number(Token token) {
            return token.logprob == null ? Double.NaN : token.logprob;
        }

        private void find() {
            String[] found = new String[3];
            for (int[] span : spans) span[0] = span[1] = 0;
            Matcher matcher = FIELDS.matcher(text);
            while (matcher.find()) {
                int part = PARTS.indexOf(matcher.group(1));
                if (found[part] != null) continue;
                int group = matcher.group(2) != null ? 2 : 3;
                found[part] = matcher.group(group);
                spans[part][0] = matcher.start(group);
                spans[part][1] = matcher.end(group);
            }
            locate(found[OUTCOME], found[CONFIDENCE]);
        }

        @Override
        int label(int alternative) {
            return label(strings[alternative]);
        }
    }
}
