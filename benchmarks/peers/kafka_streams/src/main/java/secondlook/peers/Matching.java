package secondlook.peers;

import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Requests and responses by their key, the request id: whichever comes first waits in a state store for the other. */
final class Matching implements Processor<byte[], byte[], byte[], byte[]> {
    static final String REQUESTS = "pending-requests";
    static final String RESPONSES = "pending-responses";
    static final String AUTO = "auto-action";
    static final String HUMAN = "human-review";
    static final String VECTORS = "vectors";

    private final String requestsTopic;
    private final Work work;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> requests;
    private KeyValueStore<Bytes, byte[]> responses;

    Matching(String requestsTopic, Work work) {
        this.requestsTopic = requestsTopic;
        this.work = work;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        requests = context.getStateStore(REQUESTS);
        responses = context.getStateStore(RESPONSES);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        boolean isRequest = context.recordMetadata().orElseThrow().topic().equals(requestsTopic);
        Bytes id = Bytes.wrap(record.key());
        KeyValueStore<Bytes, byte[]> others = isRequest ? responses : requests;
        byte[] other = others.get(id);
        if (other == null) {
            (isRequest ? requests : responses).put(id, record.value());
            return;
        }
        others.put(id, null); // `delete` would read it again
        byte[] request = isRequest ? record.value() : other;
        Work.Decided decided = work.decide(request, isRequest ? other : record.value());
        context.forward(record.withValue(decided.decision()), decided.automatic() ? AUTO : HUMAN);
        context.forward(record.withValue(decided.vector()), VECTORS);
    }
}
