"""The fixtures that any test may ask for: real servers, each in a file of its own."""

import os
import sys

pytest_plugins = ["tests.fixtures_s3", "tests.fixtures_mlflow", "tests.fixtures_videos"]

# The suite starts hundreds of Python processes. Without bytecode on the disk, each of them compiles
# torch, Ray and MLflow anew, which takes longer than most of what they are started for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
