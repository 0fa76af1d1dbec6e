"""The fixtures that any test may ask for: real servers, each in a file of its own."""

pytest_plugins = ["tests.fixtures_s3", "tests.fixtures_mlflow", "tests.fixtures_videos"]
