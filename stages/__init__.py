"""The work: one package per stage. A stage imports `pipeline` and `stages.human`, never another stage."""
