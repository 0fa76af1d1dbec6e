"""What a sweep's journal costs: `append_and_rebuild` runs Optuna studies over a folder and S3."""
