"""What the user typed becomes one frozen tree of dataclasses, or one clear line and exit code 2.

`run_config` is the whole tree, with reading TOML and ``--set``, validation, and the flat view that
MLflow shows. Its tables that belong to no room of `prp_core` stand beside it: `source_config` (the
videos), `store_config` (S3), `cache_config`, `resources_config`, `sweep_config` (the search),
`budget_config`, `confirm_config` and `showcase_config`. `field_docs` reads the sentence below each
field of the tree. `shipped` finds the studies and presets that are installed with PRP.
`sweep_spec` is what a sweep is once it has an id: its config and its places. `secret_forms` are the
patterns of secrets in text; `redaction` hides what they find and refuses addresses that hold a
password. `printable` escapes the control characters of names. `typed_command` words the commands
that hints tell the user to type.

The lowest floor of `orchestrator`: importing a config class imports nothing that runs.
"""
