"""The harness of podspan's integration tests: real runtimes, real backends, and clients for them."""
