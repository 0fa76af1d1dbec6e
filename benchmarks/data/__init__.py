"""What the data path costs: rows of ratios, each measured side by side in one run."""
