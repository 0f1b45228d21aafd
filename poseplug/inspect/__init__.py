"""Looking into configs, models, data sets and the environment before and after a run."""
