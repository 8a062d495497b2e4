"""The laboratory of gala_rl: benchmarks, comparisons and simulations; gala_rl never imports it."""
