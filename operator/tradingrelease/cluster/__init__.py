"""Everything that talks to the API server or to pods: one reader, one writer, the probes."""
