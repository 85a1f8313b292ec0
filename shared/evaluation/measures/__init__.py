"""One module a task: a photo is sent, its answer judged against the truth, the judgements summed to figures."""
