"""`segserve tune MODEL --p99 MS`: layouts, engines and batches tried on this machine, the best as a Serve YAML."""
