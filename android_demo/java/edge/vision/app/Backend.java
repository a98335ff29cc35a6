package edge.vision.app;

/** What may execute a model. */
enum Backend {
    XNNPACK("CPU, XNNPACK"),
    CPU("CPU, plain kernels"),
    NNAPI("NNAPI");

    final String label;

    Backend(String label) {
        this.label = label;
    }

    @Override
    public String toString() {
        return label;
    }
}
