"""Speed and memory against other code, and estimates for GPUs: `mmmim benchmark` and `mmmim plan`."""
