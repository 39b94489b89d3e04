package secondlook.peers;

/** The job itself: a request and its response in, the decision and the vector out. */
interface Work {
    Decided decide(byte[] request, byte[] response);

    /** Records to produce, and whether nobody need look. */
    record Decided(boolean automatic, byte[] decision, byte[] vector) {}

    interface Maker {
        Work make();
    }
}
