"""The work: one package per stage. Each imports `pipeline` and `stages.human`, never another."""
